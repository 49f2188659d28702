"""Every change of every pod of a cluster, recorded by a watch of its own, and what it says of GPUs and trials."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tests.cluster.fake_node import TROUBLE
from tests.cluster.processes import await_true
from tests.cluster.rest import Rest

GPU = "nvidia.com/gpu"
WATCH_S = 5
END_S = 60.0


class PodHistory:
    """`events` in the order of the cluster's own versions, none left out."""

    def __init__(self, admin: Rest) -> None:
        self._admin = admin
        listed = admin.get("/api/v1/pods")
        self.events: list[tuple[str, Any]] = [("ADDED", pod) for pod in listed["items"]]
        self._version = listed["metadata"]["resourceVersion"]
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.is_set():
            path = f"/api/v1/pods?watch=true&timeoutSeconds={WATCH_S}&resourceVersion={self._version}"
            try:
                for line in self._admin.lines(path):
                    self._take(json.loads(line))
            except (*TROUBLE, ValueError):  # the last line may be cut off
                continue

    def _take(self, event: Any) -> None:
        # A version that is too old would leave a gap: the test must then fail, and not look away.
        assert event["type"] in {"ADDED", "MODIFIED", "DELETED"}, event
        self.events.append((event["type"], event["object"]))
        self._version = event["object"]["metadata"]["resourceVersion"]

    def until_gone(self, namespace: str) -> None:
        """Waits until the record says that no pod is left there, then ends."""
        await_true("the record has come to the end", lambda: not self._alive(namespace), deadline_s=END_S)
        self._ended.set()

    def end(self) -> None:
        self._ended.set()

    def _alive(self, namespace: str) -> bool:
        return any(pod["metadata"]["namespace"] == namespace for pod in list(self.moments())[-1].values())

    def moments(self) -> Iterator[dict[str, Any]]:
        """The pods there were after each event, by uid."""
        there: dict[str, Any] = {}
        for kind, pod in list(self.events):
            uid = pod["metadata"]["uid"]
            there = {key: value for key, value in there.items() if key != uid}
            if kind != "DELETED":
                there[uid] = pod
            yield there

    def oversubscribed(self, gpus: Mapping[str, int]) -> list[str]:
        """Moments at which more GPUs of a node were bound than it has: none, and no two pods have one card."""
        found = []
        for pods in self.moments():
            bound: Counter[str] = Counter()
            for pod in pods.values():
                if pod["spec"].get("nodeName") in gpus and holds(pod):
                    bound[pod["spec"]["nodeName"]] += cards(pod)
            found += [f"{count} on {node}" for node, count in bound.items() if count > gpus[node]]
        return found

    def at_once(self, namespace: str) -> list[int]:
        """How many trials of a namespace had pods, at each moment."""
        return [len({trial_of(pod) for pod in ours(pods, namespace)}) for pods in self.moments()]

    def cards_at_once(self, namespace: str) -> int:
        """The most GPUs that a namespace's trials had at one moment, those of pods on their way out aside."""
        return max(
            sum(
                cards(pod) for pod in ours(pods, namespace) if holds(pod) and "deletionTimestamp" not in pod["metadata"]
            )
            for pods in self.moments()
        )

    def left_pending(self, namespace: str) -> list[str]:
        """Trials' pods of which the scheduler ever said that no node takes them."""
        return [
            f"{pod['metadata']['name']}: {condition['message']}"
            for pods in self.moments()
            for pod in ours(pods, namespace)
            for condition in pod["status"].get("conditions", ())
            if condition["type"] == "PodScheduled" and condition["status"] == "False"
        ]


def ours(pods: Mapping[str, Any], namespace: str) -> list[Any]:
    return [
        pod
        for pod in pods.values()
        if pod["metadata"]["namespace"] == namespace
        and pod["metadata"].get("labels", {}).get("app.kubernetes.io/managed-by") == "servetune"
    ]


def trial_of(pod: Any) -> str:
    return str(pod["metadata"]["labels"]["servetune/trial"])


def holds(pod: Any) -> bool:
    return pod["status"].get("phase") not in {"Succeeded", "Failed"}


def cards(pod: Any) -> int:
    return sum(int(one.get("resources", {}).get("limits", {}).get(GPU, 0)) for one in pod["spec"]["containers"])


@contextmanager
def pod_history(admin: Rest) -> Iterator[PodHistory]:
    """Records from entry on, until it has seen a namespace empty, or to the exit."""
    history = PodHistory(admin)
    thread = threading.Thread(target=history.run, daemon=True)
    thread.start()
    try:
        yield history
    finally:
        history.end()
        thread.join()
