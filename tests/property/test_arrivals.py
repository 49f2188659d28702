"""Arrivals: as many as offered, in order, with the gaps they claim. Seeds are fixed: these tests do not flicker."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tuner.domain.arrivals import intended_starts_s
from tuner.domain.load import Arrivals, LoadProfile, Payload

# Of 40 seeds tested at this level each, the chance that a true law fails even one test is below 1 in 10,000.
ERROR_RATE = 1e-4 / 40
SEEDS = range(40)


def profile(
    arrivals: Arrivals = "poisson", *, rate_rps: float = 200.0, window_s: float = 10.0, seed: int = 0
) -> LoadProfile:
    return LoadProfile(
        arrivals=arrivals,
        offered_rps=rate_rps,
        warmup_s=0.0,
        window_s=window_s,
        timeout_s=1.0,
        payload=Payload(),
        seed=seed,
    )


@given(
    arrivals=st.sampled_from(["constant", "poisson"]),
    rate_rps=st.floats(0.5, 500.0),
    window_s=st.floats(0.1, 20.0),
    seed=st.integers(0, 2**32 - 1),
)
def test_starts_ascend_within_the_duration(arrivals: Arrivals, rate_rps: float, window_s: float, seed: int):
    starts_s = intended_starts_s(profile(arrivals, rate_rps=rate_rps, window_s=window_s, seed=seed))
    assert all(early < late for early, late in pairwise(starts_s))
    assert all(0.0 <= start < window_s for start in starts_s)


@given(seed=st.integers(0, 2**32 - 1))
def test_the_same_seed_gives_the_same_arrivals_byte_for_byte(seed: int):
    def text() -> str:
        return " ".join(map(float.hex, intended_starts_s(profile(seed=seed, window_s=1.0))))

    assert text() == text()


def test_another_seed_gives_other_arrivals():
    assert intended_starts_s(profile(seed=1)) != intended_starts_s(profile(seed=2))


@given(rate_rps=st.floats(0.5, 500.0), window_s=st.floats(0.1, 20.0))
def test_constant_arrivals_offer_the_rate(rate_rps: float, window_s: float):
    starts_s = intended_starts_s(profile("constant", rate_rps=rate_rps, window_s=window_s))
    assert abs(len(starts_s) - rate_rps * window_s) < 1.0 + 1e-6
    assert all(math.isclose(start, k / rate_rps) for k, start in enumerate(starts_s))


@pytest.mark.parametrize(("rate_rps", "window_s", "count"), [(100.0, 0.29, 29), (10.0, 0.95, 10), (250.0, 6.0, 1500)])
def test_constant_arrivals_fill_the_whole_duration(rate_rps: float, window_s: float, count: int):
    assert len(intended_starts_s(profile("constant", rate_rps=rate_rps, window_s=window_s))) == count


def test_poisson_counts_have_the_mean_and_the_variance_of_poisson():
    """Counts in windows of 10 s at 20 rps: mean 200, and a variance-to-mean ratio of 1 (chi-squared test)."""
    counts = [len(intended_starts_s(profile(rate_rps=20.0, seed=seed))) for seed in range(400)]
    mean = sum(counts) / len(counts)
    assert abs(mean - 200.0) < 4.5 * math.sqrt(200.0 / len(counts)), "4.5 standard errors: 1 in 100,000"
    dispersion = sum((count - mean) ** 2 for count in counts) / mean
    low, high = stats.chi2.ppf([5e-6, 1.0 - 5e-6], len(counts) - 1)
    assert low < dispersion < high


@pytest.mark.parametrize("seed", SEEDS)
def test_poisson_gaps_are_exponential(seed: int):
    starts_s = (0.0, *intended_starts_s(profile(seed=seed)))
    gaps_s = [late - early for early, late in pairwise(starts_s)]
    assert stats.kstest(gaps_s, "expon", args=(0.0, 1.0 / 200.0)).pvalue > ERROR_RATE


@pytest.mark.parametrize("seed", SEEDS)
def test_poisson_gaps_do_not_depend_on_each_other(seed: int):
    starts_s = intended_starts_s(profile(seed=seed))
    gaps_s = [late - early for early, late in pairwise(starts_s)]
    assert stats.pearsonr(gaps_s[:-1], gaps_s[1:]).pvalue > ERROR_RATE
