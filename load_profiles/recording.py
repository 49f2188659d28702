"""What happened to every request of a schedule, in flat arrays: a few hundred nanoseconds per entry."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence


class Recording:
    """Filled in by the engine; seconds since the start of the load. Every request ends as either ok or failed."""

    __slots__ = ("done_s", "errors", "finished", "first_error", "intended_s", "ok", "sent", "sent_s", "settled")

    def __init__(self, intended_s: Sequence[float]) -> None:
        count = len(intended_s)
        self.intended_s = intended_s
        self.sent_s = array("d", [math.inf]) * count
        self.done_s = array("d", [math.inf]) * count
        self.ok = bytearray(count)
        self.settled = bytearray(count)
        self.finished: list[int] = []
        self.sent = 0
        self.errors = 0
        self.first_error = ""

    def __len__(self) -> int:
        return len(self.intended_s)

    def send(self, index: int, now_s: float) -> None:
        self.sent_s[index] = now_s
        self.sent += 1

    def succeed(self, index: int, now_s: float) -> None:
        self.done_s[index] = now_s
        self.ok[index] = self.settled[index] = 1
        self.finished.append(index)

    def fail(self, index: int, now_s: float, reason: str) -> None:
        self.done_s[index] = now_s
        self.settled[index] = 1
        self.errors += 1
        self.first_error = self.first_error or reason
        self.finished.append(index)
