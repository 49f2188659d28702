"""A KServe v2 server over gRPC with a known delay and planned faults: `kserve_grpc_server.py BEHAVIOUR_AS_JSON`.

HTTP/2 by h2, which shares no state machine with the engine. Prints its port, serves until stdin ends.
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

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded
from h2.settings import SettingCodes
from tritonclient.grpc import service_pb2

SMALL_WINDOW_BYTES = 1000
HEADERS = [(":status", "200"), ("content-type", "application/grpc")]
GOOD = [("grpc-status", "0"), ("grpc-message", "")]
ERROR = [*HEADERS, ("grpc-status", "13"), ("grpc-message", "failed%20as planned")]


def prefixed(message: bytes, *, compressed: int = 0) -> bytes:
    return struct.pack(">BI", compressed, len(message)) + message


def result(*, floats: int = 4, outputs: int = 1) -> bytes:
    answer = service_pb2.ModelInferResponse(model_name="identity")
    for number in range(outputs):
        answer.outputs.add(name=f"y{number}", datatype="FP32", shape=[1, 4])
        answer.raw_output_contents.append(bytes(4 * floats))
    return answer.SerializeToString()


def metadata() -> bytes:
    answer = service_pb2.ModelMetadataResponse(name="identity")
    answer.inputs.add(name="x", datatype="FP32", shape=[-1, 16])
    return answer.SerializeToString()


MESSAGES = {
    "wrong_size": prefixed(result(floats=5)),
    "no_outputs": prefixed(result(outputs=0)),
    "not_protobuf": prefixed(b"\xff\xff"),
    "compressed": prefixed(result(), compressed=1),
    "two": prefixed(result()) * 2,
    "large": prefixed(result(outputs=20_000)),
}
TRAILERS = {
    "no_status": [("x-other", "1")],
    "late_error": [("grpc-status", "8"), ("grpc-message", "out of memory")],
    "odd_status": [("grpc-status", "99"), ("grpc-message", "")],
}


class Server(asyncio.Protocol):
    """One connection; `behaviour` and `seen` are shared by all of them."""

    behaviour: ClassVar[dict[str, object]] = {}
    seen = 0

    def connection_made(self, transport: Transport) -> None:
        self.transport = transport
        self.paths: dict[int, str] = {}
        self.http2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.http2.initiate_connection()
        self.flush()

    def flush(self) -> None:
        data = self.http2.data_to_send()
        if self.behaviour["answer"] == "pieces":
            for at in range(len(data)):
                self.transport.write(data[at : at + 1])
        else:
            self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        if self.behaviour["answer"] == "garbage":
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            return
        for event in self.http2.receive_data(data):
            if isinstance(event, RequestReceived):
                self.paths[event.stream_id] = dict(event.headers)[":path"]
                if self.behaviour["answer"] == "early_error":
                    self.http2.send_headers(event.stream_id, ERROR, end_stream=True)
            elif isinstance(event, DataReceived):
                self.http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamEnded) and self.behaviour["answer"] != "early_error":
                if self.paths.pop(event.stream_id).endswith("/ModelMetadata"):
                    self.respond(event.stream_id, prefixed(metadata()), GOOD)
                else:
                    self.serve(event.stream_id)
        self.flush()

    def serve(self, stream: int) -> None:
        Server.seen += 1
        if self.planned("die_after", repeats=False):
            # Behind the answers that it owes: they leave within the same delay.
            asyncio.get_running_loop().call_later(self.behaviour["delay_s"] + 0.001, os._exit, 1)
        elif self.planned("reset_every", repeats=True):
            # Closing without lingering sends a reset, not an orderly end.
            self.transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        elif not self.planned("hang_after", repeats=False):
            failing = self.planned("error_every", repeats=True)
            asyncio.get_running_loop().call_later(self.behaviour["delay_s"], self.answer, stream, failing)

    def planned(self, plan: str, *, repeats: bool) -> bool:
        at = self.behaviour[plan]
        return bool(at) and (self.seen % at == 0 if repeats else self.seen > at)

    def answer(self, stream: int, failing: bool) -> None:
        if self.transport.is_closing():
            return
        kind = self.behaviour["answer"]
        if failing:
            self.http2.send_headers(stream, ERROR, end_stream=True)
        elif kind == "http_404":
            self.http2.send_headers(stream, [(":status", "404")], end_stream=True)
        elif kind == "reset_stream":
            self.http2.reset_stream(stream, error_code=7)
        elif kind == "close":
            self.respond(stream, prefixed(result()), GOOD)
            self.http2.close_connection(last_stream_id=stream)
        else:
            if kind == "ping":
                self.http2.ping(b"12345678")
            headers = [("x-long", "a" * 30_000)] if kind == "long_head" else []
            self.respond(stream, MESSAGES.get(kind, prefixed(result())), TRAILERS.get(kind, GOOD), headers)
            if kind == "small_windows":
                self.http2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: SMALL_WINDOW_BYTES})
        self.flush()
        if kind == "close":
            self.transport.close()

    def respond(self, stream: int, message: bytes, trailers: list[tuple[str, str]], headers=()) -> None:
        self.http2.send_headers(stream, [*HEADERS, *headers])
        pad = 7 if self.behaviour["answer"] == "padded" else None
        size = self.http2.max_outbound_frame_size - 16
        for at in range(0, len(message), size):
            self.http2.send_data(stream, message[at : at + size], pad_length=pad)
        self.http2.send_headers(stream, trailers, end_stream=True)


async def main() -> None:
    Server.behaviour = json.loads(sys.argv[1])
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Server, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
