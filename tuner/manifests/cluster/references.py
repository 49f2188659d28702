"""What a pod names and does not bring: it has to be there before."""

from __future__ import annotations

from collections.abc import Iterator

from tuner.manifests.plain import PlainObject, objects_at, text_at

PLURALS = {
    "PersistentVolumeClaim": "persistentvolumeclaims",
    "Secret": "secrets",
    "ConfigMap": "configmaps",
    "ServiceAccount": "serviceaccounts",
}


def references(pod_spec: PlainObject) -> tuple[tuple[str, str], ...]:
    """Kind and name, each once, in reading order."""
    return tuple(dict.fromkeys((kind, name) for kind, name in _references(pod_spec) if name))


def images(pod_spec: PlainObject) -> tuple[str, ...]:
    """Each once: of the containers, and of volumes."""
    containers = objects_at(pod_spec, "initContainers") + objects_at(pod_spec, "containers")
    named = (
        *(text_at(one, "image") for one in containers),
        *(text_at(one, "image", "reference") for one in objects_at(pod_spec, "volumes")),
    )
    return tuple(dict.fromkeys(image for image in named if image))


def _references(pod_spec: PlainObject) -> Iterator[tuple[str, str]]:
    yield "ServiceAccount", text_at(pod_spec, "serviceAccountName")
    for secret in objects_at(pod_spec, "imagePullSecrets"):
        yield "Secret", text_at(secret, "name")
    for volume in objects_at(pod_spec, "volumes"):
        yield "PersistentVolumeClaim", text_at(volume, "persistentVolumeClaim", "claimName")
        yield "Secret", text_at(volume, "secret", "secretName")
        yield "ConfigMap", text_at(volume, "configMap", "name")
    for container in objects_at(pod_spec, "initContainers") + objects_at(pod_spec, "containers"):
        for source in objects_at(container, "envFrom"):
            yield "Secret", text_at(source, "secretRef", "name")
            yield "ConfigMap", text_at(source, "configMapRef", "name")
        for variable in objects_at(container, "env"):
            yield "Secret", text_at(variable, "valueFrom", "secretKeyRef", "name")
            yield "ConfigMap", text_at(variable, "valueFrom", "configMapKeyRef", "name")
