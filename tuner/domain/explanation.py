"""Why this answer and no other one, as plain values: what was measured stands beside what is only predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from tuner.domain.recommendation import Candidate, Standing, evidence_for, miss
from tuner.domain.slo import Verdict
from tuner.domain.trial import Infeasible, Level, Measured, Trial


class Ground(StrEnum):
    """What a candidate is left aside for. The last three are predictions: nobody tested it."""

    REFUTED = "refuted by its proof"
    MEASURED = "measured over a limit"
    CANNOT_SERVE = "cannot serve"
    UNPROVEN = "plausible, not proven"
    WOULD_NOT_START = "predicted not to start"
    WOULD_MISS = "predicted to miss a limit"
    OPEN = "not tested"

    @property
    def predicted(self) -> bool:
        return self in (Ground.WOULD_NOT_START, Ground.WOULD_MISS, Ground.OPEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """A cheaper candidate that differs from the answer in one knob. `holds` is the probability that it would hold."""

    knob: str
    value: str
    candidate: Candidate
    ground: Ground
    detail: str
    holds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KnobWeight:
    """By which factor the judged latency differs between a knob's best and worst value, all else as in the answer."""

    knob: str
    factor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What one step on one knob would do: money, and the judged latency with a 90 % interval."""

    knob: str
    before: str
    after: str
    cost_per_hour: float
    latency_ms: float
    low_ms: float
    high_ms: float
    tested: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What the models fitted to a study's trials say around its answer. Neighbours: the likeliest to hold first.

    `indicator` is the latency objective that the models predict, and `limit_ms` its bound.
    """

    indicator: str
    limit_ms: float
    neighbours: tuple[Neighbour, ...]
    knobs: tuple[KnobWeight, ...]
    changes: tuple[Change, ...]
    tested_share: float
    trials: int


def measured_ground(candidate: Candidate, history: Sequence[Trial], repeats: int) -> tuple[Ground, str] | None:
    """What the trials themselves say of a candidate, and in which words; None where it was never measured."""
    outcomes = [trial.outcome for trial in history if trial.configuration == candidate.configuration]
    refusal = next((outcome.reason for outcome in outcomes if isinstance(outcome, Infeasible)), None)
    if refusal is not None:
        return Ground.CANNOT_SERVE, refusal
    levels = [
        level
        for outcome in outcomes
        if isinstance(outcome, Measured)
        for level in outcome.levels
        if level.replicas == candidate.replicas
    ]
    if not levels:
        return None
    worst = max(levels, key=lambda level: miss(level.measurement))
    standing = evidence_for(candidate, history).standing(repeats)
    if standing is Standing.REFUTED:
        return Ground.REFUTED, _seen(worst)
    over = miss(worst.measurement) > 1.0 or worst.verdict is Verdict.FAIL
    return Ground.MEASURED if over else Ground.UNPROVEN, _seen(worst)


def _seen(level: Level) -> str:
    """The objective that was missed by most, as it was observed."""
    tally = max(level.measurement.tallies, key=lambda one: one.observed / one.slo.max if one.slo.max else one.observed)
    return f"{tally.slo.indicator} {tally.slo.shown(tally.observed):.4g} (limit {tally.slo.bound:g})"
