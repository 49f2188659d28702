"""A study's one coordinator, wherever that is written down: waiting for the place, keeping it, and losing it."""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tuner.domain.errors import InfrastructureError, UsageError
from tuner.interruption import Interrupted, stop_main_thread
from tuner.ports import Clock

LEASE_S = 15.0
RENEWALS_A_LEASE = 3
LOOK_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Somebody else has it; `renewal` is another text after each renewal."""

    holder: str
    since: str
    renewal: str


class HeldByAnother(UsageError):
    """Somebody who renews it holds the study."""


Tell = Callable[[str], None]


def told_nobody(_line: str) -> None:
    """For who has no screen."""


def own_identity() -> str:
    """Who holds a lease: this machine and process, and a word that no later process of that number has."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


def take_over(attempt: Callable[[], int | Held], *, study: str, clock: Clock, tell: Tell) -> int:
    """The token, as soon as nobody else holds the study.

    `attempt` takes it only if it is free or past its expiry. A holder who may have died is waited for, until the
    expiry; one who renews is alive. Raises HeldByAnother then.
    """
    first: Held | None = None
    while True:
        found = attempt()
        if isinstance(found, int):
            return found
        if first is None:
            first = found
            tell(f"study {study} is held by {found.holder} since {found.since}; waiting to see whether it still runs")
        elif (found.holder, found.renewal) != (first.holder, first.renewal):
            raise HeldByAnother(
                f"another servetune is tuning study {study!r}: {found.holder}, since {found.since}",
                hint="wait for it, or stop it",
            )
        clock.sleep(LOOK_S)


def lost(study: str, by: str) -> InfrastructureError:
    """The error of a coordinator that is none any more."""
    return InfrastructureError(
        f"study {study!r} is no longer this process's to tune: {by}",
        hint="the history holds every trial that was finished; the same command goes on from there",
    )


class Keeper:
    """What the renewing thread has found out."""

    def __init__(self) -> None:
        self._lost: InfrastructureError | None = None

    def lose(self, error: InfrastructureError) -> None:
        self._lost = error

    def refuse_if_lost(self) -> None:
        """Raises InfrastructureError."""
        if self._lost is not None:
            raise InfrastructureError(self._lost.message, hint=self._lost.hint)


@contextmanager
def kept(renew: Callable[[], None], *, every_s: float) -> Iterator[Keeper]:
    """A thread renews until the end of the block. A lease that is lost stops the study as SIGTERM does: in order.

    `renew` raises InfrastructureError when it is lost, and nothing while that is not known. Raises what it raised.
    """
    keeper, ended = Keeper(), threading.Event()

    def run() -> None:
        while not ended.wait(every_s):
            try:
                renew()
            except InfrastructureError as error:
                keeper.lose(error)
                if not ended.is_set():
                    stop_main_thread()
                return

    thread = threading.Thread(target=run, name="lease", daemon=True)
    thread.start()
    try:
        yield keeper
    except Interrupted as stopped:
        try:
            keeper.refuse_if_lost()
        except InfrastructureError as error:
            raise error from stopped
        raise
    finally:
        ended.set()
        thread.join()
