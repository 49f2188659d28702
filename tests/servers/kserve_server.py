"""A KServe v2 server with a known delay and planned faults: `kserve_server.py BEHAVIOUR_AS_JSON`.

Prints its port, serves until stdin ends. Reads requests as a server has to: by Content-Length, however they arrive.
"""

from __future__ import annotations

import asyncio
import json
import os
import struct
import sys
from asyncio import Transport
from socket import SO_LINGER, SOL_SOCKET
from typing import ClassVar

OUTPUT = struct.pack("<4f", 0.0, 1.0, 2.0, 3.0)
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n"


def result(parameters: dict[str, object], **extra: object) -> bytes:
    output = {"name": "y", "datatype": "FP32", "shape": [1, 4], **parameters}
    return json.dumps({"model_name": "identity", "model_version": "1", "outputs": [output], **extra}).encode()


def http(body: bytes, *, status: str = "200 OK", fields: str = "", announced: int | None = None) -> bytes:
    length = len(body) if announced is None else announced
    return f"HTTP/1.1 {status}\r\n{fields}Content-Length: {length}\r\n\r\n".encode() + body


def binary(size: object = len(OUTPUT), fields: str = "", **stated: object) -> bytes:
    head = result({"parameters": {"binary_data_size": size}, **stated})
    return http(head + OUTPUT, fields=f"Inference-Header-Content-Length: {len(head)}\r\n{fields}")


def chunked() -> bytes:
    head = result({"parameters": {"binary_data_size": len(OUTPUT)}})
    fields = f"inference-header-content-length: {len(head)}\r\nTransfer-Encoding: chunked\r\n"
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (head[:7], head[7:], OUTPUT))
    return f"HTTP/1.1 200 OK\r\n{fields}\r\n".encode() + chunks + b"0\r\n\r\n"


ANSWERS = {
    "binary": binary(),
    "pieces": binary(),
    "json": http(result({"data": [0.0, 1.0, 2.0, 3.0]})),
    "chunked": chunked(),
    "close": binary(fields="Connection: close\r\n"),
    "early_hints": HINTS + binary(),
    "redirect": http(b"", status="302 Found", fields="Location: http://127.0.0.1:9/\r\n"),
    "error_body": http(json.dumps({"error": "out of memory"}).encode()),
    "short": http(OUTPUT, announced=100),
    "wrong_size": binary(size=400),
    "wrong_shape": binary(shape=[1, 1000]),
    "wrong_json_shape": http(result({"data": [[0.0, 1.0, 2.0]]})),
    "odd_size": binary(size="many"),
    "odd_outputs": http(b'{"outputs": ["y"]}'),
    "nested_json": http(result({"data": [[0.0, 1.0, 2.0, 3.0]]})),
    "garbage": b"SSH-2.0-OpenSSH_9.2\r\n",
    "two": binary() + binary(),
}
METADATA = http(
    json.dumps({"name": "identity", "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 16]}]}).encode()
)
ERROR = http(json.dumps({"error": "failed as planned"}).encode(), status="500 Internal Server Error")


class Server(asyncio.Protocol):
    """One connection; `behaviour`, `seen` and `first_s` are shared by all of them."""

    behaviour: ClassVar[dict[str, object]] = {}
    seen = 0
    first_s = 0.0
    free_s = 0.0

    def connection_made(self, transport: Transport) -> None:
        self.transport = transport
        self.received = b""

    def data_received(self, data: bytes) -> None:
        self.received += data
        while (size := self.request_size()) is not None and len(self.received) >= size:
            request, self.received = self.received[:size], self.received[size:]
            if request.startswith(b"GET /v2/models/identity "):
                self.transport.write(METADATA if self.behaviour["answer"] != "redirect" else ANSWERS["redirect"])
            elif request.startswith(b"GET "):
                self.transport.write(http(b"{}", status="404 Not Found"))
            else:
                self.serve()

    def request_size(self) -> int | None:
        head, separator, _ = self.received.partition(b"\r\n\r\n")
        if not separator:
            return None
        if head.startswith(b"GET "):
            return len(head) + len(separator)
        fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:])
        return len(head) + len(separator) + int(fields[b"content-length"])

    def serve(self) -> None:
        now_s = asyncio.get_running_loop().time()
        Server.first_s = Server.first_s or now_s
        Server.seen += 1
        number, behaviour = Server.seen, self.behaviour
        if self.planned(number, "die_after", repeats=False):
            # Behind the answers that it owes: they leave within the same delay.
            asyncio.get_running_loop().call_at(now_s + behaviour["delay_s"] + 0.001, os._exit, 1)
        elif self.planned(number, "reset_every", repeats=True):
            # Closing without lingering sends a reset, not an orderly end.
            self.transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        elif not self.planned(number, "hang_after", repeats=False):
            begins_s = max(now_s, Server.free_s) if behaviour["one_at_a_time"] else now_s
            Server.free_s = begins_s + behaviour["delay_s"]
            leaves_s = end_of_stall_s(Server.free_s - Server.first_s, behaviour) + Server.first_s
            self.answer_at(leaves_s, ERROR if self.planned(number, "error_every", repeats=True) else None)

    def planned(self, number: int, plan: str, *, repeats: bool) -> bool:
        at = self.behaviour[plan]
        return bool(at) and (number % at == 0 if repeats else number > at)

    def answer_at(self, time_s: float, error: bytes | None) -> None:
        loop, kind = asyncio.get_running_loop(), self.behaviour["answer"]
        message = error or ANSWERS[kind]
        if kind == "pieces":
            half = len(message) // 2
            loop.call_at(time_s - 0.002, self.transport.write, message[:half])
            message = message[half:]
        loop.call_at(time_s, self.answer, message)

    def answer(self, message: bytes) -> None:
        self.transport.write(message)
        if self.behaviour["answer"] in ("close", "short"):
            self.transport.close()


def end_of_stall_s(time_s: float, behaviour: dict[str, object]) -> float:
    """When something meant to leave at `time_s` after the first request really does."""
    period_s, stall_s = behaviour["stall_every_s"], behaviour["stall_s"]
    if not period_s:
        return time_s
    into_s = time_s % period_s
    return time_s if into_s < period_s - stall_s else time_s + period_s - into_s


async def main() -> None:
    Server.behaviour = json.loads(sys.argv[1])
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Server, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
