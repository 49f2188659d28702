"""What the loop needs from the world."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from tuner.domain.admission import Room
from tuner.domain.deployment import Deployment, Telemetry
from tuner.domain.load import LoadProfile, LoadRun
from tuner.domain.space import Configuration
from tuner.domain.trial import Exhausted, Proposal, Trial


class Optimizer(Protocol):
    """Proposes what to try. Its whole state is the history, so that resume is replay: no `tell`."""

    def suggest(self, history: Sequence[Trial], pending: Sequence[Configuration] = ()) -> Proposal | Exhausted:
        """The next configuration: in the space, not in the history, not pending. Same arguments, same answer.

        Trials with a `Failed` outcome teach nothing and may be proposed again.
        """
        ...


class Runner(Protocol):
    """Brings a server up and takes it down again."""

    def deploy(self, configuration: Configuration, *, deployment_id: str) -> AbstractContextManager[Deployment]:
        """Ready on entry, gone on exit, whatever happens in between.

        Raises InfeasibleConfiguration (it cannot serve), TransientFailure (the world failed), CleanupFailed on exit.
        """
        ...

    def telemetry(self, deployment: Deployment) -> Telemetry:
        """The server's counters since it started.

        Raises InfeasibleConfiguration (it ran out of memory while serving), TransientFailure.
        """
        ...


class LoadGenerator(Protocol):
    """Sends a profile's requests when they are due."""

    def drive(self, deployment: Deployment, profile: LoadProfile) -> LoadRun:
        """Complete before return. Raises TransientFailure if the generator itself broke."""
        ...


class History(Protocol):
    """The append-only record of trials: the only state of a study."""

    def append(self, trial: Trial) -> None:
        """All or nothing, on disk on return. Raises UsageError if that number was already appended."""
        ...

    def trials(self) -> tuple[Trial, ...]:
        """In order of their numbers."""
        ...


class Admission(Protocol):
    """Knows whether there is room for one more trial beside those that run."""

    def room(self, number: int, configuration: Configuration, beside: Sequence[tuple[int, Configuration]]) -> Room:
        """Looks anew each time. Raises UsageError where no configuration of the study can work, TransientFailure."""
        ...


class Lanes(Protocol):
    """Trials side by side, or one after the other."""

    def begin(self, work: Callable[[], Trial]) -> None:
        """Carry out one trial; whether it has ended on return is the lanes' own business."""
        ...

    def next_ended(self, *, within_s: float | None = None) -> Trial | None:
        """The trial that ended next, waited for; None where none did in time. Raises what the trial raised."""
        ...


class Clock(Protocol):
    """Monotonic time in seconds; the simulated runner's is virtual."""

    def now_s(self) -> float: ...

    def sleep(self, seconds: float) -> None: ...
