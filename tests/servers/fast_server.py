"""A KServe v2 server so cheap that a load generator is the bottleneck: `fast_server.py PORT PROCESSES`.

Every POST gets the same answer as soon as it is complete; a GET gets what perf_analyzer asks before it sends load. One
epoll loop per process, all on one port (0: any); prints the port, serves until stdin ends. Reads bodies without keeping
them: the first POST of a connection tells how long all of them are.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
from select import EPOLLIN, epoll

from tests.servers.kserve_server import ANSWERS, http

BUFFER_BYTES = 1 << 20
SERVER = {"name": "fast", "version": "1", "extensions": ["binary_tensor_data", "model_configuration", "statistics"]}
INPUT = {"name": "x", "datatype": "FP32", "shape": [-1, -1]}
OUTPUT = {"name": "y", "datatype": "FP32", "shape": [-1, 4]}
METADATA = {"name": "identity", "versions": ["1"], "platform": "fast", "inputs": [INPUT], "outputs": [OUTPUT]}
CONFIG = {
    "name": "identity",
    "platform": "fast",
    "max_batch_size": 1,
    "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [-1]}],
    "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [4]}],
}
ANSWERED = {"count": 0, "ns": 0}  # by this process
PHASES = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss")
STATISTICS = {
    "name": "identity",
    "version": "1",
    "last_inference": 0,
    "inference_count": 0,
    "execution_count": 0,
    "inference_stats": dict.fromkeys(PHASES, ANSWERED),
    "batch_stats": [],
}
DOCUMENTS = {
    b"/v2": SERVER,
    b"/v2/models/identity": METADATA,
    b"/v2/models/identity/config": CONFIG,
    b"/v2/models/identity/stats": {"model_stats": [STATISTICS]},
}
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


def listener(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    sock.setblocking(False)
    sock.bind(("127.0.0.1", port))
    sock.listen(4096)
    return sock


def serve(door: socket.socket) -> None:
    """Until the process is ended."""
    answer, buffer, poll = ANSWERS["binary"], bytearray(BUFFER_BYTES), epoll()
    connections: dict[int, list] = {}  # descriptor -> [socket, bytes of one request, bytes of it received]
    poll.register(door.fileno(), EPOLLIN)
    while True:
        for descriptor, _events in poll.poll():
            if descriptor == door.fileno():
                accept(door, poll, connections)
                continue
            try:
                alive = answer_what_is_complete(connections[descriptor], buffer, answer)
            except OSError:  # the client is gone
                alive = False
            if not alive:
                connections.pop(descriptor)[0].close()


def answer_what_is_complete(connection: list, buffer: bytearray, answer: bytes) -> bool:
    """False at the end of the connection."""
    received = connection[0].recv_into(buffer)
    if buffer.startswith(b"GET ") and not connection[2] and received:
        connection[0].send(document(bytes(buffer[:received])))
        return True
    if not connection[1] and received:
        connection[1] = request_bytes(bytes(buffer[: min(received, 2048)]))
    connection[2] += received
    while received and connection[2] >= connection[1]:
        connection[2] -= connection[1]
        connection[0].send(answer)
        ANSWERED["count"] += 1
    return received > 0


def document(request: bytes) -> bytes:
    path = request.split(b" ", 2)[1].rstrip(b"/")
    known = next((DOCUMENTS[name] for name in (path, path.replace(b"/versions/1", b"")) if name in DOCUMENTS), {})
    return http(json.dumps(known).encode(), fields="Content-Type: application/json\r\n")


def accept(door: socket.socket, poll: epoll, connections: dict[int, list]) -> None:
    try:
        sock, _ = door.accept()
    except BlockingIOError:
        return
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connections[sock.fileno()] = [sock, 0, 0]
    poll.register(sock.fileno(), EPOLLIN)


def request_bytes(head: bytes) -> int:
    """Head and body; the head of a load generator's request comes whole."""
    return head.index(b"\r\n\r\n") + 4 + int(LENGTH.search(head)[1])


def main(port: int, processes: int) -> None:
    first = listener(port)
    for _ in range(processes):
        if os.fork() == 0:
            os.setpgid(0, os.getppid())
            serve(first if _ == 0 else listener(first.getsockname()[1]))
    print(first.getsockname()[1], flush=True)
    sys.stdin.read()
    os.killpg(0, 15)


if __name__ == "__main__":
    os.setpgid(0, 0)
    main(int(sys.argv[1]), int(sys.argv[2]))
