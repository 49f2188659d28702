"""A deployable as plain Kubernetes objects for production: a Deployment, a Service, and what they need.

The serving pod is the one that was measured (`server_pod`), with names of its own, without a trial's labels, expiry and
patience, and with a liveness probe that waits for slow starts.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tuner.domain.cluster import ClusterOptions, LoadPods
from tuner.domain.deployable import Deployable
from tuner.domain.errors import UsageError
from tuner.manifests.cluster.base_pod import template_of
from tuner.manifests.cluster.model_volumes import CONFIG_KEY
from tuner.manifests.cluster.naming import MANAGED_BY, TrialId
from tuner.manifests.cluster.naming import object_name as trial_object_name
from tuner.manifests.cluster.server_pod import READY_PATH, UNDISTURBED, http_port, server_template
from tuner.manifests.cluster.trial import SERVER, ServedTrial, gpu_patch
from tuner.manifests.config_pbtxt import BATCHING_KNOBS
from tuner.manifests.exports.place import ExportPlace, needed, object_name
from tuner.manifests.plain import Plain, PlainObject, canonical_json, object_at, objects_at, text_at

NAME_LABEL = "app.kubernetes.io/name"
LIVE_PATH = "/v2/health/live"
UNPROVEN_ANNOTATION = "servetune/not-proven"
STUDY_ANNOTATION = "servetune/study"
CONFIG_KNOBS = (*BATCHING_KNOBS, "intra_op_threads")
"""The knobs that stand in the model's config.pbtxt."""
START_PERIOD_S = 5
# A start in production pulls images and shares its node: three times what was measured, and never less than this.
SHORTEST_START_S = 300
COLD_STARTS = 3.0
_OURS = "servetune/"


def cluster_of(of: Deployable, place: ExportPlace) -> ClusterOptions:
    """What the study says of its cluster, with the stated image; bare where it says nothing.

    Raises UsageError where a GPU is needed and nothing says how the cluster's nodes are labelled and shared.
    """
    options = of.cluster
    if options is None:
        gpu_type = of.configuration.text("gpu_type", of.pricing.footprint.gpu_type)
        if gpu_type:
            raise UsageError(
                f"nothing says how the cluster's nodes with a {gpu_type} are labelled, and how their GPUs are shared",
                hint="add --cluster STUDY.yaml: a study file with a runner.kubernetes section",
            )
        options = ClusterOptions(namespace="", load=LoadPods(image=""))
    if not place.image:
        return options
    if options.base is None:
        return replace(options, image=place.image)
    template = template_of(options.base)
    containers = [
        {**one, "image": place.image} if text_at(one, "name") == options.base.container else one
        for one in objects_at(template, "spec", "containers")
    ]
    changed: PlainObject = {**template, "spec": {**object_at(template, "spec"), "containers": containers}}
    return replace(options, base=replace(options.base, template_json=canonical_json(changed)))


def served(of: Deployable, config_pbtxt: str = "") -> ServedTrial:
    """The deployable as what `server_pod` renders. Raises UsageError for a knob that no cluster can set."""
    return ServedTrial(
        id=TrialId(study=of.study, trial=0),
        configuration=of.configuration,
        footprint=of.pricing.footprint,
        term=of.pricing.book.term,
        model=of.model,
        expires_at="",
        config_pbtxt=config_pbtxt,
    )


def takes_config(options: ClusterOptions) -> bool:
    """Whether the serving pod has a model repository that a config.pbtxt can be mounted into."""
    return options.model is not None or (options.base is not None and bool(options.base.repository))


def manifest_notes(of: Deployable, options: ClusterOptions) -> tuple[str, ...]:
    """What the objects do not say."""
    notes = []
    lost = [name for name, _ in of.configuration.settings if name in CONFIG_KNOBS]
    if lost and not takes_config(options):
        notes.append(f"not here, but in the model's config.pbtxt (--format config-pbtxt): {', '.join(lost)}")
    if not of.configuration.number("memory_gib", of.pricing.footprint.memory_gib):
        notes.append("memory was neither tuned nor stated: the pod has no limit for it")
    if of.simulated:
        notes.append("everything was measured in simulation: no real server was ever seen")
    elif of.runner == "local":
        notes.append("the cold start was measured without image pull and node start")
    if of.configuration.text("gpu_type", of.pricing.footprint.gpu_type):
        notes.append("a roll-out has one pod more than the replicas for a while, and so needs one GPU share more")
    return tuple(notes)


