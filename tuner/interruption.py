"""Ctrl-C and SIGTERM: the first unwinds through every teardown, the second waits, the third leaves at once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(BaseException):
    """A signal asked us to stop; teardown has been or is being done on the way out."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.exit_code = 128 + signal_number


@contextmanager
def orderly_stop() -> Iterator[None]:
    """While inside, SIGINT and SIGTERM raise Interrupted once; a third signal exits without teardown."""
    received = 0

    def on_signal(number: int, _frame: FrameType | None) -> None:
        nonlocal received
        received += 1
        if received == 1:
            raise Interrupted(number)
        if received == 2:
            sys.stderr.write("still taking the server down; once more leaves it to `servetune clean`\n")
            return
        os._exit(128 + number)

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
