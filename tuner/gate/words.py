"""The gate's result in the words that every output uses."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tuner.domain.slo import Verdict
from tuner.domain.space import Configuration
from tuner.gate.cost import CostSplit
from tuner.gate.lock import Lock
from tuner.gate.result import GateResult, MetricVerdict, Outcome, SloVerdict
from tuner.gate.sequential import Change

VERDICT_LINES: dict[Outcome, str] = {
    Outcome.PASSED: "Gate passed",
    Outcome.FAILED: "Gate failed",
    Outcome.INCONCLUSIVE: "Gate inconclusive",
    Outcome.NOTHING_FEASIBLE: "Nothing feasible",
    Outcome.INVALID: "Gate could not measure",
    Outcome.BUDGET: "Gate budget ended without a verdict",
}
HOURS_PER_MONTH = 730


def verdict_line(result: GateResult) -> str:
    """One line: what came out, and why."""
    return f"{VERDICT_LINES[result.outcome]}: {result.summary}"


def changed(metric: MetricVerdict, value: float) -> str:
    """A change with its sign: -12.3 %, or +0.0010 where differences count."""
    if not math.isfinite(value):
        return "unknown"
    return f"{value:+.1%}" if metric.relative else f"{value:+.4f}"


def interval(metric: MetricVerdict) -> str:
    if metric.pairs < 2:
        return "exact" if not metric.pairs else "unknown"
    return f"{changed(metric, metric.low)} to {changed(metric, metric.high)}"


def margin(metric: MetricVerdict) -> str:
    """What is allowed, in the direction that is worse."""
    if not metric.relative:
        return f"+{metric.margin:.4f}"
    sign = "-" if metric.metric == "saturated_rps" else "+"
    return f"{sign}{metric.margin:.0%}"


def figure(value: float | None) -> str:
    """At most four digits, never an exponent."""
    if value is None or not math.isfinite(value):
        return "unknown"
    if value == 0.0:
        return "0"
    digits = max(0, 3 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(digits, 6)}f}"


def remark(metric: MetricVerdict) -> str:
    """What a reader has to know beside the verdict: waived, too noisy, or only a warning."""
    if metric.waived_by:
        return f"waived by {metric.waived_by}"
    if metric.erratic:
        return f"too noisy to block (CV {metric.cv:.0%})"
    return "warns only" if metric.level == "warn" else ""


def slo_text(slo: SloVerdict) -> str:
    bound = "above any limit" if not math.isfinite(slo.upper_bound) else figure(slo.upper_bound)
    return (
        f"{slo.slo}: {slo.verdict.value.upper()} (observed {figure(slo.observed)}, upper bound {bound}, "
        f"{slo.bad} of {slo.requests} bad)"
    )


def cost_text(cost: CostSplit) -> str:
    """The difference and what makes it."""
    month = cost.after * HOURS_PER_MONTH
    line = f"{cost.before:.4f} -> {cost.after:.4f} {cost.currency} per hour ({month:,.2f} per month"
    line += f", newest price of {cost.priced_on})" if cost.priced_on else ")"
    parts = [
        f"{name} {value:+.4f}"
        for name, value in (("prices", cost.prices), ("capacity", cost.capacity), ("whole replicas", cost.rounding))
        if abs(value) >= 5e-5
    ]
    return f"{line}: {', '.join(parts)}" if parts else f"{line}: unchanged"


def smallest_difference(result: GateResult) -> str:
    """The narrowest thing in which both sides differ; empty where nothing does."""
    return str(result.differences[0]) if result.differences else ""


def spec_diff(lock: Lock, configuration: Configuration, replicas: int) -> tuple[str, ...]:
    """The knobs and replicas as lines of a diff; nothing where they are the same."""
    old = lock.configuration.as_dict() | {"replicas": lock.spec.replicas}
    new = configuration.as_dict() | {"replicas": replicas}
    if old == new:
        return ()
    lines: list[str] = []
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) == new.get(name):
            lines.append(f"  {name}: {old[name]}")
            continue
        lines += [f"- {name}: {old[name]}"] if name in old else []
        lines += [f"+ {name}: {new[name]}"] if name in new else []
    return tuple(lines)


def summary_of(outcome: Outcome, metrics: Sequence[MetricVerdict], slos: Sequence[SloVerdict]) -> str:
    """Why this outcome, in one sentence."""
    match outcome:
        case Outcome.FAILED:
            worse = [f"{metric.metric} got worse by more than its margin" for metric in metrics if metric.blocks]
            broken = [f"{slo.slo} is broken" for slo in slos if slo.verdict is Verdict.FAIL]
            return "; ".join([*worse, *broken])
        case Outcome.INCONCLUSIVE:
            still = [metric.metric for metric in metrics if metric.open]
            still += [slo.slo for slo in slos if slo.verdict is Verdict.UNDECIDED]
            return f"undecided when the budget ended: {', '.join(still)}"
        case Outcome.BUDGET:
            return "the budget ended before there were enough pairs"
        case _:
            return _passed(metrics)


def _passed(metrics: Sequence[MetricVerdict]) -> str:
    """What got worse and does not block is said first, then what nobody can tell."""
    worse = [
        f"{metric.metric} got worse ({remark(metric)})" for metric in metrics if metric.change is Change.REGRESSION
    ]
    unknown = [metric.metric for metric in metrics if metric.change is Change.INCONCLUSIVE]
    better = [metric.metric for metric in metrics if metric.change is Change.IMPROVEMENT]
    parts = [
        *([f"nothing blocks, but {', '.join(worse)}"] if worse else []),
        *([f"too noisy to judge: {', '.join(unknown)}"] if unknown else []),
        *([f"better in {', '.join(better)}"] if better else []),
    ]
    return "; ".join(parts) or "nothing got worse by more than its margin"
