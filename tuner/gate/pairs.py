"""Deployed and candidate measured side by side: what a pair holds, in which order it is measured, what pairs show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tuner.domain.errors import LockUnusable
from tuner.domain.histogram import LatencyCounts, add_counts
from tuner.domain.measurement import Measurement
from tuner.domain.slo import PERCENT, Tally, Verdict, judge, pool
from tuner.gate.lock import Lock, Waiver
from tuner.gate.metrics import MEASURED, Metric, allowed_worsening, shown_change, worsening
from tuner.gate.result import MetricVerdict
from tuner.gate.sequential import Change, Decision, Series, coefficient_of_variation, decide, mean_and_error

Side = Literal["deployed", "candidate"]
ERRATIC_CV = 0.10
LEAST_TO_SCATTER = 2
# A server that finishes this share of what is offered was not brought to its limit.
SATURATED_BELOW = 0.95
GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One fresh deployment of one side: a figure for each metric that was seen, and the evidence on the SLOs.

    Not `saturated`: nearly all of the overload was carried too, so that the capacity is a lower bound.
    """

    figures: tuple[tuple[str, float], ...]
    tallies: tuple[Tally, ...]
    counts: LatencyCounts
    facts: tuple[tuple[str, str], ...]
    saturated: bool = True

    def figure(self, metric: str) -> float | None:
        return dict(self.figures).get(metric)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Both sides under the same arrivals. `elapsed_s` is what the pair took; `reused`: measured by an earlier gate."""

    number: int
    deployed: Reading
    candidate: Reading
    elapsed_s: float
    reused: bool = False


def order_of(number: int) -> tuple[Side, Side]:
    """ABBA: pairs begin with either side in turn, so that a machine that warms up or tires favours none."""
    return ("deployed", "candidate") if number % 2 == 0 else ("candidate", "deployed")


def reading_of(
    at_target: Measurement,
    saturated: Measurement,
    *,
    replicas: int,
    timeout_s: float,
    ready_after_s: float,
    facts: tuple[tuple[str, str], ...],
) -> Reading:
    """The figures of one deployment. A percentile that falls on a failed request counts as the time limit: at least."""
    counts = at_target.counts
    figures = {
        "saturated_rps": replicas * saturated.answered_rps,
        **{
            name: min(counts.percentile_ms(PERCENT[name]), timeout_s * 1000.0)
            for name in ("latency_p50_ms", "latency_p95_ms", "latency_p99_ms")
        },
        "error_ratio": at_target.error_ratio,
        "cold_start_s": ready_after_s,
    }
    gpu = at_target.telemetry.gpu
    if gpu is not None and gpu.memory_peak_bytes is not None:
        figures["gpu_memory_gib"] = gpu.memory_peak_bytes / GIB
    return Reading(
        figures=tuple(figures.items()),
        tallies=at_target.tallies,
        counts=counts,
        facts=facts,
        saturated=saturated.answered_rps < SATURATED_BELOW * saturated.offered_rps,
    )


def pooled_tallies(pairs: Sequence[Pair], side: Side) -> tuple[Tally, ...]:
    """The evidence of one side on the SLOs, all its deployments together."""
    return pool([reading.tallies for reading in _readings(pairs, side)])


def pooled_counts(pairs: Sequence[Pair], side: Side) -> LatencyCounts:
    return add_counts(reading.counts for reading in _readings(pairs, side))


def _readings(pairs: Sequence[Pair], side: Side) -> list[Reading]:
    return [pair.deployed if side == "deployed" else pair.candidate for pair in pairs]


def lower_bound_note(pairs: Sequence[Pair]) -> tuple[str, ...]:
    """That the candidate's capacity is a lower bound, where some overload did not bring it to its limit."""
    count = sum(not pair.candidate.saturated for pair in pairs)
    if not count:
        return ()
    return (f"in {count} of {len(pairs)} pairs the candidate carried all it was sent: its capacity is at least that",)


def figures(pairs: Sequence[Pair], side: Side, metric: str) -> list[float]:
    """One metric of one side, pair by pair; empty where some deployment did not tell."""
    found = [reading.figure(metric) for reading in _readings(pairs, side)]
    told = [figure for figure in found if figure is not None]
    return told if len(told) == len(found) else []


