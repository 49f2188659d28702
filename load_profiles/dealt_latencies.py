"""Latencies that arrive in parts, put back in the order of the schedule: for looks at a run that goes on."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable


class DealtLatencies:
    """Those of the requests due in the window, without gaps, as far as every part has told them."""

    def __init__(self, intended_s: tuple[float, ...], *, warmup_s: float, parts: int) -> None:
        self._next = bisect_left(intended_s, warmup_s)
        self._told = [array("d") for _ in range(parts)]
        self._taken = [0] * parts
        self._times = [0] * parts
        self._looked = 0
        self.values = array("d")

    def add(self, part: int, latencies_s: Iterable[float]) -> bool:
        """What a part tells, in its own order and without gaps.

        True when it is time for a look: all parts have told something since the last. So there are never more looks
        than one part alone would have had.
        """
        self._told[part].extend(latencies_s)
        self._times[part] += 1
        self._put_back()
        if min(self._times) <= self._looked:
            return False
        self._looked = min(self._times)
        return True

    def _put_back(self) -> None:
        while True:
            part = self._next % len(self._told)
            if self._taken[part] == len(self._told[part]):
                return
            self.values.append(self._told[part][self._taken[part]])
            self._taken[part] += 1
            self._next += 1
