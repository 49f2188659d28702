"""A node without containers whose pods of load really run, as processes of this machine, and whose logs can be read.

The API server asks it for logs as it would a kubelet.
"""

from __future__ import annotations

import base64
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.cluster.control_plane import ControlPlane
from tests.cluster.fake_node import FakeNodes, condition, now, path_of_pod
from tests.cluster.rest import Rest

ROOT = Path(__file__).parents[2]


@dataclass(slots=True)
class Running:
    """One container: a process, where its words go, and how it is spoken of."""

    process: subprocess.Popen[bytes]
    log: Path
    told: bool = field(default=False)


class LoadingNodes(FakeNodes):
    """Load pods are processes; every other pod is as on a fake node."""

    def __init__(self, admin: Rest, folder: Path) -> None:
        super().__init__(admin)
        self._folder = folder
        self._loads: dict[str, Running] = {}
        self._by_name: dict[str, Running] = {}
        self.tampered: dict[str, bytes] = {}
        self.held: set[str] = set()

    def log_of(self, pod: str, container: str) -> bytes:
        """What a load pod has printed."""
        said = self._by_name[pod].log.read_bytes() if pod in self._by_name else b""
        return said.replace(b'"number": 0', self.tampered[container]) if container in self.tampered else said

    def kill(self, pod: str) -> None:
        """As the kernel does for memory, or somebody's hand."""
        self._by_name[pod].process.kill()

    def end(self) -> None:
        super().end()
        for uid in list(self._loads):
            self._stop(uid)

    def _drive(self, pod: Any) -> None:
        role = pod["metadata"].get("labels", {}).get("servetune/role", "")
        if "deletionTimestamp" in pod["metadata"] or not role.startswith("load-"):
            super()._drive(pod)
            return
        uid, path = pod["metadata"]["uid"], path_of_pod(pod)
        if role in self.held or self._admin.get(path)["status"].get("phase") in {"Succeeded", "Failed"}:
            return
        if uid not in self._loads:
            self._loads[uid] = self._by_name[pod["metadata"]["name"]] = self._begin(pod)
        one = self._loads[uid]
        code = one.process.poll()
        if code is None and not one.told:
            one.told = True
            self._admin.patch(f"{path}/status", {"status": _status(role, "Running", {"running": {"startedAt": now()}})})
        elif code is not None:
            code = 128 - code if code < 0 else code
            ended = {"exitCode": code, "reason": "Error" if code else "Completed", "finishedAt": now()}
            phase = "Failed" if code else "Succeeded"
            self._admin.patch(f"{path}/status", {"status": _status(role, phase, {"terminated": ended})})

    def _begin(self, pod: Any) -> Running:
        container = pod["spec"]["containers"][0]
        plan = self._plan(pod)
        words = [word.replace("/plan/", f"{plan}/") for word in container["command"]]
        program = [sys.executable if words[0] == "python3" else words[0], *words[1:]]
        asked = {one["name"]: one["value"] for one in container["env"]}
        log = self._folder / f"{pod['metadata']['uid']}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                program, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=ROOT, env=os.environ | asked
            )
        return Running(process, log)

    def _plan(self, pod: Any) -> Path:
        name = pod["spec"]["volumes"][0]["configMap"]["name"]
        held = self._admin.get(f"/api/v1/namespaces/{pod['metadata']['namespace']}/configmaps/{name}")
        folder = self._folder / pod["metadata"]["uid"]
        folder.mkdir()
        for file, text in held["data"].items():
            (folder / file).write_text(text.replace("/plan/", f"{folder}/"))
        for file, content in held.get("binaryData", {}).items():
            (folder / file).write_bytes(base64.b64decode(content))
        return folder

    def _stop(self, uid: str) -> None:
        super()._stop(uid)
        one = self._loads.pop(uid, None)
        if one is not None:
            one.process.kill()
            one.process.wait()


def _status(container: str, phase: str, state: dict[str, Any]) -> dict[str, Any]:
    one = {"name": container, "image": "localhost/x", "imageID": "sha256:1", "ready": phase == "Running"}
    one |= {"restartCount": 0, "containerID": "containerd://1", "state": state, "lastState": {}}
    scheduled = [condition(kind) for kind in ("PodScheduled", "Initialized")]
    return {"phase": phase, "podIP": "127.0.0.1", "conditions": scheduled, "containerStatuses": [one]}


class _Logs(BaseHTTPRequestHandler):
    """What a kubelet answers to `/containerLogs/NAMESPACE/POD/CONTAINER`."""

    nodes: LoadingNodes

    def do_GET(self) -> None:
        _, _, _namespace, pod, container = self.path.split("?")[0].split("/")
        content = self.nodes.log_of(pod, container)
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_said: object) -> None:
        """Quiet."""


@contextmanager
def loading_nodes(plane: ControlPlane, name: str, folder: Path) -> Iterator[LoadingNodes]:
    """Running on entry; on exit thread, processes and node are gone."""
    nodes = LoadingNodes(plane.admin, folder)
    handler = type("Logs", (_Logs,), {"nodes": nodes})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(plane.folder / "api.crt", plane.folder / "api.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    nodes.add(name, labels={"pool": name})
    where = {
        "addresses": [{"type": "Hostname", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": server.server_address[1]}},
    }
    plane.admin.patch(f"/api/v1/nodes/{name}/status", {"status": where})
    threads = [
        threading.Thread(target=nodes.drive, daemon=True),
        threading.Thread(target=nodes.beat, daemon=True),
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True),
    ]
    for thread in threads:
        thread.start()
    try:
        yield nodes
    finally:
        nodes.end()
        server.shutdown()
        server.server_close()
        for thread in threads:
            thread.join()
        nodes.remove(name)
