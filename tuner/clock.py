"""Real time behind the Clock port."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class SystemClock:
    """Monotonic seconds of this machine."""

    def now_s(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def wall_clock_text() -> str:
    """Date and time in UTC, for the record only."""
    return datetime.now(UTC).isoformat(timespec="seconds")
