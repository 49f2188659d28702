"""StudyReport -> a short Markdown text, for a pull request or a chat."""

from __future__ import annotations

import re

from reports.study_report import StudyReport

CHEAPER_SHOWN = 5
STEPS_SHOWN = 4
SPECIAL = re.compile(r"([\\`*_{}\[\]<>|~&$])")
REFERENCE = re.compile(r"([@#])")
INVISIBLE = "\N{ZERO WIDTH SPACE}"


def summary(report: StudyReport) -> str:
    """Answer, evidence, and why not cheaper, in at most about 40 lines; foreign text can neither format nor mention."""
    blocks = [
        f"## {escaped(report.study)}: {escaped(report.answer.headline)}",
        _verdict_line(report),
        _spec_table(report),
        _latency_line(report),
        escaped(report.answer.bottleneck),
        _objectives(report),
        _cheaper(report),
        _one_step(report),
        f"{escaped(report.tally[0].upper() + report.tally[1:])}.",
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def escaped(text: str) -> str:
    """One line of text that Markdown shows as it is, and in which nobody is mentioned and no issue linked."""
    plain = SPECIAL.sub(r"\\\1", " ".join(text.split()))
    return REFERENCE.sub(rf"\1{INVISIBLE}", plain)


def _verdict_line(report: StudyReport) -> str:
    answer = report.answer
    rests_on = f" Rests on {answer.rests_on}." if answer.rests_on else ""
    borderline = f" {answer.borderline}" if answer.borderline else ""
    return f"**{answer.badge}.** {escaped(answer.explanation)}{escaped(rests_on)}{escaped(borderline)}".strip()


def _spec_table(report: StudyReport) -> str:
    purchase = report.answer.purchase
    if purchase is None:
        return ""
    currency = report.axes.currency
    rows = [
        ("replicas", str(purchase.replicas)),
        *((setting.knob, setting.value) for setting in purchase.settings),
        ("cost per hour", f"{purchase.cost_per_hour.text} {currency}"),
        ("cost per month of 730 h", f"{purchase.cost_per_month.text} {currency}"),
        (
            "load",
            f"{purchase.wanted_rps.text} rps, tested at {purchase.tested_rps.text} ({purchase.headroom} headroom)",
        ),
    ]
    return "\n".join(["| | |", "|---|---|", *(f"| {escaped(name)} | {escaped(value)} |" for name, value in rows)])


def _latency_line(report: StudyReport) -> str:
    gauges = [
        f"{gauge.name} {gauge.value.text}" + (f" (limit {gauge.limit.text}, {gauge.remark})" if gauge.limit else "")
        for gauge in report.answer.gauges
    ]
    return f"Latency in ms: {escaped(', '.join(gauges))}." if gauges else ""


def _objectives(report: StudyReport) -> str:
    return "\n".join(
        f"- {escaped(row.objective)}: {row.verdict.value}, {row.bad:,} of {row.requests:,} broke it "
        f"({row.allowed} allowed, design effect {row.design_effect})"
        for row in report.answer.objectives
    )


def _one_step(report: StudyReport) -> str:
    """The neighbours likeliest to hold, and what a step would do."""
    why = report.explained
    if why is None:
        return ""
    lines = [
        f"- {escaped(row.change)} ({row.difference}): {escaped(row.ground)}"
        + (f", {escaped(row.detail)}" if row.detail else "")
        + (f", would hold with {escaped(row.holds)}" if row.holds else "")
        for row in why.neighbours[:STEPS_SHOWN]
    ]
    lines += [
        f"- {escaped(row.change)} ({row.difference}): {escaped(why.indicator)} {row.latency} ms, {row.interval}"
        for row in [row for row in why.changes if row.interval != "overloaded"][:STEPS_SHOWN]
    ]
    knobs = ", ".join(f"{escaped(row.knob)} {row.factor}" for row in why.knobs[:STEPS_SHOWN])
    if knobs:
        lines.append(f"- {escaped(why.indicator)} between worst and best value of a knob: {knobs}")
    return "\n".join([f"One step away ({why.basis}, unless measured):", "", *lines]) if lines else ""


def _cheaper(report: StudyReport) -> str:
    tried = report.cheaper.tried
    if report.answer.purchase is None or report.answer.state == "nothing" or not tried:
        return ""
    lines = [
        f"- {escaped(one.line)}, {one.replicas}x, {one.cost_per_hour.text} {escaped(report.axes.currency)} "
        f"({one.difference}): {one.ruling.value}; {escaped(one.why)}"
        for one in tried[:CHEAPER_SHOWN]
    ]
    more = len(tried) - CHEAPER_SHOWN
    return "\n".join(["Why not cheaper:", "", *lines, *([f"- and {more} more"] if more > 0 else [])])
