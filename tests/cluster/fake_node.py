"""Nodes without machines: a thread that says of their pods what a kubelet would, while the cluster itself is real.

The environment variable FAULT of a pod's first container picks what becomes of it; without one it serves, for real, at
the loopback address that its readiness probe asks.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http.client import HTTPException
from typing import Any

from tests.cluster.kserve_pod import Server
from tests.cluster.rest import Refused, Rest

LOOK_S = 0.2
BEAT_S = 3.0
TROUBLE = (OSError, HTTPException, Refused)
"""What one look at a busy cluster may end with; the next one comes soon."""


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def condition(kind: str, status: str = "True", **words: str) -> dict[str, str]:
    return {"type": kind, "status": status, "lastTransitionTime": now(), **words}


def make_node(admin: Rest, name: str, *, labels: dict[str, str] | None = None, **amounts: str) -> None:
    """A ready one that takes pods. Allocatable amounts by name, with __ for /; cpu, memory and pods have defaults."""
    sizes = {"cpu": "4", "memory": "16Gi", "pods": "50"} | {k.replace("__", "/"): v for k, v in amounts.items()}
    metadata = {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}}
    status = {"capacity": sizes, "allocatable": sizes, "conditions": [beat()]}
    admin.post("/api/v1/nodes", {"kind": "Node", "metadata": metadata, "status": status})
    # Whatever is new is tainted; the controller manager would take that away when it looks again.
    admin.patch(f"/api/v1/nodes/{name}", {"spec": {"taints": None}})


def beat() -> dict[str, str]:
    return {**condition("Ready"), "lastHeartbeatTime": now(), "reason": "KubeletReady"}


class FakeNodes:
    """Drives every pod that is bound to one of its nodes. A silent node's kubelet does and says nothing."""

    def __init__(self, admin: Rest, names: tuple[str, ...] = ()) -> None:
        self._admin, self._names = admin, set(names)
        self.silent: set[str] = set()
        self._servers: dict[str, Server] = {}
        self._ended = threading.Event()
        self._told: set[str] = set()

    def add(self, name: str, *, labels: dict[str, str] | None = None, **amounts: str) -> None:
        """Make a node and speak for it."""
        make_node(self._admin, name, labels=labels, **amounts)
        self._names.add(name)

    def remove(self, name: str) -> None:
        """The node with all its pods, at once."""
        for pod in self._admin.items(f"/api/v1/pods?fieldSelector=spec.nodeName={name}"):
            self._admin.delete(path_of_pod(pod), gracePeriodSeconds=0)
            self._stop(pod["metadata"]["uid"])
        self._names.discard(name)
        self.silent.discard(name)
        self._admin.delete(f"/api/v1/nodes/{name}")

    def drive(self) -> None:
        """What is there is there: until the end, or for good where the cluster does not answer."""
        while not self._ended.wait(LOOK_S):
            for pod in self._pods():
                # One pod's trouble (it was removed meanwhile, its port is not free yet) is not another's.
                with suppress(*TROUBLE):
                    self._drive(pod)

    def beat(self) -> None:
        """Apart from the pods: a slow look at them must not make the nodes seem lost."""
        while True:
            for name in sorted(self._names - self.silent):
                with suppress(*TROUBLE):
                    self._admin.patch(f"/api/v1/nodes/{name}/status", {"status": {"conditions": [beat()]}})
            if self._ended.wait(BEAT_S):
                return

    def end(self) -> None:
        self._ended.set()
        for uid in list(self._servers):
            self._stop(uid)

    def _pods(self) -> list[Any]:
        try:
            pods = self._admin.items("/api/v1/pods")
        except TROUBLE:
            return []
        here = {pod["metadata"]["uid"] for pod in pods}
        for uid in set(self._servers) - here:
            self._stop(uid)
        return [pod for pod in pods if pod["spec"].get("nodeName") in self._names - self.silent]

    def _drive(self, pod: Any) -> None:
        uid = pod["metadata"]["uid"]
        if "deletionTimestamp" in pod["metadata"]:
            self._stop(uid)
            self._admin.delete(path_of_pod(pod), gracePeriodSeconds=0)
            return
        if uid in self._told:
            return
        container = pod["spec"]["containers"][0]
        fault = next((one.get("value", "") for one in container.get("env", []) if one["name"] == "FAULT"), "")
        status = FAULTS[fault] if fault else self._serve(uid, container)
        told = self._whole(status, container["name"], address_of(container))
        self._admin.patch(f"{path_of_pod(pod)}/status", {"status": told})
        self._told.add(uid)

    def _serve(self, uid: str, container: Any) -> dict[str, Any]:
        if uid not in self._servers:
            server = Server(container["ports"][0]["containerPort"], address=address_of(container))
            self._servers[uid] = server
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return {"phase": "Running", "state": {"running": {"startedAt": now()}}, "ready": True}

    def _stop(self, uid: str) -> None:
        server = self._servers.pop(uid, None)
        if server is not None:
            server.shutdown()
            server.server_close()

    @staticmethod
    def _whole(status: dict[str, Any], container: str, address: str) -> dict[str, Any]:
        ready = status.get("ready", False)
        whole = {key: status[key] for key in ("phase", "reason", "message") if key in status}
        kinds = ("PodScheduled", "Initialized", *(("ContainersReady", "Ready") if ready else ()))
        if status.get("state") == {"running": {}}:
            status = {**status, "state": {"running": {"startedAt": now()}}}
        whole |= {"podIP": address, "startTime": now(), "conditions": [condition(kind) for kind in kinds]}
        if "state" in status or "last" in status:
            one = {"name": container, "image": "localhost/x", "imageID": "sha256:1", "ready": ready, "started": ready}
            one |= {"containerID": "containerd://1", "restartCount": status.get("restarts", 0)}
            one |= {"state": status.get("state", {}), "lastState": status.get("last", {})}
            whole["containerStatuses"] = [one]
        return whole


def path_of_pod(pod: Any) -> str:
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"


def address_of(container: Any) -> str:
    """Where the server is to listen: where it is asked whether it is ready."""
    return container.get("readinessProbe", {}).get("httpGet", {}).get("host", "127.0.0.1")


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
    """Speaks for these nodes, and for those that are added; on exit its threads have ended."""
    nodes = FakeNodes(admin, names)
    threads = [threading.Thread(target=work, daemon=True) for work in (nodes.drive, nodes.beat)]
    for thread in threads:
        thread.start()
    try:
        yield nodes
    finally:
        nodes.end()
        for thread in threads:
            thread.join()
