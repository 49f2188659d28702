"""Locust as a library: it owns the run, its one user and its request events. Door to locust."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class _Event(Protocol):
    """What of locust's events is used; locust itself leaves it untyped."""

    def fire(self, **fields: object) -> None: ...


class LocustRun:
    """One run of one user whose only task is the whole load.

    Importing locust patches sockets, select and time of this process for gevent, so it is imported when the first run
    is made: modules that want the kernel's own (the engine) have to be imported before, and modules that bring their
    own gevent (tritonclient) after.
    """

    def __init__(self) -> None:
        import locust
        from locust.env import Environment

        self._work: Callable[[], None] = _nothing
        self._error: BaseException | None = None
        user_class = type("OpenLoopUser", (locust.User,), {"tasks": [self._whole_load]})
        environment = Environment(user_classes=[user_class])
        self._request_event: _Event = environment.events.request
        self._runner = environment.create_local_runner()

    def carry_out(self, work: Callable[[], None]) -> None:
        """Run the work as the user's task; return when it and locust's runner have ended. Raises what it raises."""
        self._work = work
        self._runner.start(user_count=1, spawn_rate=1)
        self._runner.greenlet.join()
        if self._error is not None:
            raise self._error

    def _whole_load(self, _user: Any) -> None:
        from locust.exception import StopUser

        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - carried over to the caller's greenlet, which raises it
            self._error = error
        self._runner.greenlet.spawn(self._runner.quit)
        raise StopUser

    def announce(self, *, name: str, latency_ms: float, error: str) -> None:
        """Fire locust's request event, for its statistics and whatever listens."""
        self._request_event.fire(
            request_type="POST",
            name=name,
            response_time=latency_ms,
            response_length=0,
            exception=error or None,
            context={},
        )

    def let_others_run(self) -> None:
        """Give locust's own greenlets a turn."""
        import gevent

        gevent.sleep(0)


def _nothing() -> None:
    """What a run does before it was given work."""
