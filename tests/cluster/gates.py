"""Points at which a controller is made to stand still, so that it can be killed exactly there.

What it asks of the cluster is held by an admission webhook, what it asks of its server by the server: one request, the
first that matches, until the gate is opened.
"""

from __future__ import annotations

import base64
import json
import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.cluster.control_plane import ControlPlane
from tests.cluster.kserve_pod import Answers, Server
from tests.cluster.processes import await_true

HELD_S = 29.0
PROBE = "gate-probe"
HELD_KINDS = (
    ("", "v1", ["configmaps", "services", "pods/binding", "pods/status"]),
    ("apps", "v1", ["deployments"]),
    ("coordination.k8s.io", "v1", ["leases"]),
)


class Gate:
    """Holds the first thing that matches. Everything else, and everything later, goes through."""

    def __init__(self, pattern: str) -> None:
        self._pattern = re.compile(pattern)
        self._first = threading.Lock()
        self.arrived, self._opened = threading.Event(), threading.Event()
        self.seen: list[str] = []

    def come(self, what: str) -> None:
        """Whoever does this waits here, if it is the one."""
        self.seen.append(what)
        if self._pattern.fullmatch(what) and self._first.acquire(blocking=False):
            self.arrived.set()
            self._opened.wait(HELD_S)

    def open(self) -> None:
        self._opened.set()


@contextmanager
def webhook(plane: ControlPlane, namespace: str, gate: Gate) -> Iterator[None]:
    """What is asked of the cluster in the namespace comes to the gate as `OPERATION KIND NAME`."""
    address = urlsplit(plane.host).hostname or ""
    server = ThreadingHTTPServer((address, 0), type("Hook", (_Hook,), {"gate": gate}))
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(plane.folder / "api.crt", plane.folder / "api.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    configurations = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    plane.admin.patch(f"/api/v1/namespaces/{namespace}", {"metadata": {"labels": {"gate": namespace}}})
    where = f"https://{address}:{server.server_address[1]}/"
    plane.admin.post(configurations, _configuration(namespace, where, (plane.folder / "ca.crt").read_bytes()))
    try:
        await_true("the API server asks the webhook", lambda: _asked(plane, namespace, gate))
        yield
    finally:
        gate.open()
        plane.admin.delete(f"{configurations}/{namespace}")
        server.shutdown()
        server.server_close()
        thread.join()


def _asked(plane: ControlPlane, namespace: str, gate: Gate) -> bool:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    plane.admin.post(path, {"metadata": {"name": PROBE}})
    plane.admin.delete(f"{path}/{PROBE}")
    return any(PROBE in what for what in gate.seen)


def _configuration(namespace: str, url: str, authority: bytes) -> dict[str, Any]:
    rules = [
        {
            "apiGroups": [group],
            "apiVersions": [version],
            "operations": ["CREATE", "UPDATE", "DELETE"],
            "resources": kinds,
        }
        for group, version, kinds in HELD_KINDS
    ]
    hook = {
        "name": "gate.servetune.test",
        "clientConfig": {"url": url, "caBundle": base64.b64encode(authority).decode()},
        "rules": rules,
        "namespaceSelector": {"matchLabels": {"gate": namespace}},
        "failurePolicy": "Ignore",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 30,
    }
    return {"metadata": {"name": namespace}, "webhooks": [hook]}


class _Hook(BaseHTTPRequestHandler):
    gate: Gate
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["request"]
        kind = "/".join(part for part in (asked["resource"]["resource"], asked.get("subResource")) if part)
        self.gate.come(
            f"{asked['operation']} {kind} {asked.get('name') or asked['object']['metadata'].get('name', '')}"
        )
        response = {"uid": asked["uid"], "allowed": True}
        review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
        body = json.dumps(review).encode()
        try:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            # Who asked was killed meanwhile.
            self.close_connection = True

    def log_message(self, *_said: object) -> None:
        """Quiet."""


def gated_servers(gate: Gate) -> type[Server]:
    """Servers whose requests come to the gate as `server N: METHOD PATH after COUNT`; N counts them from 1."""
    begun: list[Server] = []

    class GatedAnswers(Answers):
        def do_GET(self) -> None:  # noqa: N802 - the library's name
            self._come("GET")
            super().do_GET()

        def do_POST(self) -> None:  # noqa: N802
            self._come("POST")
            super().do_POST()

        def _come(self, method: str) -> None:
            number = begun.index(self.server) + 1
            gate.come(f"server {number}: {method} {self.path} after {self.server.count}")

        def answer(self, status: int, body: object) -> None:
            try:
                super().answer(status, body)
            except OSError:
                self.close_connection = True

    class GatedServer(Server):
        def __init__(self, port: int, **settings: Any) -> None:
            super().__init__(port, **settings)
            begun.append(self)
            self.RequestHandlerClass = GatedAnswers

    return GatedServer