def production_objects(
    of: Deployable, place: ExportPlace, *, config_pbtxt: str = "", complete: bool = True
) -> tuple[PlainObject, ...]:
    """ConfigMap, ResourceClaimTemplate where the GPU is claimed, Deployment and Service.

    `complete`: the config.pbtxt says all, so that Triton need not ask the model. Raises UsageError where the cluster
    cannot be asked for it, and where the image is not stated.
    """
    options = cluster_of(of, place)
    if options.base is None:
        needed(options.image, "--image", "which image serves")
    name = object_name(place, of.model)
    trial = served(of, config_pbtxt if takes_config(options) else "")
    renamed_to = {
        trial_object_name(trial.id, "config"): config_name(name, config_pbtxt),
        trial_object_name(trial.id, "gpu"): f"{name}-gpu",
    }
    template = as_production(renamed(server_template(options, trial), renamed_to), options, of, complete=complete)
    labels = {NAME_LABEL: name}
    template["metadata"] = own_metadata(object_at(template, "metadata"), labels)
    metadata = metadata_of(of, place, name)
    deployment: dict[str, Plain] = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": of.replicas,
            "progressDeadlineSeconds": max(600, 2 * start_s(of, options)),
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "selector": {"matchLabels": labels},
            "template": template,
        },
    }
    container = serving_container(object_at(template, "spec"), options)
    service: dict[str, Plain] = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"selector": labels, "ports": _service_ports(container)},
    }
    return (*config_objects(of, place, trial.config_pbtxt), *_claims(of, place, options, trial), deployment, service)


def config_name(name: str, config_pbtxt: str) -> str:
    """With a hash of the content: a changed one is another object, and the pods are rolled."""
    return f"{name}-{hashlib.sha256(config_pbtxt.encode()).hexdigest()[:8]}"


def config_objects(of: Deployable, place: ExportPlace, config_pbtxt: str) -> tuple[PlainObject, ...]:
    """The ConfigMap with the config.pbtxt, where there is one."""
    if not config_pbtxt:
        return ()
    metadata = metadata_of(of, place, config_name(object_name(place, of.model), config_pbtxt))
    data = {CONFIG_KEY: config_pbtxt}
    return ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "immutable": True, "data": data},)


def metadata_of(of: Deployable, place: ExportPlace, name: str) -> dict[str, Plain]:
    """Name, label and origin of an object; without a namespace where none is stated: kubectl's own then holds."""
    annotations = {STUDY_ANNOTATION: of.study, **({UNPROVEN_ANNOTATION: of.unproven} if of.unproven else {})}
    return {
        "name": name,
        **({"namespace": place.namespace} if place.namespace else {}),
        "labels": {NAME_LABEL: object_name(place, of.model)},
        "annotations": annotations,
    }


def own_metadata(metadata: PlainObject, labels: Mapping[str, str]) -> dict[str, Plain]:
    """A pod's labels and annotations without those of a trial."""
    return {
        key: kept
        for key, more in (("labels", labels), ("annotations", {}))
        if (kept := {**_without_ours(object_at(metadata, key)), **more})
    }


def as_production(
    template: PlainObject, options: ClusterOptions, of: Deployable, *, complete: bool = True
) -> dict[str, Plain]:
    """The template with the serving container's probes for production, and the arguments of a partial config.pbtxt."""
    spec = object_at(template, "spec")
    name = options.base.container if options.base else SERVER
    containers = [
        steady(one, options, of, complete=complete) if text_at(one, "name") == name else one
        for one in objects_at(spec, "containers")
    ]
    # A trial's server is ended at once; in production it answers what it has begun to.
    patience = "terminationGracePeriodSeconds"
    own = object_at(template_of(options.base), "spec") if options.base else {}
    kept = {key: value for key, value in spec.items() if key != patience or own.get(key) == value}
    return {**template, "spec": {**kept, "containers": containers}}


