"""A TLS proxy between the client and the real API server that makes a planned share of the calls go wrong.

It ends TLS with the cluster's own certificate, passes on everything else as it comes (watches as streams), and keeps a
record of all calls. Which call fails, and how, is drawn from a seed in the order of the calls.
"""

from __future__ import annotations

import http.client
import json
import random
import socket
import ssl
import struct
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs, urlsplit

from tests.cluster.control_plane import CONTEXT, ControlPlane

Fault = Literal["429", "429 later", "500", "503", "silent", "reset", "lost", "cut", "half", "410"]
EVERY_CALL: tuple[Fault, ...] = ("429", "429 later", "500", "503", "silent", "reset", "lost", "cut", "half")
"""`lost`: carried out, and the answer never comes. `cut`: it breaks off. `half`: it is short, and says so."""
OF_A_VERSION: tuple[Fault, ...] = (*EVERY_CALL, *("410",) * len(EVERY_CALL))
"""Watches, and lists from a version on: every other fault is that one."""
HOP = frozenset({"connection", "transfer-encoding", "content-length", "keep-alive", "host"})
PART = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request; `verb` and `resource` are what the API's access rules call it."""

    method: str
    path: str
    verb: str
    group: str
    resource: str
    fault: str


class Plan:
    """Draws faults for so large a share of the calls; nothing while `ratio` is 0."""

    def __init__(self, *, seed: int = 0, ratio: float = 0.0) -> None:
        self.ratio = ratio
        self._source = random.Random(seed)
        self._lock = threading.Lock()

    def draw(self, path: str) -> Fault | None:
        with self._lock:
            if self._source.random() >= self.ratio:
                return None
            versioned = "resourceVersion" in parse_qs(urlsplit(path).query)
            return self._source.choice(OF_A_VERSION if versioned else EVERY_CALL)


