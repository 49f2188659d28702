"""What a cluster says of a trial, as one value each, named by the reaction it asks for."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from tuner.domain.cluster import PhaseDeadlines
from tuner.domain.errors import InfeasibleConfiguration, TransientFailure, TunerError, UsageError


class Phase(StrEnum):
    """How far a server has come."""

    CREATE = "create"
    SCHEDULE = "schedule"
    PULL = "pull"
    PREPARE = "prepare"
    LOAD = "load"


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nothing is wrong yet; `detail` says what is waited for."""

    phase: Phase
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The server answers. What follows `node` tells a restart apart, and goes on record with the trial."""

    pod: str
    uid: str
    node: str
    address: str
    container_id: str
    restarts: int
    image_id: str


@dataclass(frozen=True, slots=True)
class Infeasible:
    """This configuration cannot serve: the optimizer is told."""

    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Transient:
    """The world failed: a retry may follow, away from `node` where it is named."""

    reason: str
    message: str = ""
    node: str = ""


@dataclass(frozen=True, slots=True)
class StudyError:
    """No configuration of this study could work: stop, and say why."""

    reason: str
    message: str = ""


def as_error(state: Infeasible | Transient | StudyError) -> TunerError:
    """The same as an error that the study's loop knows what to do with."""
    message = f"{state.reason}: {state.message}" if state.message else state.reason
    match state:
        case Infeasible():
            return InfeasibleConfiguration(message)
        case Transient():
            return TransientFailure(message)
        case StudyError():
            return UsageError(message, hint="no configuration of the study can work before this is mended")


ServerState = Waiting | Ready | Infeasible | Transient | StudyError


@dataclass(frozen=True, slots=True)
class LoadRuns:
    """The load is on its way."""

    detail: str = ""


@dataclass(frozen=True, slots=True)
class LoadEnded:
    """Master and workers ended well: the result can be fetched."""


LoadState = LoadRuns | LoadEnded | Transient | StudyError


@dataclass(frozen=True, slots=True)
class Again:
    """Send the same request again, not before so many seconds: no trial fails on this alone."""

    after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Relist:
    """The watch is too old: list anew."""


@dataclass(frozen=True, slots=True)
class Exists:
    """It is there already: get it, and compare."""


Refusal = Again | Relist | Exists | Infeasible | Transient | StudyError


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What the runner knows besides the cluster's words.

    `container` serves; attempts count from 1; `autoscaled`: nodes may be added; `log_tail`: the server's last lines, as
    far as they were fetched.
    """

    created_at: datetime
    container: str = ""
    attempt: int = 1
    autoscaled: bool = False
    deadlines: PhaseDeadlines = field(default_factory=PhaseDeadlines)
    log_tail: str = ""
