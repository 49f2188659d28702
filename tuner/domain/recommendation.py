"""From history to answer: candidates by cost, the evidence for each, and the conclusion of a study."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from tuner.domain.histogram import LatencyCounts, add_counts
from tuner.domain.measurement import Measurement
from tuner.domain.slo import Slo, Tally, Verdict, judge, pool
from tuner.domain.space import Configuration
from tuner.domain.trial import Confirmation, Infeasible, Level, Measured, Search, Trial

# A level that misses its limits by this factor or less is likely to pass its proof too.
COMFORTABLE = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """So many replicas of one configuration: something that can be bought."""

    configuration: Configuration
    replicas: int
    unit_cost_per_hour: float

    @property
    def cost_per_hour(self) -> float:
        return self.replicas * self.unit_cost_per_hour


class Standing(StrEnum):
    """Where a candidate stands: `open` may still be proven, `stuck` is undecided after its full test, or would be
    even if every deployment still to come had as many requests, as alike, and not one bad.
    """

    PROVEN = "proven"
    REFUTED = "refuted"
    STUCK = "stuck"
    OPEN = "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the fresh deployments of one candidate showed, pooled."""

    candidate: Candidate
    runs: tuple[Measurement, ...]
    infeasible_reason: str = ""

    @property
    def tallies(self) -> tuple[Tally, ...]:
        return pool([run.tallies for run in self.runs]) if self.runs else ()

    @property
    def counts(self) -> LatencyCounts:
        return add_counts(run.counts for run in self.runs)

    @property
    def verdict(self) -> Verdict:
        return Verdict.FAIL if self.infeasible_reason else judge(self.tallies)

    def standing(self, repeats: int) -> Standing:
        """Refuted as soon as that is certain; proven only by the full number of deployments."""
        if self.verdict is Verdict.FAIL:
            return Standing.REFUTED
        if len(self.runs) >= repeats:
            return Standing.PROVEN if self.verdict is Verdict.PASS else Standing.STUCK
        if self.runs and judge(_if_the_rest_were_perfect(self, repeats)) is not Verdict.PASS:
            return Standing.STUCK
        return Standing.OPEN


def _if_the_rest_were_perfect(evidence: Evidence, repeats: int) -> tuple[Tally, ...]:
    """The pooled counts if every deployment still to come had as many requests, all unlike, and not one bad."""
    done = len(evidence.runs)
    return tuple(
        Tally(
            slo=tally.slo,
            requests=tally.requests * repeats // done,
            bad=tally.bad,
            observed=tally.observed,
            design_effect=(tally.design_effect * done + repeats - done) / repeats,
        )
        for tally in evidence.tallies
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """The cheapest candidate left standing passed on fresh deployments."""

    evidence: Evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Unproven:
    """The budget ended before this candidate, the cheapest one not refuted, was proven."""

    evidence: Evidence
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NothingFeasible:
    """Every candidate was refuted, or there never was one. `closest` is the level that missed by least."""

    reason: str
    closest: tuple[Trial, Level] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NoVerdict:
    """The budget ended before anything was measured."""

    reason: str


Conclusion = Proven | Unproven | NothingFeasible | NoVerdict


def candidates(history: Sequence[Trial]) -> tuple[Candidate, ...]:
    """What the search left plausible: cheapest first, and among equals the one that missed its SLOs by less."""
    found = _plausible(history)
    return tuple(sorted(found, key=lambda c: (c.cost_per_hour, found[c], c.configuration.key)))


def cost_to_beat(history: Sequence[Trial]) -> float | None:
    """The cost of the cheapest candidate seen to hold with room to spare; None before there is one.

    A candidate that is merely plausible prunes nothing: its proof may refute it, and then the dearer ones are needed.
    """
    return min((candidate.cost_per_hour for candidate in comfortable_candidates(history)), default=None)


def comfortable_candidates(history: Sequence[Trial]) -> tuple[Candidate, ...]:
    """What the search saw hold with room to spare, in the order in which it was seen."""
    return tuple(candidate for candidate, missed in _plausible(history).items() if missed <= COMFORTABLE)


def _plausible(history: Sequence[Trial]) -> dict[Candidate, float]:
    """By how much each level that is not certainly too much load missed its SLOs when it was first measured."""
    found: dict[Candidate, float] = {}
    for trial in history:
        if not isinstance(trial.purpose, Search) or not isinstance(trial.outcome, Measured):
            continue
        for level in trial.outcome.levels:
            if level.verdict is Verdict.FAIL:
                continue
            candidate = Candidate(
                configuration=trial.configuration,
                replicas=level.replicas,
                unit_cost_per_hour=trial.unit_cost_per_hour,
            )
            found.setdefault(candidate, miss(level.measurement))
    return found


def evidence_for(candidate: Candidate, history: Sequence[Trial]) -> Evidence:
    """The confirmations of one candidate."""
    runs: list[Measurement] = []
    reason = ""
    for trial in history:
        purpose = trial.purpose
        if not isinstance(purpose, Confirmation) or trial.configuration != candidate.configuration:
            continue
        if purpose.replicas != candidate.replicas:
            continue
        match trial.outcome:
            case Measured(levels=levels):
                runs.extend(level.measurement for level in levels)
            case Infeasible(reason=why):
                reason = why
            case _:
                pass  # a failure of the machine says nothing about the candidate
    return Evidence(candidate=candidate, runs=tuple(runs), infeasible_reason=reason)


def miss(measurement: Measurement) -> float:
    """By which factor the worst SLO was missed (1 = exactly at its limit); infinite if an indicator is."""
    return max((_miss_one(tally.slo, tally.observed) for tally in measurement.tallies), default=math.inf)


def _miss_one(slo: Slo, observed: float) -> float:
    if slo.max > 0:
        return observed / slo.max
    return math.inf if observed > 0 else 0.0


def closest_miss(history: Sequence[Trial]) -> tuple[Trial, Level] | None:
    """The measured level that came nearest to its SLOs; among the hopeless, the one that carried the most load."""
    levels = [
        (trial, level) for trial in history if isinstance(trial.outcome, Measured) for level in trial.outcome.levels
    ]

    def nearness(pair: tuple[Trial, Level]) -> tuple[float, float]:
        measurement = pair[1].measurement
        return miss(measurement), -measurement.achieved_rps

    return min(levels, key=nearness, default=None)
