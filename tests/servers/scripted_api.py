"""An API server of a few lines: it answers by a script, and remembers what it was asked. For the client's tests."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What is said to one request: `cut` bytes are kept back at the end (`honest`: and the length says so)."""

    status: int = 200
    body: Any = field(default_factory=dict)
    headers: tuple[tuple[str, str], ...] = ()
    cut: int = 0
    honest: bool = False
    reset: bool = False
    silent: bool = False


@dataclass
class ScriptedApi:
    """The replies in turn, the last one for ever; `asked` are method and path with its query."""

    replies: list[Reply]
    asked: list[tuple[str, str]] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    host: str = ""

    def next(self, method: str, path: str) -> Reply:
        self.asked.append((method, path))
        return self.replies[min(len(self.asked), len(self.replies)) - 1]


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one write
    script: ScriptedApi

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        reply = self.script.next(self.command, self.path)
        if reply.silent:
            self.script.ended.wait()
        if reply.silent or reply.reset:
            # RST instead of FIN.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            return
        content = reply.body.encode() if isinstance(reply.body, str) else json.dumps(reply.body).encode()
        kept = content[: len(content) - reply.cut]
        self.send_response(reply.status)
        for name, value in reply.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(kept if reply.honest else content)))
        self.end_headers()
        self.wfile.write(kept)
        self.close_connection = len(kept) < len(content) and not reply.honest

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815 - the names that http.server asks for

    def log_message(self, *_said: object) -> None:
        """Quiet."""


@contextmanager
def scripted_api(replies: Sequence[Reply]) -> Iterator[ScriptedApi]:
    """Serving on entry, on a port of its own; gone on exit."""
    script = ScriptedApi(list(replies))
    handler = type("Answers", (_Answers,), {"script": script})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    script.host = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield script
    finally:
        script.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
