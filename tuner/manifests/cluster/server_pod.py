"""The pod template of the candidate server: a bare one, or the user's own with the knobs patched in."""

from __future__ import annotations

import math
import re
from itertools import pairwise

from tuner.domain.cluster import ClusterOptions
from tuner.domain.errors import UsageError
from tuner.manifests.cluster.base_pod import template_of
from tuner.manifests.cluster.gpu_sharing import CLAIM, GpuPatch
from tuner.manifests.cluster.model_volumes import REPOSITORY, ModelParts, model_parts
from tuner.manifests.cluster.naming import (
    EXPIRY_ANNOTATION,
    MANAGED_BY,
    MANAGER,
    ROLE_LABEL,
    STUDY_ANNOTATION,
    object_name,
    trial_labels,
)
from tuner.manifests.cluster.placement import with_placement
from tuner.manifests.cluster.quantities import memory_quantity
from tuner.manifests.cluster.trial import SERVER, ServedTrial, gpu_patch, placement, resources
from tuner.manifests.plain import Plain, PlainObject, merged, number_at, object_at, objects_at, text_at, texts_at
from tuner.manifests.server_command import command_arguments, environment_settings

READY_PATH = "/v2/health/ready"
PROBE_PERIOD_S = 2
GRACE_S = 5
"""Nobody waits for a candidate's answers when it goes; Triton would take 30 s to look for some."""
UNDISTURBED = {
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
    "karpenter.sh/do-not-disrupt": "true",
}
"""Annotations that keep a pod where it is while it is measured."""
RESTRICTED_CONTAINER: PlainObject = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
}
_ORDER = ("name", "image", "imagePullPolicy", "command", "args", "env", "envFrom", "ports", "resources")
_GPU_RESOURCES = ("nvidia.com/", "aliyun.com/gpu", "volcano.sh/vgpu")
_OWN_ARGUMENTS = (
    "model-repository",
    "http-port",
    "grpc-port",
    "metrics-port",
    "http-address",
    "grpc-address",
    "disable-auto-complete-config",
)


def server_template(options: ClusterOptions, trial: ServedTrial) -> dict[str, Plain]:
    """Metadata and spec of the pod that serves one configuration.

    Limits are requests; no service-account token; the security context of Pod Security's level "restricted" wherever
    the template has none (the host's network is beyond that level). A liveness probe is taken away: a restart would
    spoil the measurement, and is seen anyway. Raises UsageError where the cluster cannot be asked for it.
    """
    patch = gpu_patch(options, trial)
    base = template_of(options.base) if options.base else _bare(options, trial)
    name = options.base.container if options.base else SERVER
    parts = model_parts(options, trial)
    containers = objects_at(base, "spec", "containers")
    if all(text_at(one, "name") != name for one in containers):
        listed = ", ".join(text_at(one, "name") for one in containers)
        raise UsageError(f"the base template has no container '{name}'", hint=f"it has {listed}")
    served = [
        _served(one, options, trial, parts, patch) if text_at(one, "name") == name else _restricted(one)
        for one in containers
    ]
    limits: dict[str, Plain] = dict(resources(options, trial, patch))
    spec = {
        **object_at(base, "spec"),
        **_pod_settings(options, base),
        "containers": served,
        "initContainers": [
            *(_restricted(one) for one in objects_at(base, "spec", "initContainers")),
            *(_prepared(one, limits, patch) for one in parts.init_containers),
        ],
        "volumes": [*objects_at(base, "spec", "volumes"), *parts.volumes],
    }
    return {
        "metadata": _metadata(base, trial, patch),
        "spec": _placed({key: value for key, value in spec.items() if value != []}, options, trial, patch),
    }


def _bare(options: ClusterOptions, trial: ServedTrial) -> PlainObject:
    """Triton, or whatever the image starts by itself where it brings its own model."""
    if not options.image:
        raise UsageError("nothing says which image serves", hint="write image, or base with a pod template")
    container: dict[str, Plain] = {
        "name": SERVER,
        "image": options.image,
        "volumeMounts": [{"name": "shared-memory", "mountPath": "/dev/shm"}],  # noqa: S108 - the pod's own
    }
    if options.model is not None:
        container |= {"command": ["tritonserver"], "args": list(_triton_arguments(options, trial))}
    memory: PlainObject = {"medium": "Memory", "sizeLimit": memory_quantity(options.shared_memory_mib / 1024)}
    return {
        "spec": {
            "containers": [container],
            "volumes": [{"name": "shared-memory", "emptyDir": memory}],
            "terminationGracePeriodSeconds": GRACE_S,
        }
    }


