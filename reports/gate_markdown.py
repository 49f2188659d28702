"""The gate as Markdown: a comment on a pull request, and the summary of a job."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from tuner.gate.result import GateResult, MetricVerdict, Outcome
from tuner.gate.sequential import Change
from tuner.gate.words import (
    changed,
    cost_text,
    figure,
    interval,
    margin,
    remark,
    slo_text,
    smallest_difference,
    verdict_line,
)

# GitHub refuses a comment of 65,536 characters, and a step summary of 1 MiB; bytes are counted to be safe.
MOST_COMMENT_BYTES = 60_000
MOST_SUMMARY_BYTES = 900_000
CUT = "\n\n… left out because it would be too long: `gate.json` has it all …\n\n"


def marker(result: GateResult) -> str:
    """A hidden line by which the comment of the same study and mode is found again, to be updated in place."""
    name = hashlib.sha256(result.study.encode()).hexdigest()[:12]
    return f"<!-- servetune-gate {name} {result.mode} -->"


def comment(result: GateResult) -> str:
    """At most MOST_COMMENT_BYTES; one line and the marker where the gate passed and no metric needs a second look."""
    doubtful = any(metric.change in (Change.REGRESSION, Change.INCONCLUSIVE) for metric in result.metrics)
    if result.outcome is Outcome.PASSED and not doubtful:
        return f"{marker(result)}\n✅ {_text(verdict_line(result))}{_cost_line(result)}\n"
    return f"{marker(result)}\n{_cut(_body(result), MOST_COMMENT_BYTES - len(marker(result).encode()) - 1)}"


def summary(result: GateResult) -> str:
    """The whole, whatever came out; at most MOST_SUMMARY_BYTES."""
    return _cut(_body(result), MOST_SUMMARY_BYTES)


def _cost_line(result: GateResult) -> str:
    return f" · {_text(cost_text(result.cost))}" if result.cost is not None else ""


def _body(result: GateResult) -> str:
    mark = {Outcome.PASSED: "✅", Outcome.FAILED: "❌"}.get(result.outcome, "⚠️")
    parts = [f"### {mark} {_text(verdict_line(result))}", _metric_table(result.metrics), _slo_list(result)]
    if result.cost is not None:
        parts.append(f"**Cost** {_text(cost_text(result.cost))}")
    smallest = smallest_difference(result)
    if smallest:
        parts.append(f"**Narrowest difference** {_code(smallest)}")
    if result.spec_change:
        parts.append(_fenced("diff", result.spec_change))
    parts += [f"> {_text(note)}" for note in result.notes]
    parts += [_fingerprints(result), _runs(result)]
    again = _fenced("sh", [result.reproduce])
    parts.append(f"<details><summary>Reproduce</summary>\n\n{again}\n\n</details>")
    return "\n\n".join(part for part in parts if part) + "\n"


def _metric_table(metrics: Sequence[MetricVerdict]) -> str:
    if not metrics:
        return ""
    rows = [
        "| Metric | Deployed | Candidate | Change | 95 % interval | Margin | Verdict |",
        "|---|--:|--:|--:|---|--:|---|",
    ]
    for metric in metrics:
        about = remark(metric)
        verdict = f"**{metric.change}**" if metric.blocks else metric.change.value
        cells = (
            f"{_text(metric.title)}",
            f"{figure(metric.deployed)} {metric.unit}".strip(),
            f"{figure(metric.candidate)} {metric.unit}".strip(),
            changed(metric, metric.shift),
            interval(metric),
            margin(metric),
            f"{verdict}{', ' + _text(about) if about else ''}",
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _slo_list(result: GateResult) -> str:
    return "\n".join(f"- {_text(slo_text(slo))}" for slo in result.slos)


def _fingerprints(result: GateResult) -> str:
    lines = [str(one) for one in result.differences] or ["no difference"]
    return f"<details><summary>Fingerprint: what differs</summary>\n\n{_fenced('', lines)}\n\n</details>"


def _runs(result: GateResult) -> str:
    if not result.runs:
        return ""
    lines = [
        f"pair {run.pair + 1:2d} {run.side:9s}{' (reused)' if run.reused else ''} "
        + ", ".join(f"{name} {figure(value)}" for name, value in run.readings)
        for run in result.runs
    ]
    return f"<details><summary>{len(lines)} deployments</summary>\n\n{_fenced('', lines)}\n\n</details>"


def _fenced(language: str, lines: Sequence[str]) -> str:
    """A code block whose fence is longer than any in it."""
    text = "\n".join(lines)
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text}\n{fence}"


def _code(text: str) -> str:
    return "`" + text.replace("`", "'").replace("\n", " ") + "`"


def _text(text: str) -> str:
    """Names are data: no mark-up, no mention, no table cell is made of them."""
    table = {ord(c): f"\\{c}" for c in "\\`*_[]|"} | {ord("<"): "&lt;", ord(">"): "&gt;", ord("\n"): " "}
    return text.translate(table).replace("@", "@\u200b")


def _cut(text: str, most_bytes: int) -> str:
    """The head and the tail of what is too long; never half a character."""
    content = text.encode()
    if len(content) <= most_bytes:
        return text
    room = most_bytes - len(CUT.encode())
    head = content[: room * 3 // 4].decode(errors="ignore")
    tail = content[-(room // 4) :].decode(errors="ignore")
    return f"{head}{CUT}{tail}"
