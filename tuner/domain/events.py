"""What the loop tells whoever watches. Watching never changes the study."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tuner.domain.space import Configuration
from tuner.domain.trial import Purpose, Trial

Phase = Literal["deploy", "load", "teardown", "append"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyOpened:
    """`trials_before` were already in the history: more than none means that this is a resume."""

    study: str
    space_size: int
    trials_before: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseStarted:
    number: int
    purpose: Purpose
    configuration: Configuration
    phase: Phase
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeated:
    """A measurement or deployment is tried again, and why."""

    number: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialFinished:
    trial: Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadAdvanced:
    """Requests sent so far, of those due in all; the p99 includes the warm-up and is for watching only."""

    sent: int
    due: int
    errors: int
    p99_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomAwaited:
    """A trial that could begin has no room yet. It is not charged for the waiting."""

    configuration: Configuration
    reason: str


Event = StudyOpened | PhaseStarted | LoadAdvanced | Repeated | RoomAwaited | TrialFinished
