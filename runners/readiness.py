"""Waiting for a server, with a deadline, through a clock."""

from __future__ import annotations

from collections.abc import Callable

from tuner.ports import Clock

POLL_S = 0.02


def await_ready(probe: Callable[[], bool], clock: Clock, deadline_s: float) -> float:
    """Seconds until the probe first said yes. Raises TimeoutError after `deadline_s` seconds of no; the probe may
    raise to end the wait early.
    """
    started_s = clock.now_s()
    while not probe():
        if clock.now_s() - started_s >= deadline_s:
            raise TimeoutError(f"not ready within {deadline_s:g} s")
        clock.sleep(POLL_S)
    return clock.now_s() - started_s
