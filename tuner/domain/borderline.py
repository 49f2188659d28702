"""Whether an answer is borderline: its latency may lie on either side of the limit; and what has room to spare."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tuner.domain.histogram import LatencyCounts
from tuner.domain.recommendation import Candidate, Evidence, Standing, comfortable_candidates, evidence_for
from tuner.domain.slo import CONFIDENCE, PERCENT, Slo, Tally
from tuner.domain.statistics import binomial_upper_tail
from tuner.domain.trial import Trial

HALVINGS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Borderline:
    """The interval of a percentile that spans its limit, and the cheapest dearer candidate seen with headroom."""

    slo: Slo
    low_ms: float
    high_ms: float
    next_dearer: Candidate | None


def borderline(evidence: Evidence, history: Sequence[Trial], repeats: int) -> Borderline | None:
    """The objective whose interval spans its limit, the widest beyond it first; None where all are clear of theirs."""
    spanning = []
    for tally in evidence.tallies:
        if tally.slo.indicator in PERCENT:
            low_ms, high_ms = interval_ms(evidence, tally)
            if low_ms <= tally.slo.max < high_ms:
                spanning.append((high_ms / tally.slo.max, tally.slo, low_ms, high_ms))
    if not spanning:
        return None
    _, slo, low_ms, high_ms = max(spanning, key=lambda one: one[0])
    return Borderline(
        slo=slo,
        low_ms=low_ms,
        high_ms=high_ms,
        next_dearer=next_with_headroom(evidence.candidate, history, repeats),
    )


def interval_ms(evidence: Evidence, tally: Tally) -> tuple[float, float]:
    """Bounds of the percentile from the pooled counts, widened to what each fresh deployment showed by itself.

    Deployments differ by more than their requests tell: the worst of them is as likely as any to be the next one.
    """
    percent = PERCENT[tally.slo.indicator]
    low_ms, high_ms = percentile_bounds_ms(evidence.counts, percent, tally.design_effect)
    each_ms = [run.counts.percentile_ms(percent) for run in evidence.runs]
    return min([low_ms, *each_ms]), max([high_ms, *each_ms])


def percentile_bounds_ms(
    counts: LatencyCounts, percent: float, effect: float, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Distribution-free bounds of a percentile: order statistics around it, on counts divided by the design effect.

    The number of requests below the true percentile is binomial (Hahn & Meeker, Statistical Intervals, section 5.2).
    Infinite above where even the largest latency does not bound it.
    """
    share, risk = percent / 100.0, (1.0 - confidence) / 2.0
    independent = counts.total / effect
    lowest = _rank(independent, share, 1.0 - risk)
    highest = _rank(independent, share, risk)
    high_ms = counts.percentile_ms(100.0 * highest / independent) if highest <= independent - 0.5 else math.inf
    return counts.percentile_ms(100.0 * max(lowest - 1.0, 0.0) / independent), high_ms


def _rank(requests: float, share: float, probability: float) -> float:
    """Where P[that many or more of the requests lie below the percentile] falls to `probability`."""
    low, high = 0.0, requests
    for _ in range(HALVINGS):
        middle = (low + high) / 2.0
        if binomial_upper_tail(middle, requests, share) > probability:
            low = middle
        else:
            high = middle
    return high


def next_with_headroom(answer: Candidate, history: Sequence[Trial], repeats: int) -> Candidate | None:
    """The cheapest candidate, at the answer's cost or more, that screening saw well within every limit."""
    found = [
        candidate
        for candidate in comfortable_candidates(history)
        if candidate != answer and candidate.cost_per_hour >= answer.cost_per_hour
        if evidence_for(candidate, history).standing(repeats) not in (Standing.REFUTED, Standing.STUCK)
    ]
    return min(found, key=lambda one: one.cost_per_hour, default=None)
