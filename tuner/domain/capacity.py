"""The highest load at which every SLO holds, by verdicts at a few loads. Pure: from the probes so far to the next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tuner.domain.slo import CONFIDENCE, Slo, Tally, Verdict, judge

PRECISION = 0.05
UNDECIDED_PRECISION = 0.1
STEP = 2.0
SMALL_STEP = 1.2
CEILING_STEP = 1.5
MOST_LOOKS = 24
LOWEST_SHARE = 1 / 64
# One load is judged twice at most, after a short window and after the whole: each look may err half as often.
LOOK_CONFIDENCE = 1.0 - (1.0 - CONFIDENCE) / 2.0
SHORT_WINDOW_BAD = 10.0
SHORTEST_WINDOW_S = 2.0
ERRORS_ASIDE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One load and what it showed so far. `verdict` None: it could not be measured, however often.

    `looks_good` is whether the SLOs held in what was seen, certain or not. `settled`: more load would teach no more,
    because the verdict is certain, or the longest window was used up, or could not decide it either.
    """

    offered_rps: float
    verdict: Verdict | None
    looks_good: bool
    settled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A load to measure: briefly, or `whole`, as long as it takes for a verdict."""

    offered_rps: float
    whole: bool


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


def next_look(probes: Sequence[Probe], first_rps: float, *, lowest_rps: float = 0.0) -> Look | None:
    """What to measure next, given one probe for each load so far; None when the interval is as narrow as it gets.

    First short looks find about where it is: doubling from the first load (or halving, down to `lowest_rps`), then
    bisection in the logarithm, by what was seen alone. Then whole windows make both ends certain, from there outwards.
    """
    return _bracket(probes, first_rps, lowest_rps) or _certify(probes, lowest_rps)


def _bracket(probes: Sequence[Probe], first_rps: float, lowest_rps: float) -> Look | None:
    """The next short look; None where two loads, one good and one bad, are close, or no such pair can be had."""
    if not probes:
        return Look(offered_rps=first_rps, whole=False)
    ceiling_rps = min((p.offered_rps for p in probes if p.verdict is None), default=math.inf)
    bad_rps = min((p.offered_rps for p in probes if p.verdict is not None and not p.looks_good), default=math.inf)
    good = [p.offered_rps for p in probes if p.looks_good and p.offered_rps < min(bad_rps, ceiling_rps)]
    if not good:
        lower_rps = min(bad_rps, ceiling_rps) / STEP
        return _short(lower_rps, probes) if lower_rps >= max(lowest_rps, first_rps * LOWEST_SHARE) else None
    if math.isinf(bad_rps) and math.isinf(ceiling_rps):
        return _short(max(good) * STEP, probes)
    nearest, above_rps = (SMALL_STEP, bad_rps) if bad_rps <= ceiling_rps else (CEILING_STEP, ceiling_rps)
    return _short(math.sqrt(max(good) * above_rps), probes) if above_rps > nearest * max(good) else None


def _short(rate_rps: float, probes: Sequence[Probe]) -> Look | None:
    known = any(probe.offered_rps == rate_rps for probe in probes)
    return None if known else Look(offered_rps=rate_rps, whole=False)


def _certify(probes: Sequence[Probe], lowest_rps: float) -> Look | None:
    """The next whole window: nearest to where good turns into bad first, then further out, then to narrow a gap."""
    found = capacity_of(probes)
    unsure = [p for p in probes if not p.settled and found.low_rps < p.offered_rps < (found.high_rps or math.inf)]
    stuck_rps = sorted(
        p.offered_rps
        for p in probes
        if p.settled and p.verdict is not Verdict.FAIL and found.low_rps < p.offered_rps < (found.high_rps or math.inf)
    )
    if not found.low_rps:
        best_rps = max((p.offered_rps for p in unsure if p.looks_good), default=0.0)
        outwards_rps = min([*stuck_rps, *([found.high_rps] if found.high_rps else [])], default=0.0) / SMALL_STEP
        rate_rps = min(best_rps, outwards_rps) if best_rps and outwards_rps else best_rps or outwards_rps
        if rate_rps and rate_rps >= lowest_rps:
            return Look(offered_rps=rate_rps, whole=True)
    if found.high_rps is None:
        return _beyond(probes, unsure, stuck_rps, found.low_rps)
    return _narrower(found, stuck_rps)


def _beyond(
    probes: Sequence[Probe], unsure: Sequence[Probe], stuck_rps: Sequence[float], low_rps: float
) -> Look | None:
    """A load that should fail for certain; none beyond what could not be measured."""
    ceiling_rps = min((p.offered_rps for p in probes if p.verdict is None), default=math.inf)
    worst_rps = min((p.offered_rps for p in unsure if not p.looks_good), default=math.inf)
    outwards_rps = max([low_rps, *(rate for rate in stuck_rps if rate < ceiling_rps)]) * SMALL_STEP
    rate_rps = max(worst_rps, outwards_rps) if worst_rps < math.inf else outwards_rps
    return Look(offered_rps=rate_rps, whole=True) if 0.0 < rate_rps < ceiling_rps else None


def _narrower(found: Capacity, stuck_rps: Sequence[float]) -> Look | None:
    """Half of the widest gap next to a bound; around loads that stay undecided both are left wider."""
    if not found.low_rps or found.high_rps is None:
        return None
    bounds = [found.low_rps, *stuck_rps, found.high_rps]
    gaps = [(bounds[1] / bounds[0], bounds[0], bounds[1]), (bounds[-1] / bounds[-2], bounds[-2], bounds[-1])]
    ratio, low_rps, high_rps = max(gaps)
    enough = 1.0 + (UNDECIDED_PRECISION if stuck_rps else PRECISION)
    return Look(offered_rps=math.sqrt(low_rps * high_rps), whole=True) if ratio > enough else None


def fewest_requests(slos: Sequence[Slo], confidence: float = LOOK_CONFIDENCE) -> int:
    """How many requests a PASS takes at the least, were none of them bad: below that no load can be shown to hold."""
    shares = [slo.allowed_share for slo in slos if slo.allowed_share]
    return math.ceil(math.log(1.0 - confidence) / math.log1p(-min(shares))) if shares else 1


def short_window_s(slos: Sequence[Slo], rate_rps: float, longest_s: float) -> float:
    """A first look at a load: long enough to expect SHORT_WINDOW_BAD bad requests at the limit, at most half of all."""
    least = min((slo.allowed_share for slo in slos if slo.allowed_share), default=1.0)
    return min(longest_s / 2.0, max(SHORTEST_WINDOW_S, SHORT_WINDOW_BAD / least / rate_rps))


def holds_as_seen(tally: Tally) -> bool:
    """Whether the share of bad requests is within what the SLO allows, certain or not."""
    return tally.bad <= tally.slo.allowed_share * tally.requests


def may_still_be_decided(tallies: Sequence[Tally], times: float) -> bool:
    """Whether `times` as many requests could bring a verdict: at the share seen so far, or half a standard error off.

    A wrong no costs the verdict of one load, never its truth: it stays undecided.
    """
    verdicts = [judge([_foreseen(tally, times, side) for tally in tallies], LOOK_CONFIDENCE) for side in (-1, 1)]
    return any(verdict is not Verdict.UNDECIDED for verdict in verdicts)


def _foreseen(tally: Tally, times: float, side: int) -> Tally:
    error = ERRORS_ASIDE * math.sqrt(max(tally.bad, 1) * tally.design_effect)
    more = (times - 1.0) * max(0.0, tally.bad + side * error)
    return replace(tally, requests=round(tally.requests * times), bad=round(tally.bad + more))
