"""Recorder and percentiles against latency laws known in closed form, on a virtual clock."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from statistics import NormalDist

import pytest

from load_profiles.packed_samples import pack, unpack
from load_profiles.recording import Recording
from tests.unit.test_measurement import HEALTHY, P99, PROFILE
from tuner.domain.arrivals import intended_starts_s
from tuner.domain.deployment import Telemetry
from tuner.domain.load import LoadRun
from tuner.domain.measurement import measure

# (share -> latency in seconds); a draw is the law at a share that falls evenly: stratified, so that the sample's own
# percentiles are those of the law, and what is tested is the recorder.
Law = Callable[[float], float]
NORMAL = NormalDist()
LAWS: dict[str, Law] = {
    "constant 0.3 ms": lambda _u: 0.0003,
    "constant 3 s": lambda _u: 3.0,
    "exponential 20 ms": lambda u: -0.020 * math.log1p(-u),
    "bimodal 1 ms or 300 ms": lambda u: 0.001 if u < 0.97 else 0.300 + 0.1 * (u - 0.97),
    "heavy tail (Pareto 2) from 2 ms": lambda u: min(0.002 / math.sqrt(1.0 - u), 3.0),
    "lognormal around 50 ms": lambda u: 0.050 * math.exp(0.8 * NORMAL.inv_cdf(u)),
}
PERCENTS = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99_9": 0.999}


@pytest.mark.parametrize("name", LAWS)
def test_percentiles_are_within_one_percent_or_a_fifth_of_a_millisecond(name: str):
    profile = replace(PROFILE, offered_rps=2000.0, window_s=20.0)
    due_s = intended_starts_s(profile)
    recording = Recording(due_s)
    shares = [(k + 0.5) / len(due_s) for k in range(len(due_s))]
    random.Random(3).shuffle(shares)
    for index, (start_s, share) in enumerate(zip(due_s, shares, strict=True)):
        recording.send(index, start_s)
        recording.succeed(index, start_s + LAWS[name](share))
    samples, health = unpack(pack(recording, HEALTHY), due_s)
    measurement = measure(LoadRun(profile=profile, samples=samples, generator=health), (P99,), Telemetry())
    for percentile, share in PERCENTS.items():
        truth_ms = LAWS[name](share) * 1000.0
        seen_ms = getattr(measurement.latency_ms, percentile)
        # The warm-up's requests are left out, so the shares are a random sample after all: three standard errors.
        slack_ms = _spread_ms(LAWS[name], share, measurement.requests)
        assert abs(seen_ms - truth_ms) <= max(0.01 * truth_ms, 0.2) + slack_ms
        assert abs(measurement.counts.percentile_ms(100.0 * share) - seen_ms) <= 0.001 * seen_ms + 0.001


def _spread_ms(law: Law, share: float, requests: int) -> float:
    """Leaving out one request in 21 at random moves a rank by so much."""
    error = 3.0 * math.sqrt(share * (1.0 - share) / requests / 20.0)
    return (law(min(share + error, 1.0 - 1e-9)) - law(max(share - error, 1e-9))) * 1000.0 / 2.0
