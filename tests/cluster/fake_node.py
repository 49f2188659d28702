"""Nodes without machines: a thread that says of their pods what a kubelet would, while the cluster itself is real.

The environment variable FAULT of a pod's first container picks what becomes of it; without one it serves, for real, on
127.0.0.1.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from tests.cluster.kserve_pod import Server
from tests.cluster.rest import Refused, Rest

LOOK_S = 0.2
BEAT_S = 2.0


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def condition(kind: str, status: str = "True", **words: str) -> dict[str, str]:
    return {"type": kind, "status": status, "lastTransitionTime": now(), **words}


def make_node(admin: Rest, name: str, *, labels: dict[str, str] | None = None, **amounts: str) -> None:
    """Allocatable amounts by name, with __ for /; cpu, memory and pods have defaults."""
    sizes = {"cpu": "4", "memory": "16Gi", "pods": "50"} | {k.replace("__", "/"): v for k, v in amounts.items()}
    admin.post("/api/v1/nodes", {"kind": "Node", "metadata": {"name": name, "labels": labels or {}}})
    status = {"capacity": sizes, "allocatable": sizes, "conditions": [condition("Ready")]}
    admin.patch(f"/api/v1/nodes/{name}/status", {"status": status})
    # The controller manager taints a node that was not ready when it came, and takes the taint away by itself.


class FakeNodes:
    """Drives every pod that is bound to one of the nodes."""

    def __init__(self, admin: Rest, names: tuple[str, ...]) -> None:
        self._admin, self._names = admin, names
        self.silent: set[str] = set()
        self._servers: dict[str, Server] = {}
        self._ended = threading.Event()
        self._steps: dict[str, int] = {}

    def run(self) -> None:
        beats = 0.0
        while not self._ended.wait(LOOK_S):
            beats -= LOOK_S
            with suppress(OSError, Refused):
                if beats <= 0:
                    self._beat()
                    beats = BEAT_S
                for pod in self._admin.items("/api/v1/pods"):
                    if pod["spec"].get("nodeName") in set(self._names) - self.silent:
                        self._drive(pod)

    def end(self) -> None:
        self._ended.set()
        for uid in list(self._servers):
            self._stop(uid)

    def _beat(self) -> None:
        for name in set(self._names) - self.silent:
            beat = {**condition("Ready"), "lastHeartbeatTime": now(), "reason": "KubeletReady"}
            self._admin.patch(f"/api/v1/nodes/{name}/status", {"status": {"conditions": [beat]}})

    def _drive(self, pod: Any) -> None:
        uid, name = pod["metadata"]["uid"], pod["metadata"]["name"]
        path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{name}"
        if "deletionTimestamp" in pod["metadata"]:
            self._stop(uid)
            self._admin.delete(path, gracePeriodSeconds=0)
            return
        container = pod["spec"]["containers"][0]
        fault = next((one.get("value", "") for one in container.get("env", []) if one["name"] == "FAULT"), "")
        step = self._steps[uid] = self._steps.get(uid, -1) + 1
        if step == 0:
            status = FAULTS[fault] if fault else self._serve(uid, container)
            self._admin.patch(f"{path}/status", {"status": self._whole(status, container["name"])})

    def _serve(self, uid: str, container: Any) -> dict[str, Any]:
        server = Server(container["ports"][0]["containerPort"])
        self._servers[uid] = server
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return {"phase": "Running", "state": {"running": {"startedAt": now()}}, "ready": True}

    def _stop(self, uid: str) -> None:
        server = self._servers.pop(uid, None)
        if server is not None:
            server.shutdown()
            server.server_close()

    @staticmethod
    def _whole(status: dict[str, Any], container: str) -> dict[str, Any]:
        ready = status.get("ready", False)
        whole = {key: status[key] for key in ("phase", "reason", "message") if key in status}
        kinds = ("PodScheduled", "Initialized", *(("ContainersReady", "Ready") if ready else ()))
        if status.get("state") == {"running": {}}:
            status = {**status, "state": {"running": {"startedAt": now()}}}
        whole |= {"podIP": "127.0.0.1", "startTime": now(), "conditions": [condition(kind) for kind in kinds]}
        if "state" in status or "last" in status:
            one = {"name": container, "image": "localhost/x", "imageID": "sha256:1", "ready": ready, "started": ready}
            one |= {"containerID": "containerd://1", "restartCount": status.get("restarts", 0)}
            one |= {"state": status.get("state", {}), "lastState": status.get("last", {})}
            whole["containerStatuses"] = [one]
        return whole


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"phase": "Pending", "state": {"waiting": {"reason": reason, "message": message}}}


def ended(reason: str, code: int) -> dict[str, Any]:
    last = {
        "reason": reason,
        "exitCode": code,
        "startedAt": now(),
        "finishedAt": now(),
        "containerID": "containerd://1",
    }
    back_off = {"waiting": {"reason": "CrashLoopBackOff"}}
    return {"phase": "Running", "state": back_off, "last": {"terminated": last}, "restarts": 1}


def gone(reason: str, message: str = "") -> dict[str, Any]:
    return {"phase": "Failed", "reason": reason, "message": message}


FAULTS = {
    "crash": ended("Error", 3),
    "abort": ended("Error", 134),
    "oom": ended("OOMKilled", 137),
    "start_error": ended("StartError", 128),
    "image_name": waiting("InvalidImageName", "couldn't parse image reference"),
    "image_never": waiting("ErrImageNeverPull", "image is not present with pull policy of Never"),
    "image_absent": waiting("ImagePullBackOff", "manifest unknown: not found"),
    "image_slow": waiting("ImagePullBackOff", "dial tcp: i/o timeout"),
    "config_missing": waiting("CreateContainerConfigError", 'configmap "x" not found'),
    "evicted": gone("Evicted", "The node was low on resource: memory."),
    "plugin": gone("UnexpectedAdmissionError", "Allocate failed due to no healthy devices present"),
    "node_shutdown": gone("NodeShutdown", "Node is shutting, evicting pods"),
    "never_ready": {"phase": "Running", "state": {"running": {}}},
}


@contextmanager
def fake_nodes(admin: Rest, *names: str) -> Iterator[FakeNodes]:
    """Running on entry; on exit the thread has ended."""
    nodes = FakeNodes(admin, names)
    thread = threading.Thread(target=nodes.run, daemon=True)
    thread.start()
    try:
        yield nodes
    finally:
        nodes.end()
        thread.join()
