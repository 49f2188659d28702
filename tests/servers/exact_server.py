"""A KServe v2 server that keeps a latency law to the fraction of a millisecond, and keeps its own record of it.

`python -m tests.servers.exact_server SETTINGS_AS_JSON` prints its port, serves until stdin ends, then writes what it
recorded to stdout: for every request, in order of arrival, three float64: when its first byte was read, when its
answer was due to leave, and when it had been handed to the kernel. All on the machine's monotonic clock.

One epoll loop, as the load engine has: what asyncio adds (its timers are good to a millisecond) is no part of the law.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import math
import os
import random
import socket
import sys
from array import array
from collections.abc import Callable
from heapq import heappop, heappush
from select import EPOLLIN, epoll, select
from time import monotonic

from tests.servers.kserve_server import ANSWERS, METADATA, end_of_stall_s, http

PR_SET_TIMERSLACK = 29
LONGEST_WAIT_S = 0.5
BACKLOG = 4096

# What a request takes in a server that never makes one wait for another, in seconds.
LAWS: dict[str, Callable[[random.Random], float]] = {
    "constant 0.3 ms": lambda _: 0.0003,
    "constant 2 ms": lambda _: 0.002,
    "constant 10 ms": lambda _: 0.010,
    "constant 13 ms": lambda _: 0.013,
    "constant 3 s": lambda _: 3.0,
    "exponential 20 ms": lambda source: source.expovariate(50.0),
    "bimodal 1 ms or 300 ms": lambda source: 0.001 if source.random() < 0.95 else 0.300,
    "heavy tail (Pareto 1.5) 1 ms to 3 s": lambda source: min(3.0, 0.001 * (1.0 - source.random()) ** (-1.0 / 1.5)),
}


class Peer:
    """One connection: what has come in of its request, and since when."""

    __slots__ = ("first_s", "received", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.received = b""
        self.first_s = 0.0


class ExactServer:
    """Answers each request when its law says so; `one_at_a_time` is a queue before one worker."""

    def __init__(self, settings: dict[str, object]) -> None:
        self.settings = settings
        self.law = LAWS[settings["law"]]
        self.source = random.Random(settings["seed"])
        self.first_s = 0.0
        self.free_s = 0.0
        self.leaving: list[tuple[float, int, Peer]] = []
        self.arrived_s, self.due_s, self.left_s = array("d"), array("d"), array("d")
        self.peers: dict[int, Peer] = {}
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        self.listener.setblocking(False)
        self.epoll = epoll()
        self.epoll.register(self.listener.fileno(), EPOLLIN)
        self.epoll.register(0, EPOLLIN)

    def run(self) -> None:
        while True:
            wait_s = self.leaving[0][0] - monotonic() if self.leaving else LONGEST_WAIT_S
            if wait_s > 0.0 and not select((self.epoll,), (), (), min(wait_s, LONGEST_WAIT_S))[0]:
                self.answer_due()
                continue
            self.answer_due()
            for descriptor, _ in self.epoll.poll(0):
                if descriptor == 0:
                    return
                self.react(descriptor)

    def react(self, descriptor: int) -> None:
        if descriptor == self.listener.fileno():
            with contextlib.suppress(BlockingIOError):
                sock = self.listener.accept()[0]
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.peers[sock.fileno()] = Peer(sock)
                self.epoll.register(sock.fileno(), EPOLLIN)
            return
        peer = self.peers[descriptor]
        try:
            data = peer.sock.recv(1 << 20)
        except ConnectionError:
            data = b""
        if not data:
            self.peers.pop(descriptor).sock.close()
            return
        if not peer.received:
            peer.first_s = monotonic()
        peer.received += data
        self.serve_if_complete(peer)

    def serve_if_complete(self, peer: Peer) -> None:
        head, separator, body = peer.received.partition(b"\r\n\r\n")
        if not separator:
            return
        if head.startswith(b"GET "):
            peer.received = b""
            known = head.startswith(b"GET /v2/models/identity ")
            peer.sock.sendall(METADATA if known else http(b"{}", status="404 Not Found"))
            return
        length = head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
        if len(body) < int(length):
            return
        peer.received = b""
        self.take(peer)

    def take(self, peer: Peer) -> None:
        arrived_s = peer.first_s
        self.first_s = self.first_s or arrived_s
        begins_s = max(arrived_s, self.free_s) if self.settings["one_at_a_time"] else arrived_s
        # From what is due, not from what was done: lateness of this process must not add up to a longer queue.
        self.free_s = begins_s + self.law(self.source)
        due_s = end_of_stall_s(self.free_s - self.first_s, self.settings) + self.first_s
        heappush(self.leaving, (due_s, len(self.arrived_s), peer))
        self.arrived_s.append(arrived_s)
        self.due_s.append(due_s)
        self.left_s.append(math.inf)

    def answer_due(self) -> None:
        while self.leaving and self.leaving[0][0] <= monotonic():
            _, number, peer = heappop(self.leaving)
            with contextlib.suppress(OSError):  # whoever asked may have given up
                peer.sock.send(ANSWERS["binary"])
            self.left_s[number] = monotonic()


def main() -> None:
    settings = json.loads(sys.argv[1])
    if settings["cpus"]:
        os.sched_setaffinity(0, settings["cpus"])
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -10)
    gc.disable()
    server = ExactServer(settings)
    print(server.listener.getsockname()[1], flush=True)
    server.run()
    for column in (server.arrived_s, server.due_s, server.left_s):
        sys.stdout.buffer.write(column.tobytes())


if __name__ == "__main__":
    main()
