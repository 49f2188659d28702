"""Percentiles are nearest-rank, exactly, also after counts of several runs were added."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.domain.histogram import LatencyCounts, add_counts, count_latencies, nearest_rank, rounded_up_us

PERCENTS = (50.0, 90.0, 95.0, 99.0, 99.9)
LATENCIES_S = st.lists(st.floats(0.0, 100.0), min_size=1, max_size=300)
PERCENT = st.sampled_from(PERCENTS)


@given(values=LATENCIES_S, percent=PERCENT)
def test_nearest_rank_is_the_inverse_of_the_distribution_function(values: list[float], percent: float):
    """Hyndman-Fan type 1 in exact arithmetic: the smallest value that at least this share is not above."""
    ascending = sorted(values)
    rank = math.ceil(Fraction(str(percent)) * len(values) / 100)
    assert nearest_rank(ascending, percent) == ascending[rank - 1]


@pytest.mark.parametrize("percent", PERCENTS)
def test_nearest_rank_agrees_with_numpy(percent: float):
    values = np.random.default_rng(5).exponential(size=1009)  # a prime: no rank falls on a whole number
    assert nearest_rank(sorted(values), percent) == np.percentile(values, percent, method="inverted_cdf")


@pytest.mark.parametrize(("percent", "expected"), [(99.0, 99.0), (99.9, 100.0), (50.0, 50.0), (7.0, 7.0), (95.0, 95.0)])
def test_a_rank_that_is_a_whole_number_is_not_rounded_up(percent: float, expected: float):
    assert nearest_rank([float(k) for k in range(1, 101)], percent) == expected


def test_no_percentile_of_nothing():
    with pytest.raises(ValueError, match="no values"):
        nearest_rank([], 99.0)


@given(latency_us=st.integers(0, 10**10))
def test_rounding_up_is_never_below_and_at_most_a_thousandth_above(latency_us: int):
    assert latency_us <= rounded_up_us(latency_us) <= latency_us * 1.001


@given(first=LATENCIES_S, second=LATENCIES_S, failures=st.integers(0, 20), percent=PERCENT)
def test_pooled_percentiles_are_those_of_the_pooled_latencies(
    first: list[float], second: list[float], failures: int, percent: float
):
    second = [*second, *[math.inf] * failures]
    pooled = add_counts([count_latencies(first), count_latencies(second)])
    truth_ms = nearest_rank(sorted(first + second), percent) * 1000.0
    assert pooled.total == len(first) + len(second)
    assert pooled.failed == failures
    if math.isinf(truth_ms):
        assert math.isinf(pooled.percentile_ms(percent))
    else:
        assert truth_ms * (1 - 1e-9) <= pooled.percentile_ms(percent) <= truth_ms * 1.001 + 0.00101


def test_nothing_counted_is_infinitely_late():
    assert LatencyCounts(counts=()).percentile_ms(50.0) == math.inf
