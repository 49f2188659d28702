"""The user's own pod template: taken out of whatever manifest holds it, and its serving container found by name."""

from __future__ import annotations

import json

from tuner.domain.cluster import BasePod
from tuner.domain.errors import UsageError
from tuner.manifests.plain import Plain, PlainObject, canonical_json, object_at, objects_at, text_at

_WITH_TEMPLATE = ("Deployment", "StatefulSet", "ReplicaSet", "Job", "DaemonSet")
# What a live object carries and a new one must not.
_OF_ANOTHER_LIFE = ("nodeName", "ephemeralContainers", "serviceAccount", "priority")


def base_pod(manifest: PlainObject, container: str = "", repository: str = "") -> BasePod:
    """The pod template of a Pod, a PodTemplate, or of anything that makes pods.

    `container` may stay empty where there is only one. Raises UsageError.
    """
    kind = text_at(manifest, "kind")
    if kind in _WITH_TEMPLATE:
        template = object_at(manifest, "spec", "template")
    elif kind == "PodTemplate":
        template = object_at(manifest, "template")
    elif kind in {"Pod", ""}:
        template = manifest
    else:
        raise UsageError(
            f"a {kind} holds no pod template", hint=f"one of Pod, PodTemplate, {', '.join(_WITH_TEMPLATE)}"
        )
    containers = objects_at(template, "spec", "containers")
    if not containers:
        raise UsageError("the base template has no containers", hint="it needs spec.containers")
    # A pod with the labels its service is found by would get the service's own traffic.
    selected = object_at(manifest, "spec", "selector", "matchLabels") if kind in _WITH_TEMPLATE else {}
    labels = {key: value for key, value in object_at(template, "metadata", "labels").items() if key not in selected}
    kept: dict[str, Plain] = {
        "metadata": {"labels": labels, "annotations": dict(object_at(template, "metadata", "annotations"))},
        "spec": {key: value for key, value in object_at(template, "spec").items() if key not in _OF_ANOTHER_LIFE},
    }
    names = [text_at(one, "name") for one in containers]
    chosen = container or (names[0] if len(names) == 1 else "")
    if chosen not in names:
        wanted = f"no container '{container}'" if container else "more than one container"
        raise UsageError(f"the base template has {wanted}", hint=f"write base.container: one of {', '.join(names)}")
    return BasePod(template_json=canonical_json(kept), container=chosen, repository=repository)


def template_of(base: BasePod) -> PlainObject:
    """The template as plain data."""
    template: PlainObject = json.loads(base.template_json)
    return template
