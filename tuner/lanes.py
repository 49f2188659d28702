"""Trials side by side in threads, or one at a time in the thread that asks for them."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext

from tuner.domain.errors import CleanupFailed
from tuner.domain.trial import Trial
from tuner.interruption import heed, stoppable, undisturbed
from tuner.ports import Lanes

# A signal that comes just before a wait begins does not end it: none is longer than this.
LOOK_UP_S = 0.5
Keep = Callable[[Trial], None]
OpenLanes = Callable[[int, Keep], AbstractContextManager[Lanes]]


def open_lanes(most: int, keep: Keep) -> AbstractContextManager[Lanes]:
    """So many at most. At the end nothing runs any more: after an error, what still ran was stopped and torn down.

    `keep` is called with every trial that ended before it could be stopped, and that nobody asked for. Raises
    CleanupFailed on exit where one could not be torn down.
    """
    return nullcontext(OneLane()) if most == 1 else _threads(most, keep)


class OneLane:
    """Each trial is over when `begin` returns."""

    def __init__(self) -> None:
        self._ended: deque[Trial] = deque()

    def begin(self, work: Callable[[], Trial]) -> None:
        self._ended.append(work())

    def next_ended(self, *, within_s: float | None = None) -> Trial | None:  # noqa: ARG002 - nothing is waited for
        return self._ended.popleft() if self._ended else None


class _Threads:
    """A thread for each trial that runs."""

    def __init__(self, most: int) -> None:
        self._pool = ThreadPoolExecutor(most, thread_name_prefix="trial")
        self._ended: queue.SimpleQueue[Future[Trial]] = queue.SimpleQueue()
        self._stop = threading.Event()

    def begin(self, work: Callable[[], Trial]) -> None:
        # A signal in the middle would leave a thread that the pool does not know, and so does not wait for.
        with undisturbed():
            self._pool.submit(self._carry_out, work).add_done_callback(self._ended.put)

    def next_ended(self, *, within_s: float | None = None) -> Trial | None:
        until_s = math.inf if within_s is None else time.monotonic() + within_s
        while True:
            try:
                return self._ended.get(timeout=max(0.0, min(LOOK_UP_S, until_s - time.monotonic()))).result()
            except queue.Empty:
                if time.monotonic() >= until_s:
                    return None

    def _carry_out(self, work: Callable[[], Trial]) -> Trial:
        with stoppable(self._stop):
            heed()
            return work()

    def close(self) -> None:
        self._pool.shutdown()

    def stop(self) -> tuple[list[Trial], list[CleanupFailed]]:
        """Ask all to stop, and wait until they are torn down: what had ended by then, and what could not be."""
        self._stop.set()
        self._pool.shutdown()
        trials: list[Trial] = []
        trouble: list[CleanupFailed] = []
        while not self._ended.empty():
            future = self._ended.get()
            error = future.exception()
            if isinstance(error, CleanupFailed):
                trouble.append(error)
            elif error is None:
                trials.append(future.result())
        return trials, trouble


@contextmanager
def _threads(most: int, keep: Keep) -> Iterator[Lanes]:
    lanes = _Threads(most)
    try:
        yield lanes
    except BaseException as error:
        # A second Ctrl-C must not leave threads behind that nobody waits for.
        with undisturbed():
            trials, trouble = lanes.stop()
            if isinstance(error, CleanupFailed):
                trouble.insert(0, error)
            try:
                for trial in trials:
                    keep(trial)
            finally:
                if trouble:
                    what = "; ".join(one.message for one in trouble)
                    raise CleanupFailed(what, hint=trouble[0].hint) from error
        raise
    lanes.close()
