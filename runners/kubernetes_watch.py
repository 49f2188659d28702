"""The pods of one trial, kept up to date: listed once, then watched, and listed anew when the watch is too old."""

from __future__ import annotations

from runners.kubernetes_api import ApiRefused, KubernetesApi
from runners.kubernetes_paths import collection
from tuner.manifests.cluster.refusals import classify_refusal
from tuner.manifests.cluster.states import Again, Relist
from tuner.manifests.plain import PlainObject, object_at, text_at
from tuner.ports import Clock

SHORTEST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0


class PodWatch:
    """Of one namespace, by label."""

    def __init__(self, api: KubernetesApi, namespace: str, selector: str, clock: Clock) -> None:
        self._api, self._clock = api, clock
        self._path, self.selector = collection("v1", "Pod", namespace), selector
        self._pods: dict[str, PlainObject] = {}
        self._version = ""
        self._broken = 0

    @property
    def pods(self) -> tuple[PlainObject, ...]:
        """As last seen."""
        return tuple(self._pods.values())

    def look(self, *, wait_s: int) -> tuple[PlainObject, ...]:
        """The pods; after the first look it waits for a change, for at most so many seconds. Raises ApiRefused.

        A watch that the cluster refuses, or ends at once, is followed by a pause: longer after each one in a row, so
        that no storm of requests begins.
        """
        if not self._version:
            self._list()
            return self.pods
        begun_s = self._clock.now_s()
        try:
            changed = self._follow(wait_s)
        except ApiRefused as refused:
            if not isinstance(classify_refusal(refused.status, refused.body), Relist | Again):
                raise
            self._version, changed = "", False
        if changed or self._clock.now_s() - begun_s >= SHORTEST_PAUSE_S:
            self._broken = 0
        else:
            self._clock.sleep(min(SHORTEST_PAUSE_S * 2**self._broken, LONGEST_PAUSE_S))
            self._broken += 1
        return self.pods

    def _list(self) -> None:
        listed = self._api.list(self._path, selector=self.selector)
        self._pods = {text_at(pod, "metadata", "uid"): pod for pod in listed.items}
        self._version = listed.version

    def _follow(self, wait_s: int) -> bool:
        """Whether something changed."""
        for event in self._api.watch(self._path, selector=self.selector, version=self._version, for_s=wait_s):
            pod = object_at(event, "object")
            uid = text_at(pod, "metadata", "uid")
            self._version = text_at(pod, "metadata", "resourceVersion") or self._version
            if text_at(event, "type") == "DELETED":
                self._pods.pop(uid, None)
            else:
                self._pods[uid] = pod
            return True
        return False
