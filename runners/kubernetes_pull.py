"""Whether a node can pull the images of a study: only a pod can tell, so one is made, and removed."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from runners.findings import Finding
from runners.kubernetes_api import ApiRefused, KubernetesApi
from runners.kubernetes_paths import collection, path_of
from runners.kubernetes_watch import PodWatch
from tuner.domain.cluster import ClusterOptions
from tuner.interruption import undisturbed
from tuner.manifests.cluster.naming import selector_of
from tuner.manifests.cluster.pull_probe import pull_job, pull_labels, pulled
from tuner.manifests.plain import PlainObject, objects_at, text_at
from tuner.ports import Clock

LOOK_S = 1
REMOVED_WITHIN_S = 60.0
POLL_S = 0.5


def check_pull(
    api: KubernetesApi, options: ClusterOptions, server: PlainObject, images: Sequence[str], clock: Clock
) -> tuple[Finding, ...]:
    """A line for each image. Waits for the study's deadlines."""
    name = f"servetune-pull-{secrets.token_hex(4)}"
    within_s = options.deadlines.schedule_s + options.deadlines.pull_s
    job = pull_job(options, server, images, name=name, within_s=int(within_s) + 60)
    watch = PodWatch(api, options.namespace, selector_of(pull_labels(name)), clock)
    try:
        api.create(job)
        return _followed(watch, images, clock, within_s)
    except ApiRefused as refused:
        return (Finding("images", ok=None, detail=f"{refused}"),)
    finally:
        with undisturbed():
            _remove(api, job, watch, clock)


def _followed(watch: PodWatch, images: Sequence[str], clock: Clock, within_s: float) -> tuple[Finding, ...]:
    ends_s = clock.now_s() + within_s
    pods: tuple[PlainObject, ...] = ()
    known: dict[str, bool] = {}
    while not known.keys() >= set(images) and clock.now_s() < ends_s:
        pods = watch.look(wait_s=LOOK_S)
        for pod in pods:
            known |= pulled(pod)
    node = next((text_at(pod, "spec", "nodeName") for pod in pods), "")
    return tuple(_finding(image, known.get(image), node, _said(pods, image)) for image in images)


def _finding(image: str, found: bool | None, node: str, said: str) -> Finding:
    what = f"image {image}"
    if found:
        return Finding(what, ok=True, detail=f"node {node} has it" if node else "a node has it")
    if found is None:
        return Finding(what, ok=None, detail=said or "no node got as far as pulling it in the study's deadlines")
    return Finding(what, ok=False, detail=said, remedy="is the name right, and does pull_secrets let nodes pull it?")


def _said(pods: Sequence[PlainObject], image: str) -> str:
    """What keeps the image from coming, or the pod from a node."""
    for pod in pods:
        names = [
            text_at(one, "name") for one in objects_at(pod, "spec", "containers") if text_at(one, "image") == image
        ]
        for status in objects_at(pod, "status", "containerStatuses"):
            waits = ("state", "waiting")
            if text_at(status, "name") in names and text_at(status, *waits, "reason"):
                return f"{text_at(status, *waits, 'reason')} {text_at(status, *waits, 'message')}".strip()
        conditions = objects_at(pod, "status", "conditions")
        unplaced = [text_at(one, "message") for one in conditions if text_at(one, "reason") == "Unschedulable"]
        if unplaced:
            return unplaced[0]
    return ""


def _remove(api: KubernetesApi, job: PlainObject, watch: PodWatch, clock: Clock) -> None:
    """With its pod. The cluster removes what this cannot, soon after the Job's own deadline."""
    ends_s = clock.now_s() + REMOVED_WITHIN_S
    path = collection("v1", "Pod", text_at(job, "metadata", "namespace"))
    try:
        api.delete(path_of(job))
        while api.list(path, selector=watch.selector).items and clock.now_s() < ends_s:
            clock.sleep(POLL_S)
    except ApiRefused:
        return
