"""One deployment and what came of it. A trial is complete when it exists; its status is derived, never stored."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tuner.domain.measurement import Measurement
from tuner.domain.slo import Verdict, judge
from tuner.domain.space import Configuration


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One load level on one replica: 1/`replicas` of the load the deployment as a whole has to carry."""

    replicas: int
    measurement: Measurement

    @property
    def verdict(self) -> Verdict:
        return judge(self.measurement.tallies)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The server served; `levels` in the order they were tried."""

    levels: tuple[Level, ...]
    facts: tuple[tuple[str, str], ...] = ()
    kind: Literal["measured"] = "measured"

    @property
    def plausible(self) -> Level | None:
        """The level with the fewest replicas that is not certainly too much load."""
        left = [level for level in self.levels if level.verdict is not Verdict.FAIL]
        return min(left, key=lambda level: level.replicas, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Infeasible:
    """This configuration cannot serve at all; the optimizer is told."""

    reason: str
    kind: Literal["infeasible"] = "infeasible"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The world failed; the optimizer is not told, the budget counts it."""

    error: str
    kind: Literal["failed"] = "failed"


Outcome = Measured | Infeasible | Failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """The trial was proposed by the optimizer, to learn from."""

    kind: Literal["search"] = "search"


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """The trial is the `repeat`-th fresh deployment (from 0) of a candidate with so many replicas."""

    replicas: int
    repeat: int
    kind: Literal["confirmation"] = "confirmation"


Purpose = Search | Confirmation


@dataclass(frozen=True, slots=True, kw_only=True)
class Phases:
    """Where the time went, in seconds."""

    deploy_s: float
    load_s: float
    teardown_s: float

    @property
    def elapsed_s(self) -> float:
        return self.deploy_s + self.load_s + self.teardown_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One line of the history.

    `began_s` is when it began on the study's own clock (see `studied_s`); None where trials came one after the other.
    """

    number: int
    purpose: Purpose
    configuration: Configuration
    unit_cost_per_hour: float
    seed: int
    started_at: str
    phases: Phases
    outcome: Outcome
    began_s: float | None = None

    @property
    def total_cost_per_hour(self) -> float | None:
        """Money per hour for as many replicas as the load plausibly needs; None where no level was plausible."""
        if not isinstance(self.outcome, Measured) or self.outcome.plausible is None:
            return None
        return self.outcome.plausible.replicas * self.unit_cost_per_hour


def studied_s(history: Sequence[Trial]) -> float:
    """How long the study has run: seconds in which at least one trial did, those side by side counted once.

    Trials without `began_s` came one after the other, before any that ran beside another.
    """
    alone_s = sum(trial.phases.elapsed_s for trial in history if trial.began_s is None)
    ends_s = [trial.began_s + trial.phases.elapsed_s for trial in history if trial.began_s is not None]
    return max([alone_s, *ends_s])


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What an optimizer wants to know: one configuration, at 1/r of the required load for each r in turn."""

    configuration: Configuration
    replica_counts: tuple[int, ...] = (1,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exhausted:
    """The optimizer has nothing left to propose, and says why."""

    reason: str


def trial_seed(study_seed: int, number: int, attempt: int = 0) -> int:
    """A seed of its own for every measurement of every trial; the same again when a study is replayed."""
    text = f"{study_seed}:{number}:{attempt}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "big")
