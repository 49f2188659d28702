"""Intended start times as a pure function of a profile: same seed, same arrivals."""

from __future__ import annotations

import math
import random
from typing import assert_never

from tuner.domain.load import LoadProfile


def intended_starts_s(profile: LoadProfile) -> tuple[float, ...]:
    """Ascending start times in seconds, all in [0, warm-up + window)."""
    match profile.arrivals:
        case "constant":
            return _constant(profile.offered_rps, profile.duration_s)
        case "poisson":
            return _poisson(profile.offered_rps, profile.duration_s, profile.seed)
        case _ as unreachable:
            assert_never(unreachable)


def _constant(rate_rps: float, duration_s: float) -> tuple[float, ...]:
    # Every k with k / rate < duration; the small number keeps 29.000000000000004 from counting as 30.
    count = math.ceil(rate_rps * duration_s - 1e-9)
    return tuple(k / rate_rps for k in range(count))


def _poisson(rate_rps: float, duration_s: float, seed: int) -> tuple[float, ...]:
    """Exponential gaps with mean 1 / rate."""
    source, starts = random.Random(seed), []
    start_s = source.expovariate(rate_rps)
    while start_s < duration_s:
        starts.append(start_s)
        start_s += source.expovariate(rate_rps)
    return tuple(starts)
