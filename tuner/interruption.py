"""Ctrl-C and SIGTERM: the first unwinds through every teardown, the second waits, the third leaves at once.

Signals are handled in the main thread. Threads that carry out trials of a study are asked to stop by an event; they
heed it where they wait, and not inside `undisturbed`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

GOES_ON = "stopped; the same command goes on from here"
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """A signal asked us to stop; teardown has been or is being done on the way out."""

    def __init__(self, signal_number: int, message: str) -> None:
        """`message` is what the user is told."""
        super().__init__(signal_number, message)
        self.message = message
        self.exit_code = 128 + signal_number


class Stopped(BaseException):
    """This thread was asked to stop; teardown is done on the way out."""


class _Here(threading.local):
    """What a thread heeds, and within how many `undisturbed` blocks it is."""

    stop: threading.Event | None = None
    shields: int = 0


_here = _Here()


@contextmanager
def stoppable(stop: threading.Event) -> Iterator[None]:
    """While inside, this thread heeds the event."""
    before, _here.stop = _here.stop, stop
    try:
        yield
    finally:
        _here.stop = before


def heed() -> None:
    """Raises Stopped where this thread was asked to stop, and may."""
    if _here.stop is not None and not _here.shields and _here.stop.is_set():
        raise Stopped


def pause(seconds: float) -> None:
    """Sleep, but no longer than until this thread is asked to stop. Raises Stopped."""
    if _here.stop is None or _here.shields:
        time.sleep(seconds)
        return
    _here.stop.wait(seconds)
    heed()


@contextmanager
def orderly_stop(message: str = GOES_ON) -> Iterator[None]:
    """While inside, SIGINT and SIGTERM raise Interrupted once; a third signal exits without teardown."""
    received = 0

    def on_signal(number: int, _frame: FrameType | None) -> None:
        nonlocal received
        received += 1
        if received == 1:
            raise Interrupted(number, message)
        _wait_or_leave(received, number)

    before = {number: signal.signal(number, on_signal) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def undisturbed() -> Iterator[None]:
    """What is begun inside is finished: SIGINT and SIGTERM take effect at the end. A third one leaves at once.

    In other threads than the main one, nobody who asks them to stop is heeded inside.
    """
    if threading.current_thread() is not threading.main_thread():
        _here.shields += 1
        try:
            yield
        finally:
            _here.shields -= 1
        return
    arrived: list[int] = []

    def on_signal(number: int, _frame: FrameType | None) -> None:
        arrived.append(number)
        if len(arrived) > 1:
            _wait_or_leave(len(arrived), number)

    before = {number: signal.signal(number, on_signal) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if arrived:
            signal.raise_signal(arrived[0])


def stop_main_thread() -> None:
    """From another thread: as if SIGTERM had come, where that is an orderly stop; nothing elsewhere."""
    main = threading.main_thread().ident
    if callable(signal.getsignal(signal.SIGTERM)) and main is not None:
        signal.pthread_kill(main, signal.SIGTERM)


def _wait_or_leave(received: int, number: int) -> None:
    if received == 2:
        sys.stderr.write("still taking the server down; once more leaves it to `servetune clean`\n")
        return
    os._exit(128 + number)
