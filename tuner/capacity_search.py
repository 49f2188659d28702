"""The search for the capacity of one deployment: which loads are measured for how long, and what is believed of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tuner.domain.capacity import (
    LOOK_CONFIDENCE,
    MOST_LOOKS,
    Capacity,
    Look,
    Probe,
    capacity_of,
    fewest_requests,
    holds_as_seen,
    may_still_be_decided,
    next_look,
    short_window_s,
)
from tuner.domain.deployment import Deployment, Telemetry, telemetry_between
from tuner.domain.histogram import nearest_rank
from tuner.domain.load import LoadProfile, LoadRun
from tuner.domain.measurement import Measurement, measure
from tuner.domain.slo import PERCENT, Slo, Tally, Verdict, judge, pool
from tuner.ports import LoadGenerator

MOST_REPEATS = 2
IDLE_RPS = 20.0
IDLE_WINDOW_S = 0.5
MOST_IDLE_CHECKS = 20
STILL_FALLING = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One load: the evidence of all its windows together, the last measurement, and the seconds of load it took.

    `verdict` is None where every measurement was spoiled. `settled` as in `Probe`.
    """

    offered_rps: float
    measurement: Measurement
    tallies: tuple[Tally, ...]
    verdict: Verdict | None
    settled: bool
    load_s: float

    @property
    def probe(self) -> Probe:
        """What the search has to know of it."""
        good = self.verdict is not None and all(map(holds_as_seen, self.tallies))
        return Probe(
            offered_rps=self.offered_rps,
            verdict=self.verdict,
            looks_good=good or self.verdict is Verdict.PASS,
            settled=self.settled,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundCapacity:
    """The capacity, every load tried in order, and the best of them: the highest that passed, or nearest to it.

    `load_s` are all seconds of load, with those that were spoiled and those that waited for the server to catch up.
    """

    capacity: Capacity
    levels: tuple[Level, ...]
    best: Level
    load_s: float


def search_capacity(
    generator: LoadGenerator,
    deployment: Deployment,
    profile: LoadProfile,
    slos: Sequence[Slo],
    telemetry: Callable[[], Telemetry] = Telemetry,
) -> FoundCapacity:
    """Measure from `profile.offered_rps` on, each load for at most `profile.window_s` in all.

    `telemetry` reads the server's counters.

    Short looks find about where the capacity is; whole windows are spent only on loads next to it, and only where they
    could still bring a verdict. A spoiled measurement is repeated at most twice, never believed. After a load that was
    not certainly held the server is given time to finish what it still holds, or the next load would be blamed for it.
    """
    search = _Search(generator, deployment, profile, tuple(slos), telemetry)
    levels: dict[float, Level] = {}
    lowest_rps = fewest_requests(slos) / profile.window_s
    for _ in range(MOST_LOOKS):
        look = next_look([level.probe for level in levels.values()], profile.offered_rps, lowest_rps=lowest_rps)
        if look is None:
            break
        level = search.looked_at(look, levels.get(look.offered_rps))
        levels[look.offered_rps] = level
        if level.verdict is not Verdict.PASS:
            search.let_it_catch_up()
    return FoundCapacity(
        capacity=capacity_of([level.probe for level in levels.values()]),
        levels=tuple(levels.values()),
        best=max(levels.values(), key=_rank),
        load_s=search.load_s,
    )


def _rank(level: Level) -> tuple[int, float]:
    """The highest load that passed; without one, the nearest to passing."""
    order = {None: 0, Verdict.FAIL: 1, Verdict.UNDECIDED: 2, Verdict.PASS: 3}
    grade = order[level.verdict]
    return grade, level.offered_rps if level.verdict is Verdict.PASS else -level.offered_rps


class _Search:
    """Runs of load on one deployment, each with arrivals of its own, and how long they took together."""

    def __init__(
        self,
        generator: LoadGenerator,
        deployment: Deployment,
        profile: LoadProfile,
        slos: tuple[Slo, ...],
        telemetry: Callable[[], Telemetry],
    ) -> None:
        self._generator = generator
        self._deployment = deployment
        self._profile = profile
        self._slos = slos
        self._telemetry = telemetry
        self._runs = 0
        self.load_s = 0.0

    def looked_at(self, look: Look, before: Level | None) -> Level:
        """A short window, if there was none, and the rest of the whole where it was asked for and may decide."""
        begin_s, rate_rps, longest_s = self.load_s, look.offered_rps, self._profile.window_s
        short_s = short_window_s(self._slos, rate_rps, longest_s)
        level = before or self._level(rate_rps, self._measured(rate_rps, short_s), (), settled=False)
        if look.whole and not level.settled:
            if may_still_be_decided(level.tallies, longest_s / short_s):
                more = self._measured(rate_rps, longest_s - short_s)
                level = self._level(rate_rps, more, level.tallies, settled=True)
            else:
                level = replace(level, settled=True)
        return replace(level, load_s=self.load_s - begin_s + (before.load_s if before else 0.0))

    def _level(self, rate_rps: float, measurement: Measurement, tallies: tuple[Tally, ...], *, settled: bool) -> Level:
        """A measurement and the evidence from before it, judged together."""
        together = pool([tallies, measurement.tallies]) if tallies else measurement.tallies
        verdict = None if measurement.spoiled else judge(together, LOOK_CONFIDENCE)
        return Level(
            offered_rps=rate_rps,
            measurement=measurement,
            tallies=together,
            verdict=verdict,
            settled=settled or verdict is not Verdict.UNDECIDED,
            load_s=0.0,
        )

    def _measured(self, rate_rps: float, window_s: float) -> Measurement:
        """Repeated while it is spoiled, at most MOST_REPEATS times; the last one may still be."""
        for _ in range(MOST_REPEATS + 1):
            before = self._telemetry()
            run = self._drive(replace(self._profile, offered_rps=rate_rps, window_s=window_s))
            measurement = measure(run, self._slos, telemetry_between(before, self._telemetry()))
            if not measurement.spoiled:
                break
        return measurement

    def _drive(self, profile: LoadProfile) -> LoadRun:
        run = self._generator.drive(self._deployment, replace(profile, seed=self._profile.seed + self._runs))
        self._runs += 1
        self.load_s += run.profile.duration_s
        return run

    def let_it_catch_up(self) -> None:
        """A little load until its answers are early again, or no longer get earlier: a server that always is late."""
        limit_s = min((slo.max / 1000.0 for slo in self._slos if slo.indicator in PERCENT), default=math.inf)
        light = replace(
            self._profile, arrivals="constant", offered_rps=IDLE_RPS, warmup_s=0.0, window_s=IDLE_WINDOW_S, slos=()
        )
        before_s = math.inf
        for _ in range(MOST_IDLE_CHECKS):
            samples = self._drive(light).samples
            waits_s = sorted(b - a for a, b in zip(samples.intended_s, samples.done_s, strict=True))
            typical_s = nearest_rank(waits_s, 50.0)
            if typical_s <= limit_s / 2.0 or typical_s > STILL_FALLING * before_s:
                return
            before_s = typical_s
