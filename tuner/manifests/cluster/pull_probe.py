"""A short-lived Job whose pod is there to have a node pull images: a container for each."""

from __future__ import annotations

from collections.abc import Sequence

from tuner.domain.cluster import ClusterOptions
from tuner.manifests.cluster.naming import MANAGED_BY, MANAGER, ROLE_LABEL
from tuner.manifests.cluster.server_pod import RESTRICTED_CONTAINER
from tuner.manifests.plain import Plain, PlainObject, object_at, objects_at, text_at

PLACED = ("affinity", "nodeSelector", "tolerations", "imagePullSecrets", "serviceAccountName")
"""What of a server's pod says where, and with which secrets, its images are pulled."""


def pull_labels(name: str) -> dict[str, str]:
    return {MANAGED_BY: MANAGER, ROLE_LABEL: "pull", "servetune/pull": name}


def pull_job(
    options: ClusterOptions, server: PlainObject, images: Sequence[str], *, name: str, within_s: int
) -> dict[str, Plain]:
    """`server` is the template of a study's server: images are pulled where it would run. The cluster ends the Job
    after `within_s`, and removes it soon after, should nobody else.
    """
    amounts: PlainObject = {"cpu": "10m", "memory": "16Mi"}
    policies = {
        text_at(one, "image"): text_at(one, "imagePullPolicy")
        for one in objects_at(server, "spec", "containers") + objects_at(server, "spec", "initContainers")
    }
    containers: list[Plain] = [
        {
            "name": f"image-{number}",
            "image": image,
            "command": ["true"],
            **({"imagePullPolicy": policies[image]} if policies.get(image) else {}),
            "resources": {"limits": amounts, "requests": amounts},
            "securityContext": RESTRICTED_CONTAINER,
        }
        for number, image in enumerate(images)
    ]
    spec = object_at(server, "spec")
    security: PlainObject = {
        "runAsNonRoot": True,
        "runAsUser": options.run_as_user,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    pod: dict[str, Plain] = {
        **{key: spec[key] for key in PLACED if key in spec},
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": security,
        "containers": containers,
    }
    if options.network == "host":
        pod |= {"hostNetwork": True}
    labels: PlainObject = pull_labels(name)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": options.namespace, "labels": labels},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": within_s,
            "ttlSecondsAfterFinished": 60,
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def pulled(pod: PlainObject) -> dict[str, bool]:
    """By image, once it is known: whether the node has it. A container that ended badly has one all the same."""
    known: dict[str, bool] = {}
    specified = {text_at(one, "name"): text_at(one, "image") for one in objects_at(pod, "spec", "containers")}
    for status in objects_at(pod, "status", "containerStatuses"):
        image = specified.get(text_at(status, "name"), "")
        reason = text_at(status, "state", "waiting", "reason")
        if text_at(status, "imageID"):
            known[image] = True
        elif "Image" in reason or reason == "RegistryUnavailable":
            known[image] = False
    return known