def _triton_arguments(options: ClusterOptions, trial: ServedTrial) -> tuple[str, ...]:
    port, host = trial.http_port, options.host_address
    return (
        f"--model-repository={REPOSITORY}",
        f"--http-port={port}",
        f"--grpc-port={port + 1}",
        f"--metrics-port={port + 2}",
        *((f"--http-address={host}", f"--grpc-address={host}") if options.network == "host" else ()),
        *(("--disable-auto-complete-config",) if trial.config_pbtxt else ()),
    )


def _served(
    container: PlainObject, options: ClusterOptions, trial: ServedTrial, parts: ModelParts, patch: GpuPatch | None
) -> dict[str, Plain]:
    reserved = () if options.base or options.model is None else _OWN_ARGUMENTS
    arguments = command_arguments(trial.configuration, reserved=reserved)
    limits = _limits(container, resources(options, trial, patch), patch)
    port = http_port(options, trial)
    probe = _probe(options, port)
    if arguments and takes_a_shell_line(container):
        raise UsageError(
            f"{arguments[0].split('=', 1)[0]} cannot be added: a shell starts container {text_at(container, 'name')}",
            hint="write its command as a list, or leave arg.NAME out of the knobs",
        )
    patched = _restricted(container)
    claims = objects_at(container, "resources", "claims")
    patched["resources"] = _resources(limits, patch, claims)
    patched["command"] = _other_words(container, "command", arguments)
    patched["args"] = [*_other_words(container, "args", arguments), *arguments]
    patched["env"] = _environment(container, environment_settings(trial.configuration))
    patched["volumeMounts"] = [*objects_at(container, "volumeMounts"), *parts.mounts]
    patched.setdefault("ports", _ports(port))
    patched.setdefault("readinessProbe", {**probe, "failureThreshold": 2})
    patched.setdefault(
        "startupProbe", {**probe, "failureThreshold": max(1, math.ceil(options.deadlines.load_s / PROBE_PERIOD_S))}
    )
    patched.pop("livenessProbe", None)
    return _in_order({key: value for key, value in patched.items() if value != []})


def _in_order(container: PlainObject) -> dict[str, Plain]:
    """As people write a container: what runs, what it gets, how it is watched."""
    known = {key: container[key] for key in _ORDER if key in container}
    return known | {key: value for key, value in container.items() if key not in known}


def _restricted(container: PlainObject) -> dict[str, Plain]:
    return {**container, "securityContext": merged(RESTRICTED_CONTAINER, object_at(container, "securityContext"))}


def http_port(options: ClusterOptions, trial: ServedTrial) -> int:
    """The port that answers: the template's own (named http, or its first), else the trial's."""
    if options.base is None:
        return trial.http_port
    containers = objects_at(template_of(options.base), "spec", "containers")
    ports = [port for one in containers if text_at(one, "name") == options.base.container for port in _ports_of(one)]
    named = [number for name, number in ports if name.startswith("http")]
    return (named or [number for _, number in ports] or [trial.http_port])[0]


def _ports_of(container: PlainObject) -> tuple[tuple[str, int], ...]:
    ports = objects_at(container, "ports")
    return tuple((text_at(port, "name"), number_at(port, "containerPort")) for port in ports)


def _ports(port: int) -> list[Plain]:
    return [
        {"name": name, "containerPort": port + offset, "protocol": "TCP"}
        for offset, name in enumerate(("http", "grpc", "metrics"))
    ]


def _probe(options: ClusterOptions, port: int) -> dict[str, Plain]:
    get: dict[str, Plain] = {"path": READY_PATH, "port": port}
    if options.network == "host":
        get["host"] = options.host_address
    return {"httpGet": get, "periodSeconds": PROBE_PERIOD_S, "timeoutSeconds": PROBE_PERIOD_S}


def _limits(container: PlainObject, tuned: dict[str, str], patch: GpuPatch | None) -> dict[str, Plain]:
    """The container's own limits with the tuned ones in their place; a tuned GPU replaces every other one."""
    own = {
        key: value
        for key, value in object_at(container, "resources", "limits").items()
        if patch is None or not key.startswith(_GPU_RESOURCES)
    }
    return {**own, **tuned}


def _resources(
    limits: dict[str, Plain], patch: GpuPatch | None, claims: tuple[PlainObject, ...] = ()
) -> dict[str, Plain]:
    whole: dict[str, Plain] = {"limits": limits, "requests": limits}
    if patch is not None and patch.claim is not None:
        claims = (*claims, {"name": CLAIM})
    return whole | {"claims": list(claims)} if claims else whole


def takes_a_shell_line(container: PlainObject) -> bool:
    """Whether a shell starts the server, so that more arguments would be the shell's and not the server's."""
    words = [*texts_at(container, "command"), *texts_at(container, "args")]
    return any(
        re.fullmatch(r"(.*/)?(ba|da|a|z|k)?sh", word) and re.fullmatch(r"-[a-z]*c", following)
        for word, following in pairwise(words)
    )


