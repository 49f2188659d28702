"""One coordinator per study: the operating system's lock beside a file, a lease with a fence in a shared database."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from tuner.clock import SystemClock
from tuner.coordination import LEASE_S, RENEWALS_A_LEASE, Tell, kept, own_identity, take_over, told_nobody
from tuner.domain.errors import InfrastructureError, UsageError
from tuner.interruption import undisturbed
from tuner.postgres_lease import Fence, PostgresLease
from tuner.storage_url import SQLITE_PREFIX, is_postgres

SHORTEST_LEASE_S = 1.0
IN_MEMORY = ("", ":memory:")


@contextmanager
def coordinating(
    storage_url: str, study: str, *, lease_s: float = LEASE_S, tell: Tell = told_nobody
) -> Iterator[Fence | None]:
    """Hold the study for this process; the fence is what its history writes behind, where the database has one.

    Raises UsageError if another process holds it, or it cannot be held; InfrastructureError if it is lost meanwhile.
    """
    if lease_s < SHORTEST_LEASE_S:
        raise UsageError(f"a lease of {lease_s:g} s is too short to be renewed in time", hint="write 15s")
    if storage_url.startswith(SQLITE_PREFIX):
        with _locked(storage_url, study):
            yield None
    elif is_postgres(storage_url):
        with _leased(storage_url, study, lease_s=lease_s, tell=tell) as fence:
            yield fence
    else:
        raise UsageError(
            "tuning needs a storage of the form sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE",
            hint="only these keep two processes from tuning one study",
        )


@contextmanager
def _leased(storage_url: str, study: str, *, lease_s: float, tell: Tell) -> Iterator[Fence]:
    lease = PostgresLease(storage_url, study, holder=own_identity(), duration_s=lease_s)
    fence = lease.fence(take_over(lease.attempt, study=study, clock=SystemClock(), tell=tell))
    try:
        with kept(lambda: lease.renew(fence), every_s=lease_s / RENEWALS_A_LEASE):
            yield fence
    finally:
        with undisturbed():
            _release(lease, fence)


def _release(lease: PostgresLease, fence: Fence) -> None:
    try:
        lease.release(fence)
    except InfrastructureError:
        # Somebody else's by now; whoever needed it has been told.
        return


@contextmanager
def _locked(storage_url: str, study: str) -> Iterator[None]:
    file = storage_url.removeprefix(SQLITE_PREFIX)
    if file in IN_MEMORY:
        raise UsageError(f"{storage_url} is a storage in memory, lost at the end", hint="name a file: sqlite:///FILE")
    # Resolved, so that a link to a database and the database share one lock.
    database = Path(file).resolve()
    if not database.parent.is_dir():
        raise UsageError(f"the folder of the storage does not exist: {database.parent}", hint="make it, or --storage")
    lock = FileLock(f"{database}.{re.sub(r'[^A-Za-z0-9._-]', '_', study)}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UsageError(f"another servetune is tuning study {study!r}", hint="wait for it, or stop it") from error
    except OSError as error:
        raise UsageError(f"the storage's lock cannot be made: {error}", hint="tuning writes beside it") from error
    try:
        yield
    finally:
        lock.release()
