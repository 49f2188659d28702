"""Verdicts: known counts pass, their mirror images fail, and correlated requests count for less."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tuner.domain.slo import Slo, Tally, Verdict, assess, judge, pool
from tuner.domain.statistics import binomial_lower_tail, binomial_upper_tail, design_effect

P99 = Slo(indicator="latency_p99_ms", max=100.0)
ERRORS = Slo(indicator="error_ratio", max=0.001)


def seen(requests: int, bad: int, *, slo: Slo = P99, effect: float = 1.0, observed: float = 0.0) -> Tally:
    return Tally(slo=slo, requests=requests, bad=bad, observed=observed, design_effect=effect)


# MLPerf LoadGen's early-stopping table for a p99 at 99 % confidence.
@pytest.mark.parametrize(("late", "requests"), [(0, 459), (1, 662), (2, 838), (5, 1307), (10, 2010)])
def test_a_p99_passes_from_exactly_so_many_requests_on(late: int, requests: int):
    assert assess(seen(requests, late)).verdict is Verdict.PASS
    assert assess(seen(requests - 1, late)).verdict is Verdict.UNDECIDED


@pytest.mark.parametrize("requests", [1, 10, 100, 459, 2010])
def test_a_p99_fails_from_exactly_so_many_late_requests_on(requests: int):
    """The mirror image, by scipy's own binomial distribution: P[X >= late] <= 1 % at the limit."""
    certain = next(late for late in range(requests + 2) if stats.binom.sf(late - 1, requests, 0.01) <= 0.01)
    if certain <= requests:
        assert assess(seen(requests, certain)).verdict is Verdict.FAIL
    assert assess(seen(requests, certain - 1)).verdict is not Verdict.FAIL


@given(trials=st.integers(1, 3000), share=st.floats(0.001, 0.5), data=st.data())
def test_the_tails_are_those_of_the_binomial_distribution(trials: int, share: float, data: st.DataObject):
    successes = data.draw(st.integers(0, trials))
    assert binomial_lower_tail(successes, trials, share) == pytest.approx(
        stats.binom.cdf(successes, trials, share), rel=1e-6, abs=1e-12
    )
    assert binomial_upper_tail(successes, trials, share) == pytest.approx(
        stats.binom.sf(successes - 1, trials, share), rel=1e-6, abs=1e-12
    )


def test_correlated_requests_count_for_less():
    assert assess(seen(459, 0, effect=1.0)).verdict is Verdict.PASS
    assert assess(seen(459, 0, effect=2.0)).verdict is Verdict.UNDECIDED
    assert assess(seen(918, 0, effect=2.0)).verdict is Verdict.PASS
    assert assess(seen(100, 6, effect=1.0)).verdict is Verdict.FAIL
    assert assess(seen(100, 6, effect=6.0)).verdict is Verdict.UNDECIDED


@given(late=st.integers(0, 30), requests=st.integers(31, 5000), effect=st.floats(1.0, 50.0))
def test_one_more_late_request_never_helps(late: int, requests: int, effect: float):
    order = [Verdict.PASS, Verdict.UNDECIDED, Verdict.FAIL]
    now, worse = (assess(seen(requests, bad, effect=effect)).verdict for bad in (late, late + 1))
    assert order.index(now) <= order.index(worse)


def test_without_requests_nothing_is_decided():
    assert assess(seen(0, 0)).verdict is Verdict.UNDECIDED


def test_any_failed_slo_fails_and_only_all_passed_pass():
    passed, failed, undecided = seen(459, 0), seen(100, 50), seen(10, 0)
    assert judge([passed, passed]) is Verdict.PASS
    assert judge([passed, undecided]) is Verdict.UNDECIDED
    assert judge([passed, undecided, failed]) is Verdict.FAIL
    assert judge([]) is Verdict.UNDECIDED


def test_pooled_evidence_adds_counts_weighs_the_design_effect_and_shows_the_worst():
    one = (seen(100, 1, effect=1.0, observed=50.0), seen(100, 0, slo=ERRORS))
    two = (seen(300, 2, effect=3.0, observed=70.0), seen(300, 1, slo=ERRORS))
    late, errors = pool([one, two])
    assert (late.requests, late.bad, late.observed, late.design_effect) == (400, 3, 70.0, 2.5)
    assert (errors.requests, errors.bad) == (400, 1)


def test_three_runs_pass_together_what_none_passes_alone():
    runs = [(seen(200, 0),)] * 3
    assert judge(runs[0]) is Verdict.UNDECIDED
    assert judge(pool(runs)) is Verdict.PASS


def markov_flags(share: float, correlation: float, seed: int) -> Iterator[bool]:
    """A chain with this share of true flags and this correlation of neighbours, in its steady state."""
    source = random.Random(seed)
    flag = source.random() < share
    while True:
        yield flag
        stay_true, become_true = share + correlation * (1.0 - share), share * (1.0 - correlation)
        flag = source.random() < (stay_true if flag else become_true)


def waits_of_a_fixed_service(load: float, count: int, seed: int) -> list[float]:
    """Waiting times in an M/D/1 queue with service time 1, by Lindley's recursion."""
    source, wait, waits = random.Random(seed), 0.0, []
    for _ in range(count):
        waits.append(wait)
        wait = max(0.0, wait + 1.0 - source.expovariate(load))
    return waits


def mean_effect(estimates: list[float]) -> float:
    return sum(estimates) / len(estimates)


def test_independent_requests_have_no_design_effect():
    """The estimate never says less than 1, so its mean is a little above."""
    estimates = [design_effect(list(islice(markov_flags(0.1, 0.0, seed), 5000))) for seed in range(40)]
    assert 1.0 <= mean_effect(estimates) < 1.3


@pytest.mark.parametrize("correlation", [0.5, 0.8])
def test_the_design_effect_of_a_chain_is_the_known_one(correlation: float):
    """(1 + r) / (1 - r) for correlation r of neighbours; the mean of 60 estimates has a standard error of 5 %."""
    known = (1.0 + correlation) / (1.0 - correlation)
    estimates = [design_effect(list(islice(markov_flags(0.1, correlation, seed), 5000))) for seed in range(60)]
    assert mean_effect(estimates) == pytest.approx(known, rel=0.2)


@pytest.mark.parametrize(("load", "low", "high"), [(0.3, 1.6, 3.5), (0.6, 6.0, 12.0)])
def test_the_design_effect_of_a_queue_grows_with_its_load(load: float, low: float, high: float):
    """Requests later than the p99 of an M/D/1 queue: about 2 at 30 % load and 9 at 60 %."""
    estimates = []
    for seed in range(16):
        waits = waits_of_a_fixed_service(load, 20_000, seed)
        limit = sorted(waits)[int(0.99 * len(waits))]
        estimates.append(design_effect([wait > limit for wait in waits]))
    assert low < mean_effect(estimates) < high


@pytest.mark.parametrize("flags", [[], [True], [False] * 1000, [True] * 1000, [True, False] * 10])
def test_where_there_is_nothing_to_see_the_design_effect_is_one(flags: list[bool]):
    assert design_effect(flags) == 1.0