def serving_container(spec: PlainObject, options: ClusterOptions) -> PlainObject:
    """The container that serves, in a pod spec."""
    name = options.base.container if options.base else SERVER
    return next(one for one in objects_at(spec, "containers") if text_at(one, "name") == name)


def steady(container: PlainObject, options: ClusterOptions, of: Deployable, *, complete: bool) -> dict[str, Plain]:
    """A serving container with probes for years instead of minutes; the template's own ones stand."""
    own = _own_container(options)
    port = http_port(options, served(of))
    host: dict[str, Plain] = {"host": options.host_address} if options.network == "host" else {}
    ready: dict[str, Plain] = {"httpGet": {"path": READY_PATH, "port": port, **host}, "timeoutSeconds": 5}
    live: dict[str, Plain] = {"httpGet": {"path": LIVE_PATH, "port": port, **host}, "timeoutSeconds": 5}
    starting = math.ceil(start_s(of, options) / START_PERIOD_S)
    arguments = container.get("args")
    steady: dict[str, Plain] = {
        **container,
        "readinessProbe": own.get("readinessProbe", {**ready, "periodSeconds": 5, "failureThreshold": 3}),
        # Liveness begins when this has passed once: until then nobody kills a slow start.
        "startupProbe": own.get(
            "startupProbe", {**ready, "periodSeconds": START_PERIOD_S, "failureThreshold": starting}
        ),
        "livenessProbe": own.get("livenessProbe", {**live, "periodSeconds": 10, "failureThreshold": 6}),
    }
    if not complete and isinstance(arguments, Sequence) and not isinstance(arguments, str):
        steady["args"] = [one for one in arguments if one != "--disable-auto-complete-config"]
    return steady


def _own_container(options: ClusterOptions) -> PlainObject:
    if options.base is None:
        return {}
    return serving_container(object_at(template_of(options.base), "spec"), options)


def start_s(of: Deployable, options: ClusterOptions) -> int:
    """How long a pod may take to become ready before it is restarted."""
    measured_s = COLD_STARTS * (of.cold_start_s or 0.0)
    return math.ceil(max(SHORTEST_START_S, options.deadlines.load_s, measured_s))


def _service_ports(container: PlainObject) -> list[Plain]:
    ports: list[Plain] = []
    for one in objects_at(container, "ports"):
        number = one.get("containerPort")
        name = text_at(one, "name") or f"port-{number}"
        ports.append({"name": name, "port": number, "targetPort": number, "protocol": "TCP"})
    return ports


def _claims(of: Deployable, place: ExportPlace, options: ClusterOptions, trial: ServedTrial) -> tuple[PlainObject, ...]:
    """Served by Kubernetes 1.34 and later."""
    patch = gpu_patch(options, trial)
    if patch is None or patch.claim is None:
        return ()
    template: dict[str, Plain] = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaimTemplate",
        "metadata": metadata_of(of, place, f"{object_name(place, of.model)}-gpu"),
        "spec": {"spec": patch.claim},
    }
    return (template,)


def renamed(node: PlainObject, names: Mapping[str, str]) -> PlainObject:
    """The same with other names: texts that are one of them, as a whole, at any depth."""
    changed: PlainObject = json.loads(json.dumps(node), object_hook=lambda found: _texts(found, names))
    return changed


def _texts(found: dict[str, Plain], names: Mapping[str, str]) -> dict[str, Plain]:
    return {key: names.get(value, value) if isinstance(value, str) else value for key, value in found.items()}


def _without_ours(pairs: PlainObject) -> dict[str, Plain]:
    return {
        key: value
        for key, value in pairs.items()
        if not key.startswith(_OURS) and key not in UNDISTURBED and key != MANAGED_BY
    }
