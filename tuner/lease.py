"""One coordinator per study: a lock that the operating system drops when its holder dies, however it dies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from tuner.domain.errors import UsageError

SQLITE_PREFIX = "sqlite:///"
IN_MEMORY = ("", ":memory:")


@contextmanager
def coordinating(storage_url: str, study: str) -> Iterator[None]:
    """Hold the study for this process. Raises UsageError if another process holds it, or it cannot be held."""
    if not storage_url.startswith(SQLITE_PREFIX):
        raise UsageError(
            "tuning needs a storage of the form sqlite:///FILE",
            hint="a shared database needs leases that servetune does not have yet",
        )
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
