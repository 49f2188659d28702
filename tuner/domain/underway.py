"""What runs beside the history of a study, as the agenda has to know it: trials without an outcome yet."""

from __future__ import annotations

from dataclasses import dataclass

from tuner.domain.space import Configuration
from tuner.domain.trial import Confirmation, Purpose, Search


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A trial that has begun. `least_cost_per_hour` is that of the cheapest candidate it could still find."""

    number: int
    purpose: Purpose
    configuration: Configuration
    began_s: float
    least_cost_per_hour: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Underway:
    """`now_s` is on the study's own clock, None: as the history says; so many trials are carried out at once."""

    pending: tuple[Pending, ...] = ()
    now_s: float | None = None
    at_once: int = 1

    @property
    def searching(self) -> tuple[Pending, ...]:
        return tuple(one for one in self.pending if isinstance(one.purpose, Search))

    def proving(self, configuration: Configuration, replicas: int) -> frozenset[int]:
        """Which repeats of a candidate's proof are running."""
        return frozenset(
            one.purpose.repeat
            for one in self.pending
            if isinstance(one.purpose, Confirmation)
            and (one.configuration, one.purpose.replicas) == (configuration, replicas)
        )


ALONE = Underway()
"""Nothing runs, and one trial will be carried out after the other."""
