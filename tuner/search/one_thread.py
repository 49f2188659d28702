"""The numerical libraries on one thread. Door to threadpoolctl."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import cast

from threadpoolctl import threadpool_limits


def one_thread() -> AbstractContextManager[object]:
    """In the block, the same answer on every machine, and for matrices this small several times less CPU."""
    return cast(AbstractContextManager[object], threadpool_limits(limits=1))
