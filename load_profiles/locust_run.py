"""Locust as a library: the run with its one user and its request events, and master and workers. Door to locust."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import monotonic
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from tuner.domain.errors import InfrastructureError, TransientFailure

MESSAGE_TYPE = "servetune"
FLUSH_MS = 1000

_Result = TypeVar("_Result")


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


@dataclass(frozen=True, slots=True)
class Heard:
    """A message from the other side, from whom (empty: the master), and when it came by our monotonic clock."""

    sender: str
    wire: object
    at_s: float


@dataclass(frozen=True, slots=True)
class Ended:
    """A source that was listened to has no more to say; why, unless it simply ended."""

    error: TransientFailure | None


class Inbox:
    """Everything one process waits for, in order of its coming. Makes locust patch this process."""

    def __init__(self) -> None:
        import locust  # noqa: F401 - patches, before anything waits
        from gevent.queue import Queue

        self._queue: Any = Queue()

    def put(self, item: object) -> None:
        self._queue.put(item)

    def get(self, *, until_s: float) -> object | None:
        """The next item; None if there is none by then (monotonic)."""
        from gevent.queue import Empty

        try:
            item: object = self._queue.get(timeout=max(0.0, until_s - monotonic()))
        except Empty:
            return None
        return item

    def listen_to(self, source: Iterator[object]) -> None:
        """Put in what the source yields as it comes, and Ended after that; TransientFailure ends it, too."""
        import gevent

        def listen() -> None:
            error: TransientFailure | None = None
            try:
                for item in source:
                    self.put(item)
            except TransientFailure as failure:
                error = failure
            self.put(Ended(error))

        gevent.spawn(listen)


def beside(work: Callable[[], _Result]) -> _Result:
    """The result of a long computation, while heartbeats go on."""
    import gevent

    result: _Result = gevent.get_hub().threadpool.apply(work)
    return result


class MasterLink:
    """Locust's master runner as a place where workers come to: it hears them and their heartbeats.

    It is never asked to spawn users: what a worker does it does on our messages.
    """

    def __init__(self, host: str, port: int, inbox: Inbox) -> None:
        """Port 0 takes any. Raises TransientFailure if the address cannot be bound."""
        from locust.env import Environment
        from locust.exception import RPCError
        from zmq.error import ZMQError

        try:
            self._runner: Any = Environment(user_classes=[]).create_master_runner(host, port)
        except (RPCError, ZMQError, SystemExit) as error:
            raise TransientFailure(f"load workers cannot be awaited at {host}, port {port}: {error}") from error
        self._runner.register_message(
            MESSAGE_TYPE, lambda *, msg, **_: inbox.put(Heard(msg.node_id, msg.data, monotonic()))
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def port(self) -> int:
        """That which was really bound."""
        return int(self._runner.server.port)

    def send(self, worker: str, wire: object) -> None:
        self._runner.send_message(MESSAGE_TYPE, wire, client_id=worker)

    def misses(self, worker: str) -> bool:
        """Whether a worker left, or locust heard nothing from it for more than HEARTBEAT_LIVENESS heartbeats."""
        from locust.runners import STATE_MISSING

        client = self._runner.clients.get(worker)
        return client is None or client.state == STATE_MISSING

    def close(self) -> None:
        """Hear nobody any more; what was said is still sent, for a second."""
        self._runner.greenlet.kill()
        self._runner.server.close(linger=FLUSH_MS)


class WorkerLink:
    """Locust's worker runner as a line to the master."""

    def __init__(self, host: str, port: int, inbox: Inbox, *, until_s: float) -> None:
        """Tries again and again to reach the master. Raises InfrastructureError at `until_s` (monotonic)."""
        import gevent
        from locust.env import Environment

        environment: Any = Environment(user_classes=[])
        environment.events.heartbeat_received.add_listener(self._note_life)
        try:
            with gevent.Timeout(max(0.0, until_s - monotonic())):
                self._runner: Any = environment.create_worker_runner(host, port)
        except (gevent.Timeout, ConnectionError) as error:
            raise InfrastructureError(f"no load master answers at {host}, port {port}") from error
        self.heard_s = monotonic()
        self._inbox = inbox
        self._runner.register_message(MESSAGE_TYPE, self._hear)

    def _hear(self, *, msg: Any, **_: object) -> None:
        self.heard_s = monotonic()
        self._inbox.put(Heard("", msg.data, self.heard_s))

    def _note_life(self, **_: object) -> None:
        self.heard_s = monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.close()

    def send(self, wire: object) -> None:
        self._runner.send_message(MESSAGE_TYPE, wire)

    def close(self) -> None:
        """Say goodbye, so that the master need not wait for heartbeats that do not come."""
        from locust.rpc import Message

        goodbye: Any = Message
        self._runner.client.send(goodbye("quit", None, self._runner.client_id))
        self._runner.greenlet.kill()
        self._runner.client.close(linger=FLUSH_MS)