def metric_verdicts(pairs: Sequence[Pair], lock: Lock, most_pairs: int) -> tuple[MetricVerdict, ...]:
    """Every metric that the lock file's policy holds, as the pairs so far show it."""
    kept = [metric for metric in MEASURED if lock.rule(metric.name).level != "off"]
    told = [metric for metric in kept if figures(pairs, "deployed", metric.name)]
    series = [_series(metric, pairs, lock) for metric in told]
    decisions = decide(series, most_pairs)
    return tuple(_verdict(metric, pairs, lock, decisions[metric.name]) for metric in told)


def still_open(verdicts: Sequence[MetricVerdict], tallies: Sequence[Tally]) -> bool:
    """Whether more pairs could change what the gate says: a proven failure is final, and so is all being decided."""
    if any(verdict.blocks for verdict in verdicts) or judge(tallies) is Verdict.FAIL:
        return False
    return any(verdict.open for verdict in verdicts) or judge(tallies) is Verdict.UNDECIDED


def _series(metric: Metric, pairs: Sequence[Pair], lock: Lock) -> Series:
    rule = lock.rule(metric.name)
    sides = zip(figures(pairs, "deployed", metric.name), figures(pairs, "candidate", metric.name), strict=True)
    try:
        worse = tuple(worsening(metric, deployed, candidate) for deployed, candidate in sides)
    except ValueError as error:
        raise LockUnusable(f"nothing can be compared: {error}", hint="does the deployed spec still serve?") from error
    return Series(
        metric=metric.name, worse=worse, allowed=allowed_worsening(metric, rule.margin), gated=rule.level == "error"
    )


def _verdict(metric: Metric, pairs: Sequence[Pair], lock: Lock, decision: Decision) -> MetricVerdict:
    rule = lock.rule(metric.name)
    deployed, candidate = figures(pairs, "deployed", metric.name), figures(pairs, "candidate", metric.name)
    cv = coefficient_of_variation(deployed) if metric.ratio else 0.0
    if decision.change is Change.REGRESSION and metric.ratio:
        # What pairs prove is excused by noise within pairs only; an open question is one of all the noise.
        cv = _scatter(deployed, _series(metric, pairs, lock).worse)
    ends = sorted(shown_change(metric, worse) for worse in (decision.low, decision.high))
    return MetricVerdict(
        metric=metric.name,
        title=metric.title,
        unit=metric.unit,
        level=rule.level,
        change=decision.change,
        deployed=_typical(metric, deployed),
        candidate=_typical(metric, candidate),
        relative=metric.ratio,
        shift=shown_change(metric, decision.mean),
        low=ends[0],
        high=ends[1],
        margin=rule.margin,
        pairs=decision.pairs,
        cv=cv,
        erratic=cv > ERRATIC_CV,
        waived_by=_waived_by(metric, decision, lock.waivers),
    )


def _scatter(deployed: Sequence[float], log_ratios: Sequence[float]) -> float:
    """How much deployments of the same spec differ, as a share.

    Of the deployed side only, for that a candidate is unsteady is no excuse for it; and no more than what is left of it
    within pairs, for a machine that drifts takes both sides along. A ratio holds the spread of two deployments.
    """
    if len(log_ratios) < LEAST_TO_SCATTER:
        return 0.0
    _, error = mean_and_error(log_ratios)
    return min(coefficient_of_variation(deployed), error * math.sqrt(len(log_ratios) / 2.0))


def _typical(metric: Metric, values: Sequence[float]) -> float:
    """The geometric mean, so that the ratio of two is the mean ratio; of differences the plain mean."""
    if metric.ratio:
        return math.exp(math.fsum(map(math.log, values)) / len(values))
    return math.fsum(values) / len(values)


def _waived_by(metric: Metric, decision: Decision, waivers: Sequence[Waiver]) -> str:
    """Who allows a regression as large as this one for now; empty where nobody does."""
    if decision.change is not Change.REGRESSION:
        return ""
    return next(
        (
            waiver.owner
            for waiver in waivers
            if waiver.metric == metric.name and decision.mean <= allowed_worsening(metric, waiver.limit)
        ),
        "",
    )
