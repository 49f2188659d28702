"""Intended start times as a pure function of a profile: same seed, same arrivals."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from itertools import count, takewhile
from typing import assert_never

from tuner.domain.arrival_kinds import Arrivals, Diurnal, Gamma, Periodic, Ramp, Replay, Shape, Spike, Steps
from tuner.domain.load import LoadProfile

PARTS_OF_MEAN = 1000


def intended_starts_s(profile: LoadProfile) -> tuple[float, ...]:
    """Ascending start times in seconds, all in [0, warm-up + window). Shapes begin when the warm-up ends."""
    arrivals, rate_rps, duration_s = profile.arrivals, profile.offered_rps, profile.duration_s
    source = random.Random(profile.seed)
    match arrivals:
        case "constant":
            return _constant(rate_rps, duration_s)
        case "poisson":
            return tuple(_until(duration_s, _poisson(rate_rps, source)))
        case Gamma():
            return tuple(_until(duration_s, _gamma(rate_rps, arrivals.burstiness, source)))
        case Replay():
            return tuple(_until(duration_s, _replay(arrivals, rate_rps)))
        case Ramp() | Steps() | Spike() | Diurnal() | Periodic():
            return _shaped(arrivals, profile, source)
        case _ as unreachable:
            assert_never(unreachable)


def share_at(shape: Shape, at_s: float, window_s: float) -> float:
    """The share of the offered rate that a shape asks for, `at_s` into its window; before it, that of its begin."""
    part = min(max(at_s / window_s, 0.0), 1.0)
    match shape:
        case Ramp(begin=begin, end=end):
            return begin + (end - begin) * part
        case Steps(shares=shares):
            return shares[min(int(part * len(shares)), len(shares) - 1)]
        case Spike(base=base, peak=peak, length=length, spikes=spikes):
            return peak if abs(part * spikes % 1.0 - 0.5) < length / 2.0 else base
        case Diurnal(valley=valley, peak=peak, sharpness=sharpness):
            return valley + (peak - valley) * (0.5 - 0.5 * math.cos(2.0 * math.pi * part)) ** sharpness
        case Periodic(every_s=every_s, work_s=work_s, idle=idle):
            return 1.0 if max(at_s, 0.0) % every_s < work_s else idle
        case _ as unreachable:
            assert_never(unreachable)


def mean_share(arrivals: Arrivals, window_s: float) -> float:
    """The mean offered in a window, as a share of the offered rate."""
    match arrivals:
        case Ramp() | Steps() | Spike() | Diurnal() | Periodic():
            middles = ((k + 0.5) / PARTS_OF_MEAN * window_s for k in range(PARTS_OF_MEAN))
            return math.fsum(share_at(arrivals, middle, window_s) for middle in middles) / PARTS_OF_MEAN
        case _:
            return 1.0


def _until(duration_s: float, starts_s: Iterator[float]) -> Iterator[float]:
    return takewhile(lambda start_s: start_s < duration_s, starts_s)


def _constant(rate_rps: float, duration_s: float) -> tuple[float, ...]:
    # Every k with k / rate < duration; the small number keeps 29.000000000000004 from counting as 30.
    number = math.ceil(rate_rps * duration_s - 1e-9)
    return tuple(k / rate_rps for k in range(number))


def _poisson(rate_rps: float, source: random.Random) -> Iterator[float]:
    """Exponential gaps with mean 1 / rate."""
    start_s = 0.0
    while True:
        start_s += source.expovariate(rate_rps)
        yield start_s


def _gamma(rate_rps: float, burstiness: float, source: random.Random) -> Iterator[float]:
    """Gamma gaps with mean 1 / rate and variance burstiness / rate^2."""
    start_s = 0.0
    while True:
        start_s += source.gammavariate(1.0 / burstiness, burstiness / rate_rps)
        yield start_s


def _replay(replay: Replay, rate_rps: float) -> Iterator[float]:
    stretch = replay.mean_rps / rate_rps
    return ((lap * replay.length_s + start_s) * stretch for lap in count() for start_s in replay.starts_s)


def _shaped(shape: Shape, profile: LoadProfile, source: random.Random) -> tuple[float, ...]:
    """A Poisson process whose rate follows the shape, by thinning one of the highest rate (Lewis and Shedler 1979)."""
    highest = _highest_share(shape)
    if highest <= 0.0:
        return ()
    candidates_s = _until(profile.duration_s, _poisson(profile.offered_rps * highest, source))
    return tuple(
        start_s
        for start_s in candidates_s
        if source.random() * highest < share_at(shape, start_s - profile.warmup_s, profile.window_s)
    )


def _highest_share(shape: Shape) -> float:
    match shape:
        case Ramp(begin=begin, end=end):
            return max(begin, end)
        case Steps(shares=shares):
            return max(shares)
        case Spike(base=base, peak=peak):
            return max(base, peak)
        case Diurnal(valley=valley, peak=peak):
            return max(valley, peak)
        case Periodic(idle=idle):
            return max(1.0, idle)
        case _ as unreachable:
            assert_never(unreachable)