def _other_words(container: PlainObject, key: str, arguments: tuple[str, ...]) -> list[Plain]:
    """The container's own command or arguments, less those that a knob sets: --NAME=VALUE, or --NAME and VALUE."""
    tuned = {argument.split("=", 1)[0] for argument in arguments}
    kept: list[Plain] = []
    skipped = False
    for word in texts_at(container, key):
        value_follows, skipped = skipped and not word.startswith("-"), word in tuned
        if not value_follows and word.split("=", 1)[0] not in tuned:
            kept.append(word)
    return kept


def _environment(container: PlainObject, tuned: dict[str, str]) -> list[Plain]:
    own = [one for one in objects_at(container, "env") if text_at(one, "name") not in tuned]
    return [*own, *({"name": name, "value": value} for name, value in sorted(tuned.items()))]


def _prepared(container: PlainObject, limits: dict[str, Plain], patch: GpuPatch | None) -> dict[str, Plain]:
    """An init container as large as the server: the pod's request stays what it was. Only a build sees the GPU."""
    builds = text_at(container, "name") == "build-engine"
    seen = limits if builds else {key: value for key, value in limits.items() if key in {"cpu", "memory"}}
    return {
        **container,
        "resources": _resources(seen, patch if builds else None),
        "securityContext": RESTRICTED_CONTAINER,
    }


def _wants_root(base: PlainObject) -> bool:
    """Whether the user's own template says so: kubelet would refuse to start it as anybody else."""
    containers = (*objects_at(base, "spec", "containers"), *objects_at(base, "spec", "initContainers"))
    contexts = [object_at(one, "securityContext") for one in (*containers, object_at(base, "spec"))]
    return any(context.get("runAsUser") == 0 or context.get("runAsNonRoot") is False for context in contexts)


def _pod_settings(options: ClusterOptions, base: PlainObject) -> dict[str, Plain]:
    user = options.run_as_user
    restricted: dict[str, Plain] = {"seccompProfile": {"type": "RuntimeDefault"}}
    if not _wants_root(base):
        restricted |= {"runAsNonRoot": True, "runAsUser": user}
    if options.base is None or options.engine is not None:
        # Not for volumes of the user's own: their files would change hands under the service that has them, too.
        restricted |= {"fsGroup": user, "fsGroupChangePolicy": "OnRootMismatch"}
    settings: dict[str, Plain] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "Always",
        "securityContext": merged(restricted, object_at(base, "spec", "securityContext")),
    }
    if options.service_account:
        settings["serviceAccountName"] = options.service_account
    if options.pull_secrets:
        own = objects_at(base, "spec", "imagePullSecrets")
        settings["imagePullSecrets"] = [*own, *({"name": name} for name in options.pull_secrets)]
    if options.network == "host":
        settings |= {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}
    return settings


def _metadata(base: PlainObject, trial: ServedTrial, patch: GpuPatch | None) -> dict[str, Plain]:
    labels = {**object_at(base, "metadata", "labels"), **trial_labels(trial.id, "server")}
    annotations = {
        **object_at(base, "metadata", "annotations"),
        **UNDISTURBED,
        STUDY_ANNOTATION: trial.id.study,
        EXPIRY_ANNOTATION: trial.expires_at,
    }
    if patch is not None:
        labels |= dict(patch.labels)
        annotations |= dict(patch.annotations)
    return {"labels": labels, "annotations": annotations}


def _placed(spec: PlainObject, options: ClusterOptions, trial: ServedTrial, patch: GpuPatch | None) -> dict[str, Plain]:
    placed = with_placement(spec, placement(options, trial, patch))
    if patch is not None and patch.scheduler:
        placed["schedulerName"] = patch.scheduler
    if patch is not None and patch.claim is not None:
        claim: PlainObject = {"name": CLAIM, "resourceClaimTemplateName": object_name(trial.id, "gpu")}
        placed["resourceClaims"] = [*objects_at(spec, "resourceClaims"), claim]
    if trial.beside_others and patch is not None and trial.gpu_share < 1 and not options.sharing.neighbours:
        placed["affinity"] = _without_neighbours(object_at(placed, "affinity"))
    return placed


def _without_neighbours(affinity: PlainObject) -> PlainObject:
    """No other trial's server on the node: which card of it a share comes from is the scheme's own affair, and two
    trials on one card would measure each other. Slices of MIG have their own memory and caches, but power and the way
    to the host they share.
    """
    ours: PlainObject = {
        "labelSelector": {"matchLabels": {MANAGED_BY: MANAGER, ROLE_LABEL: "server"}},
        "topologyKey": "kubernetes.io/hostname",
    }
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    own = object_at(affinity, "podAntiAffinity")
    return {**affinity, "podAntiAffinity": {**own, required: [*objects_at(own, required), ours]}}
