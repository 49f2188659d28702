"""Real time behind the Clock port."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from tuner.interruption import pause


class SystemClock:
    """Monotonic seconds of this machine. A thread that is asked to stop wakes up, and raises Stopped."""

    def now_s(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        pause(seconds)


def wall_clock_text() -> str:
    """Date and time in UTC, for the record only."""
    return datetime.now(UTC).isoformat(timespec="seconds")
