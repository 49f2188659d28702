"""Recorder and percentiles against latency laws known in closed form, on a virtual clock.

Two truths, both exact. The order statistics of the very latencies that were played, by numpy's nearest rank: what the
recorder keeps must give them back to a microsecond. And the law's own quantile: the shares played are (k + 1/2) / n for
the n requests of the window, each once, in random order, so the sample's quantile at p is the law's at most 1 / (2 n)
away from p; how far off that alone puts it is computed from the law, and is at most half of what is allowed.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from statistics import NormalDist

import numpy as np
import pytest

from load_profiles.packed_samples import pack, unpack
from load_profiles.recording import Recording
from load_profiles.running_latencies import RunningLatencies
from tests.unit.test_measurement import HEALTHY, P99, PROFILE
from tuner.domain.arrivals import intended_starts_s
from tuner.domain.deployment import Telemetry
from tuner.domain.load import LoadRun
from tuner.domain.measurement import Measurement, measure

Law = Callable[[float], float]
NORMAL = NormalDist()
LAWS: dict[str, Law] = {
    "constant 0.3 ms": lambda _u: 0.0003,
    "constant 3 s": lambda _u: 3.0,
    "exponential 0.3 ms": lambda u: -0.0003 * math.log1p(-u),
    "exponential 20 ms": lambda u: -0.020 * math.log1p(-u),
    "exponential 400 ms, to 3 s and beyond": lambda u: -0.400 * math.log1p(-u),
    "bimodal 1 ms or 300 ms": lambda u: 0.001 if u < 0.97 else 0.300 + 0.1 * (u - 0.97),
    "bimodal 0.3 ms or 3 s": lambda u: 0.0003 if u < 0.9985 else 3.0,
    "heavy tail (Pareto 2) from 2 ms": lambda u: 0.002 / math.sqrt(1.0 - u),
    "heavy tail (Pareto 1.2) from 0.3 ms": lambda u: 0.0003 / (1.0 - u) ** (1.0 / 1.2),
    "lognormal around 50 ms": lambda u: 0.050 * math.exp(0.8 * NORMAL.inv_cdf(u)),
}
PERCENTS = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p99_9": 99.9}
SHOWN = replace(PROFILE, arrivals="poisson", offered_rps=10_000.0, warmup_s=0.5, window_s=10.0)


def allowed_ms(truth_ms: float) -> float:
    """The bound that the product states: 1 % or 0.2 ms."""
    return max(0.01 * truth_ms, 0.2)


@cache
def played(name: str) -> tuple[Measurement, tuple[float, ...]]:
    """A window of about 100,000 requests through recorder, packing and measurement, and the latencies played in it.

    The warm-up's requests all take 10 s: one of them counted would show.
    """
    due_s = intended_starts_s(SHOWN)
    warm_up = sum(start_s < SHOWN.warmup_s for start_s in due_s)
    window = len(due_s) - warm_up
    latencies_s = [LAWS[name]((k + 0.5) / window) for k in range(window)]
    random.Random(3).shuffle(latencies_s)
    recording = Recording(due_s)
    for index, (start_s, latency_s) in enumerate(zip(due_s, [10.0] * warm_up + latencies_s, strict=True)):
        recording.send(index, start_s)
        recording.succeed(index, start_s + latency_s)
    samples, health = unpack(pack(recording, HEALTHY), due_s)
    run = LoadRun(profile=SHOWN, samples=samples, generator=health)
    return measure(run, (P99,), Telemetry()), tuple(latencies_s)


@pytest.mark.parametrize("name", LAWS)
def test_percentiles_are_the_order_statistics_of_what_was_played(name: str):
    measurement, latencies_s = played(name)
    assert measurement.requests == len(latencies_s)
    for percentile, percent in PERCENTS.items():
        truth_ms = 1000.0 * float(np.percentile(latencies_s, percent, method="inverted_cdf"))
        assert getattr(measurement.latency_ms, percentile) == pytest.approx(truth_ms, abs=0.001)
    assert measurement.latency_ms.max == pytest.approx(max(latencies_s) * 1000.0, abs=0.001)
    assert measurement.latency_ms.mean == pytest.approx(math.fsum(latencies_s) / len(latencies_s) * 1000.0, abs=0.001)


@pytest.mark.parametrize("name", LAWS)
def test_percentiles_are_within_one_percent_or_a_fifth_of_a_millisecond_of_the_law(name: str):
    measurement, latencies_s = played(name)
    half_step = 0.5 / len(latencies_s)
    for percentile, percent in PERCENTS.items():
        share = percent / 100.0
        truth_ms = LAWS[name](share) * 1000.0
        own_error_ms = max(abs(LAWS[name](share + side * half_step) * 1000.0 - truth_ms) for side in (-1, 1))
        assert own_error_ms <= 0.5 * allowed_ms(truth_ms), "too few requests to show this percentile of this law"
        assert abs(getattr(measurement.latency_ms, percentile) - truth_ms) <= allowed_ms(truth_ms)


@pytest.mark.parametrize("name", LAWS)
def test_counts_that_are_kept_and_pooled_lose_at_most_a_thousandth(name: str):
    measurement, latencies_s = played(name)
    for percent in PERCENTS.values():
        truth_ms = 1000.0 * float(np.percentile(latencies_s, percent, method="inverted_cdf"))
        assert truth_ms - 0.001 <= measurement.counts.percentile_ms(percent) <= 1.001 * truth_ms + 0.0015


@pytest.mark.parametrize("name", LAWS)
def test_the_percentiles_shown_while_a_run_goes_on_are_within_the_same_bound(name: str):
    _, latencies_s = played(name)
    running = RunningLatencies()
    for latency_s in latencies_s[::4]:
        running.record(latency_s)
    for percent in PERCENTS.values():
        truth_ms = 1000.0 * float(np.percentile(latencies_s[::4], percent, method="inverted_cdf"))
        assert abs(running.percentile_ms(percent) - truth_ms) <= allowed_ms(truth_ms)
