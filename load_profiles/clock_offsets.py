"""How another machine's monotonic clock stands to ours, from the round trips of questions for its time.

The other clock was read at some moment between question and answer: the middle, give or take half the round trip
(Cristian 1989). That bound needs no assumption about the two ways being alike, nor any wall clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundTrip:
    """One question and its answer: when they left and came by our clock, and what the other clock said."""

    asked_s: float
    answered_s: float
    theirs_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Offset:
    """Their clock minus ours lies within `error_s` of `offset_s`."""

    offset_s: float
    error_s: float


def offset_of(trips: Iterable[RoundTrip]) -> Offset:
    """From the shortest round trip, which says most. `trips` must not be empty."""
    best = min(trips, key=lambda trip: trip.answered_s - trip.asked_s)
    return Offset(
        offset_s=best.theirs_s - (best.asked_s + best.answered_s) / 2.0,
        error_s=(best.answered_s - best.asked_s) / 2.0,
    )


def begin_error_s(before: Offset, after: Offset | None, *, late_s: float = 0.0) -> float:
    """By how much at most a worker began at another time than it was meant to.

    The uncertainty of its clock before the begin; how far the clock certainly moved against ours during the run; and
    how late it heard of its begin.
    """
    moved_s = 0.0
    if after is not None:
        moved_s = max(0.0, abs(after.offset_s - before.offset_s) - before.error_s - after.error_s)
    return before.error_s + moved_s + late_s


def start_skew_s(errors_s: Sequence[float]) -> float:
    """How far apart at most any two workers began; nothing for one alone."""
    return sum(sorted(errors_s)[-2:]) if len(errors_s) > 1 else 0.0
