"""One coordinator per study: a lock that the operating system drops when its holder dies, however it dies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from tuner.domain.errors import UsageError

SQLITE_PREFIX = "sqlite:///"


@contextmanager
def coordinating(storage_url: str, study: str) -> Iterator[None]:
    """Hold the study for this process. Raises UsageError if another process holds it."""
    if not storage_url.startswith(SQLITE_PREFIX):
        raise UsageError(
            "tuning needs a storage of the form sqlite:///FILE",
            hint="a shared database needs leases that servetune does not have yet",
        )
    database = Path(storage_url.removeprefix(SQLITE_PREFIX))
    if not database.parent.is_dir():
        raise UsageError(f"the folder of the storage does not exist: {database.parent}", hint="make it, or --storage")
    lock = FileLock(f"{database}.{re.sub(r'[^A-Za-z0-9._-]', '_', study)}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UsageError(f"another servetune is tuning study {study!r}", hint="wait for it, or stop it") from error
    try:
        yield
    finally:
        lock.release()
