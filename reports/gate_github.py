"""The gate as annotations of GitHub Actions: workflow commands, one a line."""

from __future__ import annotations

from tuner.domain.slo import Verdict
from tuner.gate.result import GateResult, MetricVerdict
from tuner.gate.sequential import Change
from tuner.gate.words import changed, interval, margin, remark, slo_text, smallest_difference

# GitHub shows ten of a kind and step: the worst come first.
MOST_OF_A_KIND = 10


def workflow_commands(result: GateResult) -> tuple[str, ...]:
    """Errors for what makes the gate fail, warnings for what it leaves open or only warns of."""
    worst = sorted(result.metrics, key=lambda metric: -abs(metric.shift))
    smallest = smallest_difference(result)
    tail = f"; differs in {smallest}" if smallest else ""
    errors = [_command("error", metric.metric, _words(metric) + tail) for metric in worst if metric.blocks]
    errors += [_command("error", slo.slo, slo_text(slo)) for slo in result.slos if slo.verdict is Verdict.FAIL]
    warned = [m for m in worst if not m.blocks and (m.change is Change.REGRESSION or m.open)]
    warnings = [_command("warning", metric.metric, _words(metric)) for metric in warned]
    warnings += [_command("warning", slo.slo, slo_text(slo)) for slo in result.slos if slo.verdict is Verdict.UNDECIDED]
    if result.exit_code and not errors and not warnings:
        errors = [_command("error", "gate", result.summary)]
    return (*errors[:MOST_OF_A_KIND], *warnings[:MOST_OF_A_KIND])


def _words(metric: MetricVerdict) -> str:
    about = remark(metric)
    words = f"{metric.change}: {changed(metric, metric.shift)} (95 % {interval(metric)}, margin {margin(metric)})"
    return f"{words}; {about}" if about else words


def _command(kind: str, title: str, message: str) -> str:
    """Escaped as GitHub's own toolkit does it: nothing in a name can end the command or begin another."""
    safe = message.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    head = title.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A").replace(":", "%3A").replace(",", "%2C")
    return f"::{kind} title=servetune gate%3A {head}::{safe}"
