"""A pod template as its author wrote it: without what the cluster filled in, and without what ties it to its service.

Sources: the defaults of core/v1 in the Kubernetes API reference ("PodSpec", "Container", "Probe", "Volume"), and the
annotations that kubectl and the Deployment controller write.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tuner.manifests.plain import Plain, PlainObject, object_at, objects_at, text_at

_CLUSTER_LABELS = ("pod-template-hash", "controller-revision-hash")
_CLUSTER_ANNOTATIONS = (
    "kubectl.kubernetes.io/last-applied-configuration",
    "kubectl.kubernetes.io/restartedAt",
    "kubectl.kubernetes.io/default-container",
    "deployment.kubernetes.io/",
    "cni.projectcalico.org/",
    "k8s.v1.cni.cncf.io/network-status",
    "kubernetes.io/limit-ranger",
)
_POD_DEFAULTS: PlainObject = {
    "restartPolicy": "Always",
    "dnsPolicy": "ClusterFirst",
    "schedulerName": "default-scheduler",
    "terminationGracePeriodSeconds": 30,
    "enableServiceLinks": True,
    "preemptionPolicy": "PreemptLowerPriority",
    "securityContext": {},
    "serviceAccountName": "default",
}
# `serviceAccount` is the older name of `serviceAccountName`; admission turns a class into a priority; a node is picked.
_FILLED_IN = ("serviceAccount", "priority", "nodeName", "ephemeralContainers")
_CONTAINER_DEFAULTS: PlainObject = {
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
    "resources": {},
    "securityContext": {},
}
_PROBE_DEFAULTS: PlainObject = {
    "timeoutSeconds": 1,
    "periodSeconds": 10,
    "successThreshold": 1,
    "failureThreshold": 3,
}
_VOLUME_DEFAULTS: PlainObject = {"defaultMode": 420}
_TOKEN_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a folder, where clusters mount tokens


def selected_labels(deployment: PlainObject, services: Sequence[PlainObject]) -> tuple[str, ...]:
    """The template's labels by which the Deployment and Services of its namespace find its pods.

    A trial that carried them would get the service's own traffic, and be counted among its replicas.
    """
    labels = object_at(deployment, "spec", "template", "metadata", "labels")
    selectors = [object_at(deployment, "spec", "selector", "matchLabels")]
    for service in services:
        selector = object_at(service, "spec", "selector")
        if selector and all(labels.get(key) == value for key, value in selector.items()):
            selectors.append(selector)
    found = {key for selector in selectors for key in selector if key in labels}
    return tuple(sorted(found))


def template_as_written(template: PlainObject, *, without_labels: Iterable[str] = ()) -> dict[str, Plain]:
    """What deploys the same pods again, less these labels: nothing that an API server would fill in by itself."""
    dropped = {*without_labels, *_CLUSTER_LABELS}
    labels = {key: value for key, value in object_at(template, "metadata", "labels").items() if key not in dropped}
    annotations = {
        key: value
        for key, value in object_at(template, "metadata", "annotations").items()
        if not key.startswith(_CLUSTER_ANNOTATIONS)
    }
    metadata: dict[str, Plain] = {"labels": labels, "annotations": annotations}
    written: dict[str, Plain] = {key: value for key, value in metadata.items() if value}
    spec = _spec(object_at(template, "spec"))
    return {"metadata": written, "spec": spec} if written else {"spec": spec}


def _spec(spec: PlainObject) -> dict[str, Plain]:
    kept = {key: value for key, value in _less(spec, _POD_DEFAULTS).items() if key not in _FILLED_IN}
    mounted = {
        text_at(mount, "name") for mount in _mounts(spec) if text_at(mount, "mountPath").rstrip("/") == _TOKEN_FOLDER
    }
    elsewhere = {
        text_at(mount, "name") for mount in _mounts(spec) if text_at(mount, "mountPath").rstrip("/") != _TOKEN_FOLDER
    }
    tokens = mounted - elsewhere
    for key in ("initContainers", "containers"):
        if key in kept:
            kept[key] = [_container(one, tokens) for one in objects_at(spec, key)]
    if "volumes" in kept:
        kept["volumes"] = [_volume(one) for one in objects_at(spec, "volumes") if text_at(one, "name") not in tokens]
    return {key: value for key, value in kept.items() if value not in ([], None)}


def _mounts(spec: PlainObject) -> list[PlainObject]:
    containers = (*objects_at(spec, "initContainers"), *objects_at(spec, "containers"))
    return [mount for container in containers for mount in objects_at(container, "volumeMounts")]


def _container(container: PlainObject, tokens: set[str]) -> dict[str, Plain]:
    kept = _less(container, _CONTAINER_DEFAULTS)
    if kept.get("imagePullPolicy") == _default_pull_policy(text_at(container, "image")):
        del kept["imagePullPolicy"]
    if "ports" in kept:
        kept["ports"] = [_less(port, {"protocol": "TCP"}) for port in objects_at(container, "ports")]
    if "env" in kept:
        kept["env"] = [_variable(one) for one in objects_at(container, "env")]
    if "volumeMounts" in kept:
        mounts = objects_at(container, "volumeMounts")
        kept["volumeMounts"] = [one for one in mounts if text_at(one, "name") not in tokens]
    for key in ("startupProbe", "readinessProbe", "livenessProbe"):
        if key in kept:
            kept[key] = _probe(object_at(container, key))
    return {key: value for key, value in kept.items() if value not in ([], None)}


def _default_pull_policy(image: str) -> str:
    name = image.rsplit("/", 1)[-1]
    if "@" in name:
        return "IfNotPresent"
    return "Always" if ":" not in name or name.endswith(":latest") else "IfNotPresent"


def _variable(variable: PlainObject) -> PlainObject:
    field = object_at(variable, "valueFrom", "fieldRef")
    if text_at(field, "apiVersion") != "v1":
        return variable
    return {**variable, "valueFrom": {"fieldRef": _less(field, {"apiVersion": "v1"})}}


def _probe(probe: PlainObject) -> dict[str, Plain]:
    kept = _less(probe, _PROBE_DEFAULTS)
    if "httpGet" in kept:
        kept["httpGet"] = _less(object_at(probe, "httpGet"), {"scheme": "HTTP"})
    if "grpc" in kept:
        kept["grpc"] = _less(object_at(probe, "grpc"), {"service": ""})
    return kept


def _volume(volume: PlainObject) -> dict[str, Plain]:
    written: dict[str, Plain] = {}
    for key, value in volume.items():
        if key == "hostPath" and isinstance(value, Mapping):
            written[key] = _less(value, {"type": ""})
        else:
            written[key] = _less(value, _VOLUME_DEFAULTS) if isinstance(value, Mapping) else value
    return written


def _less(node: PlainObject, defaults: PlainObject) -> dict[str, Plain]:
    return {key: value for key, value in node.items() if key not in defaults or value != defaults[key]}