def described(method: str, path: str, fault: str) -> Call:
    """As RBAC sees the request. Source: "Determine the request verb" in the Kubernetes documentation."""
    url = urlsplit(path)
    parts = url.path.strip("/").split("/")
    group, rest = ("", parts[2:]) if parts[0] == "api" else (parts[1] if len(parts) > 1 else "", parts[3:])
    if rest[:1] == ["namespaces"] and len(rest) > 2:
        rest = rest[2:]
    named = len(rest) > 1
    resource = "/".join([rest[0], *rest[2:3]]) if rest else url.path
    watched = parse_qs(url.query).get("watch") == ["true"]
    reads = "watch" if watched else "get" if named or not rest else "list"
    verb = {"GET": reads, "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}[method]
    return Call(method=method, path=path, verb=verb, group=group, resource=resource, fault=fault)


class FaultProxy(ThreadingHTTPServer):
    """Listens beside the API server, on a port of its own. While `away` is set, everything is reset: an outage."""

    daemon_threads = True

    def __init__(self, plane: ControlPlane, plan: Plan) -> None:
        upstream = urlsplit(plane.host)
        self.upstream = (str(upstream.hostname), int(upstream.port or 443))
        super().__init__((self.upstream[0], 0), _Passing)
        self.plan, self.host = plan, f"https://{self.upstream[0]}:{self.server_address[1]}"
        self.calls: list[Call] = []
        self.ended, self.away = threading.Event(), threading.Event()
        self.trusts = ssl.create_default_context(cafile=str(plane.folder / "ca.crt"))
        self._serves = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._serves.load_cert_chain(plane.folder / "api.crt", plane.folder / "api.key")

    def finish_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        """In the connection's own thread: a slow handshake holds up nobody else."""
        if self.away.is_set():
            self.calls.append(Call(method="", path="", verb="connect", group="", resource="", fault="away"))
            # In mid-handshake: a socket that is reset before it is one more way to leak in the standard library.
            with suppress(OSError):
                request.settimeout(5)
                request.recv(1)
            abort(request)
            return
        with suppress(OSError):
            request.settimeout(60)
            with self._serves.wrap_socket(request, server_side=True) as secured:
                super().finish_request(secured, client_address)  # type: ignore[arg-type]

    def used(self) -> set[tuple[str, str, str]]:
        """Group, resource and verb of every call."""
        return {(one.group, one.resource, one.verb) for one in list(self.calls)}

    def faults(self) -> Counter[str]:
        return Counter(one.fault for one in list(self.calls) if one.fault)


class _Passing(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    server: FaultProxy

    def pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.server.plan.draw(self.path)
        away = self.server.away.is_set()
        self.server.calls.append(described(self.command, self.path, "away" if away else fault or ""))
        if away or fault == "reset":
            self.hang_up()
        elif fault in {"429", "429 later", "500", "503", "410"}:
            self.refuse(str(fault))
        elif fault == "silent":
            self.server.ended.wait(30)
            self.hang_up()
        else:
            self.forward(body, fault)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = pass_on  # noqa: N815 - the names that http.server asks for

    def refuse(self, fault: str) -> None:
        """Without asking the cluster. A watch may also be told of its age in the stream."""
        code, later = int(fault.split(maxsplit=1)[0]), fault.endswith("later")
        reason = {429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable", 410: "Expired"}[code]
        status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code}
        said: dict[str, object] = {**status, "message": f"planned: {reason}"}
        in_stream = code == 410 and "watch=true" in self.path and len(self.server.calls) % 2 == 0
        content = json.dumps({"type": "ERROR", "object": said} if in_stream else said).encode() + b"\n"
        self.send_response(200 if in_stream else code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if later:
            self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(content)

    def forward(self, body: bytes, fault: Fault | None) -> None:
        connection = http.client.HTTPSConnection(*self.server.upstream, timeout=60, context=self.server.trusts)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP}
        try:
            connection.request(self.command, self.path, body or None, headers)
            answer = connection.getresponse()
            if fault == "lost":
                answer.read()
                self.hang_up()
            elif "watch=true" in self.path:
                self.stream(answer, cut=fault in {"cut", "half"})
            else:
                self.whole(answer, fault)
        finally:
            connection.close()

    def whole(self, answer: http.client.HTTPResponse, fault: Fault | None) -> None:
        content = answer.read()
        kept = content[: len(content) // 2] if fault in {"cut", "half"} else content
        self.head(answer, ("Content-Length", str(len(kept if fault == "half" else content))))
        self.wfile.write(kept)
        if fault == "cut":
            self.wfile.flush()
            self.hang_up()

    def stream(self, answer: http.client.HTTPResponse, *, cut: bool) -> None:
        """Part by part, as they come; `cut` ends it in the middle of the first."""
        self.head(answer, ("Transfer-Encoding", "chunked"))
        self.wfile.flush()
        while part := answer.read1(PART):
            if self.server.away.is_set():
                self.hang_up()
                return
            kept = part[: len(part) // 2] if cut else part
            self.wfile.write(b"%x\r\n%s\r\n" % (len(kept), kept))
            self.wfile.flush()
            if cut:
                self.hang_up()
                return
        self.wfile.write(b"0\r\n\r\n")

    def head(self, answer: http.client.HTTPResponse, *more: tuple[str, str]) -> None:
        self.send_response(answer.status)
        for name, value in (*answer.getheaders(), *more):
            if (name, value) in more or name.lower() not in HOP:
                self.send_header(name, value)
        self.end_headers()

    def hang_up(self) -> None:
        self.close_connection = True
        abort(self.connection)

    def log_message(self, *_said: object) -> None:
        """Quiet."""

    def handle(self) -> None:
        with suppress(OSError, http.client.HTTPException, ValueError):
            super().handle()


def abort(connection: socket.socket) -> None:
    """RST instead of FIN: what a machine that went away sends."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()


def kubeconfig_through(proxy: FaultProxy, plane: ControlPlane, identity: str = "admin") -> Path:
    """The identity's own kubeconfig, with the proxy's address."""
    config = json.loads(plane.kubeconfig(identity).read_text())
    for one in config["clusters"]:
        one["cluster"]["server"] = proxy.host
    path = plane.folder / f"{identity}-through-{proxy.server_address[1]}.kubeconfig"
    path.write_text(json.dumps(config))
    assert config["current-context"] == CONTEXT
    return path


@contextmanager
def fault_proxy(plane: ControlPlane, plan: Plan | None = None) -> Iterator[FaultProxy]:
    """Passing on entry; gone on exit, with every connection."""
    with FaultProxy(plane, plan or Plan()) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield proxy
        finally:
            proxy.ended.set()
            proxy.shutdown()
            thread.join()


def told(calls: Sequence[Call]) -> str:
    """How many calls of which kind, for a test's output."""
    kinds = Counter(f"{one.verb} {one.resource}" for one in calls)
    return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
