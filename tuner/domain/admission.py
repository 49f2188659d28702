"""Whether there is room for a trial now: the answers that the loop knows what to do with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Admitted:
    """There is room, or nothing can be known of it: begin."""


@dataclass(frozen=True, slots=True)
class Wait:
    """There is none now: begin something else, or ask again."""

    reason: str


@dataclass(frozen=True, slots=True)
class Never:
    """There never will be: this configuration cannot serve here."""

    reason: str


Room = Admitted | Wait | Never
