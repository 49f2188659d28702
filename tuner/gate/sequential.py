"""Paired comparison with a few planned looks: verdicts whose error rates hold whichever look they come at.

Errors are controlled so: all REGRESSION verdicts of a gate together, over all metrics that may block and all looks,
are wrong in at most RISK of the cases (Holm over the metrics at each look; looks by error spending, added up by
Bonferroni's inequality, so that nothing is assumed of how looks depend on each other). SAME is a claim of its own for
each metric, wrong in at most RISK of the cases over all looks: a gate passes only if every metric is SAME or better,
which makes that an intersection-union test, and dividing the risk among metrics would gain nothing (Berger 1982).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tuner.domain.statistics import student_quantile, student_upper_tail

RISK = 0.05
LEAST_PAIRS = 5
MOST_PAIRS = 12
SPENDING_POWER = 2.0
LOOKS = 4


class Change(StrEnum):
    """What the pairs say of one metric: worse than its margin for certain, or certainly not, or better by as much."""

    SAME = "SAME"
    REGRESSION = "REGRESSION"
    IMPROVEMENT = "IMPROVEMENT"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One metric: by how much the candidate was worse in each pair, in order, and by how much it may be."""

    metric: str
    worse: tuple[float, ...]
    allowed: float
    gated: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A verdict, at which number of pairs it was reached, and the mean worsening with its 95 % interval."""

    change: Change
    pairs: int
    mean: float
    low: float
    high: float


def planned_looks(most_pairs: int) -> tuple[int, ...]:
    """After how many pairs the evidence is judged: from LEAST_PAIRS to the most there will be, in LOOKS steps.

    Raises ValueError where the most is too few.
    """
    if most_pairs < LEAST_PAIRS:
        raise ValueError(f"{most_pairs} pairs are too few")
    step = (most_pairs - LEAST_PAIRS) / (LOOKS - 1)
    return tuple(sorted({LEAST_PAIRS + round(step * k) for k in range(LOOKS)}))


def risk_of_look(looks: Sequence[int], position: int) -> float:
    """What of RISK one look may spend: RISK x (share of the pairs)^2 in all up to it (Kim & DeMets 1987)."""
    before = looks[position - 1] if position else 0
    share, share_before = looks[position] / looks[-1], before / looks[-1]
    return RISK * (math.pow(share, SPENDING_POWER) - math.pow(share_before, SPENDING_POWER))


def decide(series: Sequence[Series], most_pairs: int) -> Mapping[str, Decision]:
    """The verdict on every metric, from the pairs there are so far. A verdict once reached stays.

    A metric with fewer pairs than LEAST_PAIRS is INCONCLUSIVE. Raises ValueError where the most is too few.
    """
    looks = planned_looks(most_pairs)
    available = min((len(one.worse) for one in series), default=0)
    decided: dict[str, Decision] = {}
    for position, pairs in enumerate(looks):
        if pairs > available:
            break
        for name, change in _at_look(series, pairs, risk_of_look(looks, position), decided).items():
            one = next(one for one in series if one.metric == name)
            decided[name] = _decision(one, change, pairs)
    open_still = (one for one in series if one.metric not in decided)
    return decided | {one.metric: _decision(one, Change.INCONCLUSIVE, len(one.worse)) for one in open_still}


def _at_look(series: Sequence[Series], pairs: int, risk: float, decided: Mapping[str, Decision]) -> dict[str, Change]:
    """What this look decides among the metrics that are open."""
    gated = sum(one.gated for one in series)
    still = [one for one in series if one.metric not in decided]
    found = {
        one.metric: Change.REGRESSION for one in _rejected([one for one in still if one.gated], pairs, risk, gated)
    }
    # What only warns blocks nothing: it is judged by itself, and takes nothing from the metrics that do.
    found |= {
        one.metric: Change.REGRESSION for one in still if not one.gated and tail(one.worse[:pairs], one.allowed) <= risk
    }
    for one in still:
        if one.metric in found:
            continue
        if 1.0 - tail(one.worse[:pairs], -one.allowed) <= risk and one.allowed > 0.0:
            found[one.metric] = Change.IMPROVEMENT
        elif 1.0 - tail(one.worse[:pairs], one.allowed) <= risk:
            found[one.metric] = Change.SAME
    return found


def _rejected(series: Sequence[Series], pairs: int, risk: float, family: int) -> list[Series]:
    """Holm's step-down (1979): the smallest p against risk / family, the next against risk / (family - 1), ..."""
    ordered = sorted(series, key=lambda one: tail(one.worse[:pairs], one.allowed))
    for position, one in enumerate(ordered):
        if tail(one.worse[:pairs], one.allowed) > risk / (family - position):
            return ordered[:position]
    return ordered


def tail(worse: Sequence[float], threshold: float) -> float:
    """P[a mean this large or larger] if the true mean were the threshold: one-sided paired t test.

    Without any spread the mean is taken for the truth.
    """
    mean, error = mean_and_error(worse)
    if error == 0.0:
        return 0.5 if mean == threshold else 0.0 if mean > threshold else 1.0
    return student_upper_tail((mean - threshold) / error, len(worse) - 1)


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean and its standard error; equal values have none, whatever rounding makes of their sum."""
    if max(values) == min(values):
        return values[0], 0.0
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, math.sqrt(variance / len(values))


def _decision(one: Series, change: Change, pairs: int) -> Decision:
    if len(one.worse) < 2:
        mean = one.worse[0] if one.worse else 0.0
        return Decision(change=change, pairs=len(one.worse), mean=mean, low=-math.inf, high=math.inf)
    mean, error = mean_and_error(one.worse)
    width = student_quantile(0.975, len(one.worse) - 1) * error
    return Decision(change=change, pairs=pairs, mean=mean, low=mean - width, high=mean + width)


def coefficient_of_variation(values: Sequence[float]) -> float:
    """Standard deviation over mean; 0 where the mean is."""
    if len(values) < 2:
        return 0.0
    mean, error = mean_and_error(values)
    return error * math.sqrt(len(values)) / abs(mean) if mean else 0.0
