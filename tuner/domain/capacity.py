"""The highest load at which every SLO holds, by verdicts at a few loads. Pure: from the probes so far to the next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tuner.domain.slo import Verdict

PRECISION = 0.05
STEP = 2.0
MOST_PROBES = 16
LOWEST_SHARE = 1 / 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One load and what it showed."""

    offered_rps: float
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """PASS was certain at `low_rps` (0: at no load tried), FAIL at `high_rps` (None: at no load tried)."""

    low_rps: float
    high_rps: float | None


def capacity_of(probes: Sequence[Probe]) -> Capacity:
    """What the probes show. A PASS beyond a FAIL is not believed: load that fails once is too much."""
    failed = [probe.offered_rps for probe in probes if probe.verdict is Verdict.FAIL]
    high_rps = min(failed, default=None)
    passed = [
        probe.offered_rps
        for probe in probes
        if probe.verdict is Verdict.PASS and (high_rps is None or probe.offered_rps < high_rps)
    ]
    return Capacity(low_rps=max(passed, default=0.0), high_rps=high_rps)


def next_load_rps(
    probes: Sequence[Probe], first_rps: float, *, highest_rps: float = math.inf, precision: float = PRECISION
) -> float | None:
    """The load to try next; None when the interval is as narrow as it gets.

    Doubling from the first load (halving, if that fails) brackets the capacity, bisection in the logarithm narrows
    it. Between a PASS and a FAIL, UNDECIDED loads are left alone: both gaps around them are narrowed.
    """
    if not probes:
        return first_rps
    if len(probes) >= MOST_PROBES:
        return None
    found = capacity_of(probes)
    if found.high_rps is None:
        tried_rps = max(probe.offered_rps for probe in probes)
        return min(tried_rps * STEP, highest_rps) if tried_rps < highest_rps else None
    open_rps = sorted(p.offered_rps for p in probes if found.low_rps < p.offered_rps < found.high_rps)
    if not found.low_rps:
        lower_rps = min([*open_rps, found.high_rps]) / STEP
        return lower_rps if lower_rps >= first_rps * LOWEST_SHARE else None
    bounds = [found.low_rps, *open_rps, found.high_rps]
    gaps = [(bounds[1] / bounds[0], bounds[0], bounds[1]), (bounds[-1] / bounds[-2], bounds[-2], bounds[-1])]
    ratio, low_rps, high_rps = max(gaps)
    return math.sqrt(low_rps * high_rps) if ratio > 1.0 + precision else None
