"""Looking at something every so often, on a thread of its own, and adding up what was seen."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

Shares = tuple[tuple[float, float], ...]


class Stream:
    """Pairs of a time in seconds and a share of the time up to then, added up; None from when they are missing."""

    def __init__(self) -> None:
        self.spent_s: float | None = 0.0
        self._until_s: float | None = None

    def add(self, shares: Shares | None) -> None:
        if shares is None or self.spent_s is None:
            self.spent_s = None
            return
        for at_s, share in shares:
            if self._until_s is not None:
                self.spent_s += share * (at_s - self._until_s)
            self._until_s = at_s


class Sampler:
    """Calls `look` every `interval_s` until the `with` block ends; `now` is one more look, by the caller.

    Looks never overlap. What `look` raises ends the sampling: it is expected to settle its own errors.
    """

    def __init__(self, look: Callable[[], None], *, interval_s: float) -> None:
        self._look = look
        self._interval_s = interval_s
        self._turn = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def now(self) -> None:
        with self._turn:
            self._look()

    def _run(self) -> None:
        while not self._over.wait(self._interval_s):
            self.now()
