from __future__ import annotations

import math

import pytest
from scipy.stats import ttest_1samp

from tuner.gate.metrics import METRICS, allowed_worsening, metric_named, shown_change, worsening
from tuner.gate.sequential import (
    LEAST_PAIRS,
    RISK,
    Change,
    Series,
    coefficient_of_variation,
    decide,
    planned_looks,
    risk_of_look,
    tail,
)

STEADY = (0.001, -0.002, 0.0015, -0.001, 0.002, 0.0, 0.001, -0.0015, 0.0005, -0.001, 0.002, -0.002)


def a_series(shift: float, *, pairs: int = 12, scale: float = 1.0, allowed: float = 0.05, **changes: object) -> Series:
    worse = tuple(shift + scale * value for value in STEADY[:pairs])
    return Series(metric="capacity", worse=worse, allowed=allowed, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shift", "expected"),
    [(0.0, Change.SAME), (0.03, Change.SAME), (0.1, Change.REGRESSION), (-0.1, Change.IMPROVEMENT)],
)
def test_steady_pairs_are_decided_at_the_first_look(shift, expected):
    decision = decide([a_series(shift)], 12)["capacity"]
    assert (decision.change, decision.pairs) == (expected, LEAST_PAIRS)


def test_a_shift_near_its_margin_stays_open_and_shows_its_interval():
    decision = decide([a_series(0.05, scale=10.0)], 12)["capacity"]
    assert decision.change is Change.INCONCLUSIVE
    assert decision.low < 0.05 < decision.high


def test_fewer_pairs_than_the_least_decide_nothing():
    decision = decide([a_series(1.0, pairs=4)], 12)["capacity"]
    assert (decision.change, decision.pairs) == (Change.INCONCLUSIVE, 4)
    with pytest.raises(ValueError, match="too few"):
        planned_looks(4)


@pytest.mark.parametrize("most", [5, 6, 7, 9, 12, 30])
def test_looks_begin_with_the_least_end_with_the_most_and_spend_exactly_the_risk(most):
    looks = planned_looks(most)
    assert (looks[0], looks[-1]) == (LEAST_PAIRS, most)
    assert sum(risk_of_look(looks, k) for k in range(len(looks))) == pytest.approx(RISK)


def test_the_tail_is_the_one_sided_paired_t_test():
    worse = (0.03, -0.01, 0.02, 0.05, 0.01)
    expected = ttest_1samp(worse, 0.004, alternative="greater").pvalue
    assert tail(worse, 0.004) == pytest.approx(expected)


def test_pairs_without_any_spread_are_taken_at_their_word():
    assert decide([Series(metric="errors", worse=(0.0,) * 5, allowed=0.001)], 12)["errors"].change is Change.SAME
    assert decide([Series(metric="errors", worse=(0.01,) * 5, allowed=0.001)], 12)["errors"].change is Change.REGRESSION


def test_one_of_many_metrics_needs_more_evidence_than_one_alone():
    """Holm: the same pairs that prove a regression by themselves do not among twenty metrics that are fine."""
    weak = Series(metric="weak", worse=(0.055, 0.075, 0.065, 0.085, 0.06), allowed=0.05)
    assert decide([weak], 5)["weak"].change is Change.REGRESSION
    others = [Series(metric=f"m{k}", worse=STEADY[:5], allowed=0.05) for k in range(20)]
    assert decide([weak, *others], 5)["weak"].change is Change.INCONCLUSIVE


def test_metrics_that_only_warn_take_nothing_from_those_that_block():
    weak = Series(metric="weak", worse=(0.055, 0.075, 0.065, 0.085, 0.06), allowed=0.05)
    others = [Series(metric=f"m{k}", worse=STEADY[:5], allowed=0.05, gated=False) for k in range(20)]
    assert decide([weak, *others], 5)["weak"].change is Change.REGRESSION


def test_a_verdict_once_reached_stays():
    worse = (*STEADY[:5], *(0.5,) * 7)
    assert decide([Series(metric="m", worse=worse, allowed=0.05)], 12)["m"].change is Change.SAME


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_change_by_exactly_the_margin_is_what_is_allowed(metric):
    margin = metric.margin or 0.02
    other = 100.0 * (1.0 - margin if metric.better == "higher" else 1.0 + margin)
    worse = worsening(metric, 100.0, other) if metric.ratio else worsening(metric, 0.0, margin)
    assert worse == pytest.approx(allowed_worsening(metric, margin))
    sign = -1.0 if metric.better == "higher" else 1.0
    assert shown_change(metric, worse) == pytest.approx(sign * margin)


def test_a_figure_of_nothing_has_no_ratio():
    with pytest.raises(ValueError, match="no ratio"):
        worsening(metric_named("saturated_rps"), 10.0, 0.0)


def test_the_coefficient_of_variation_is_that_of_textbooks():
    assert coefficient_of_variation((9.0, 10.0, 11.0)) == pytest.approx(0.1)
    assert coefficient_of_variation((5.0,)) == 0.0
    assert not math.isnan(coefficient_of_variation((0.0, 0.0)))
