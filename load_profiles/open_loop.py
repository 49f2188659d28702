"""The hot path: requests leave when they are due, whatever the server does. One epoll loop, no thread, no greenlet.

A request finds an idle connection or opens one, so a slow server never delays a send; what delays a send is this
process, and the send lag shows it. A request unanswered `timeout_s` after it was due has failed.
Imports epoll and select before locust patches the module `select`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, epoll, select
from socket import AddressFamily
from time import monotonic, process_time

from load_profiles.connections import IDLE, Address, Connection, ConnectionBroken
from load_profiles.conversation import BrokenAnswer, Conversation
from load_profiles.recording import Recording

LEAD_S = 0.02
SENDS_PER_PASS = 32
SPARE_TIME_S = 0.0005
LONGEST_WAIT_S = 0.1
LINE_BYTES = 64
OWN_FAULTS = frozenset({errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM})
WATCHED = EPOLLIN | EPOLLRDHUP
TIMED_OUT = "no complete answer within the time limit"


class ControllerGone(Exception):
    """Nobody waits for the result any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """What the run cost this process: CPU per second while it was sending, and per request until the last answer."""

    cpu_ratio: float
    cpu_ms_per_request: float


class OpenLoop:
    """One run over one schedule. `messages[k]` is due at `recording.intended_s[k]`, ascending."""

    def __init__(
        self,
        *,
        address: tuple[AddressFamily, Address],
        messages: Sequence[bytes],
        recording: Recording,
        converse: Callable[[], Conversation],
        timeout_s: float,
        max_connections: int,
        lifeline: int,
        spare_time: Callable[[], None],
        start_at_s: float | None = None,
    ) -> None:
        """`converse` begins the conversation of a new connection. `spare_time` is called when nothing is due for a
        while, and must be quick.

        `start_at_s` is the monotonic time from which the schedule counts, at once by default. `lifeline` is a
        descriptor that is closed when nobody waits for the result any more, and holds a line when it is known: then
        the run ends where it is.
        """
        self._family, self._address = address
        self._messages = messages
        self._recording = recording
        self._converse = converse
        self._timeout_s = timeout_s
        self._max_connections = max_connections
        self._lifeline = lifeline
        self._spare_time = spare_time
        self._connections: dict[int, Connection] = {}
        self._idle: list[Connection] = []
        self._busy: dict[int, Connection] = {}
        self._epoll = epoll()
        self._waits_on = (self._epoll.fileno(),)
        self._next = 0
        self._oldest = 0
        self._expiry_s = 0.0
        self._stopped = False
        self._start_at_s = start_at_s
        self._start_s = 0.0

    def run(self) -> Effort:
        """Return when every request has been answered or has failed, or when told to end. Raises ControllerGone."""
        count = len(self._recording)
        self._epoll.register(self._lifeline, EPOLLIN)
        self._start_s = monotonic() + LEAD_S if self._start_at_s is None else self._start_at_s
        cpu_s = process_time()
        try:
            while self._next < count and not self._stopped:
                self._pass()
            cpu_ratio = (process_time() - cpu_s) / max(self._now_s() + LEAD_S, LEAD_S)
            while self._oldest < count and not self._stopped:
                self._pass()
        finally:
            self._epoll.close()
            for connection in self._connections.values():
                connection.close()
        return Effort(cpu_ratio=cpu_ratio, cpu_ms_per_request=(process_time() - cpu_s) * 1000.0 / max(self._next, 1))

    def _pass(self) -> None:
        now_s = self._send_due()
        if now_s >= self._expiry_s or self._next == len(self._recording):
            self._give_up_on_old(now_s)
        until_s = self._until_next()
        wait_s = until_s - now_s
        if wait_s > SPARE_TIME_S:
            self._spare_time()
            wait_s = until_s - self._now_s()
        # epoll's own time limit is in whole milliseconds, rounded up: as late as that every send would be.
        if wait_s > 0.0 and not select(self._waits_on, (), (), min(wait_s, LONGEST_WAIT_S))[0]:
            return
        for descriptor, events in self._epoll.poll(0):
            self._react(descriptor, events)

    def _now_s(self) -> float:
        return monotonic() - self._start_s

    def _until_next(self) -> float:
        """When something has to be done even if nothing comes in; seconds since the start of the load."""
        if self._next == len(self._recording):
            return self._expiry_s
        return min(self._recording.intended_s[self._next], self._expiry_s)

    def _send_due(self) -> float:
        """Send what is due, but look for answers now and then: a burst must not make the server look slow.

        Returns the time at which nothing more was.
        """
        intended_s = self._recording.intended_s
        last = min(self._next + SENDS_PER_PASS, len(intended_s))
        now_s = self._now_s()
        while self._next < last and intended_s[self._next] <= now_s:
            self._send(self._next, now_s)
            self._next += 1
            now_s = self._now_s()
        return now_s

    def _send(self, index: int, now_s: float) -> None:
        connection = self._idle.pop() if self._idle else self._open(index, now_s)
        if connection is None:
            return
        self._recording.send(index, now_s)
        self._busy[index] = connection
        try:
            if not connection.request(index, self._messages[index]):
                self._epoll.modify(connection.descriptor, WATCHED | EPOLLOUT)
        except ConnectionBroken as broken:
            self._drop(connection, str(broken))

    def _open(self, index: int, now_s: float) -> Connection | None:
        """A new connection; None, with the request settled as failed, where none can be had.

        Only a request that failed for want of something on this machine counts as never sent.
        """
        if len(self._connections) >= self._max_connections:
            self._recording.fail(index, now_s, f"all {self._max_connections} connections wait for an answer")
            return None
        try:
            connection = Connection(self._family, self._address, self._converse())
        except OSError as error:
            if error.errno not in OWN_FAULTS:
                self._recording.send(index, now_s)
            self._recording.fail(index, now_s, f"cannot connect: {error.strerror}")
            return None
        self._connections[connection.descriptor] = connection
        self._epoll.register(connection.descriptor, WATCHED)
        return connection

    def _react(self, descriptor: int, events: int) -> None:
        if descriptor == self._lifeline:
            if not os.read(descriptor, LINE_BYTES):
                raise ControllerGone
            self._stopped = True
            return
        connection = self._connections.get(descriptor)
        if connection is None:  # closed earlier in this very pass
            return
        try:
            if events & EPOLLOUT and not events & EPOLLERR and connection.flush():
                self._epoll.modify(descriptor, WATCHED)
            if events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR):
                self._receive(connection)
        except (ConnectionBroken, BrokenAnswer) as broken:
            self._drop(connection, str(broken))

    def _receive(self, connection: Connection) -> None:
        refusal = connection.receive()
        if refusal is not None:
            self._settle(connection, refusal, self._now_s())
        # Only then: an answer that is complete counts, even where the server is gone before it is thanked.
        still_open = connection.descriptor in self._connections
        if still_open and connection.owes() and not connection.flush():
            self._epoll.modify(connection.descriptor, WATCHED | EPOLLOUT)

    def _settle(self, connection: Connection, refusal: str, now_s: float) -> None:
        index = connection.index
        if refusal:
            self._recording.fail(index, now_s, refusal)
        else:
            self._recording.succeed(index, now_s)
        del self._busy[index]
        connection.index = IDLE
        if connection.conversation.keep_alive:
            self._idle.append(connection)
        else:
            self._close(connection)

    def _drop(self, connection: Connection, reason: str) -> None:
        """Close a connection; the request it was busy with has failed."""
        index = connection.index
        if index == IDLE:
            self._idle.remove(connection)
        else:
            del self._busy[index]
            self._recording.fail(index, self._now_s(), reason)
        self._close(connection)

    def _close(self, connection: Connection) -> None:
        del self._connections[connection.descriptor]
        connection.close()

    def _give_up_on_old(self, now_s: float) -> None:
        """Fail what is older than the time limit, in order of age, and move on to the oldest that still waits."""
        settled, intended_s = self._recording.settled, self._recording.intended_s
        while self._oldest < self._next:
            if not settled[self._oldest]:
                if intended_s[self._oldest] + self._timeout_s > now_s:
                    break
                self._drop(self._busy[self._oldest], TIMED_OUT)
            self._oldest += 1
        # It may be answered before then; that is found out when its time comes, and costs one look.
        self._expiry_s = intended_s[self._oldest] + self._timeout_s if self._oldest < len(intended_s) else 0.0
