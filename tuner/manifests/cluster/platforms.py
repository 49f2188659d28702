"""The same configuration for services that live in KServe, Seldon Core or KubeDL.

These bring the model themselves, under /mnt/models; a rendered config.pbtxt is mounted over the one that the model's
repository must have there. What they have no place for (an engine build, a resource claim) is refused.
Sources: KServe's API reference (serving.kserve.io v1beta1 and v1alpha1), Seldon Core's SeldonDeployment reference
(machinelearning.seldon.io v1), and KubeDL's `apis/serving/v1alpha1`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tuner.domain.cluster import ClusterOptions
from tuner.domain.errors import UsageError
from tuner.manifests.cluster.model_volumes import CONFIG_KEY, REPOSITORY
from tuner.manifests.cluster.naming import object_name, trial_labels
from tuner.manifests.cluster.server_pod import server_template
from tuner.manifests.cluster.trial import CLUSTER_KNOBS, SERVER, ServedTrial, refuse_unrendered
from tuner.manifests.cluster.trial_objects import configuration_object
from tuner.manifests.plain import Plain, PlainObject, object_at, objects_at, text_at, value_at
from tuner.manifests.server_command import command_arguments

KSERVE_CONTAINER = "kserve-container"
MODELS = "/mnt/models"
_MODEL_VOLUMES = ("servetune-repository", "servetune-model", "servetune-engines")
_POD_LEVEL = ("affinity", "tolerations", "nodeSelector", "schedulerName")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """The trial's server without its model: what goes into somebody else's pod."""

    container: PlainObject
    volumes: tuple[PlainObject, ...]
    pod: PlainObject
    metadata: PlainObject


def kserve_objects(
    options: ClusterOptions, trial: ServedTrial, *, repository: str, model_format: str
) -> tuple[PlainObject, ...]:
    """The config.pbtxt, a ServingRuntime and an InferenceService with one replica on it, as a plain Deployment.

    `repository` is the address of a Triton model repository as KServe writes it (pvc://, s3://, oci://). Raises
    UsageError where KServe has no place for what the trial needs.
    """
    parts = _parts(options, trial)
    name = object_name(trial.id, "server")
    runtime: dict[str, Plain] = {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": _named(options, trial),
        "spec": {
            "supportedModelFormats": [{"name": model_format, "autoSelect": False}],
            "protocolVersions": ["v2"],
            "multiModel": False,
            "containers": [{**parts.container, "name": KSERVE_CONTAINER}],
            "volumes": list(parts.volumes),
        },
    }
    model: dict[str, Plain] = {
        "modelFormat": {"name": model_format},
        "runtime": name,
        "protocolVersion": "v2",
        "storageUri": repository,
        "resources": object_at(parts.container, "resources"),
    }
    annotations: PlainObject = {"serving.kserve.io/deploymentMode": "RawDeployment"}
    service: dict[str, Plain] = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {**_named(options, trial), "annotations": annotations},
        "spec": {"predictor": {"minReplicas": 1, "maxReplicas": 1, "model": model, **parts.metadata, **parts.pod}},
    }
    return (*configuration_object(options, trial), runtime, service)


def seldon_objects(options: ClusterOptions, trial: ServedTrial, *, repository: str) -> tuple[PlainObject, ...]:
    """The config.pbtxt, and a SeldonDeployment with Seldon's own Triton server on a Triton model repository.

    Raises UsageError where Seldon has no place for what the trial needs.
    """
    if command_arguments(trial.configuration):
        raise UsageError("Seldon writes Triton's command line itself", hint="leave arg.NAME out of the knobs")
    parts = _parts(options, trial)
    ours = ("image", "env", "resources", "securityContext", "volumeMounts")
    container = {key: parts.container[key] for key in ours if key in parts.container}
    component: dict[str, Plain] = {
        "containers": [{"name": trial.model.name, **container}],
        "volumes": list(parts.volumes),
        **parts.pod,
    }
    graph: PlainObject = {
        "name": trial.model.name,
        "type": "MODEL",
        "implementation": "TRITON_SERVER",
        "modelUri": repository,
    }
    predictor: PlainObject = {
        "name": "default",
        "replicas": 1,
        "graph": graph,
        "componentSpecs": [{"metadata": parts.metadata, "spec": component}],
    }
    deployment: dict[str, Plain] = {
        "apiVersion": "machinelearning.seldon.io/v1",
        "kind": "SeldonDeployment",
        "metadata": _named(options, trial),
        "spec": {"protocol": "v2", "predictors": [predictor]},
    }
    return (*configuration_object(options, trial), deployment)


def kubedl_inference(
    inference: PlainObject, predictor: str, options: ClusterOptions, trial: ServedTrial
) -> dict[str, Plain]:
    """The user's KubeDL Inference with one predictor tuned: its pod template, which `options.base` is, and its batch
    size where that is a knob. KubeDL brings the model. Raises UsageError where there is no such predictor.
    """
    predictors = objects_at(inference, "spec", "predictors")
    if all(text_at(one, "name") != predictor for one in predictors):
        listed = ", ".join(text_at(one, "name") for one in predictors) or "none"
        raise UsageError(f"the Inference has no predictor '{predictor}'", hint=f"it has {listed}")
    kept = ("cpu_cores", "memory_gib", "gpu_type", "gpu_memory_share", "max_batch_size")
    lost = [name for name, _ in trial.configuration.settings if name in CLUSTER_KNOBS and name not in kept]
    if lost:
        raise UsageError(f"an Inference has no place for {', '.join(lost)}", hint=f"it has one for {', '.join(kept)}")
    if options.base is None:
        raise UsageError("the predictor's own pod template is the base", hint="write base")
    template = server_template(replace(options, model=None, engine=None), replace(trial, config_pbtxt=""))
    tuned = [_tuned_predictor(one, template, trial) if text_at(one, "name") == predictor else one for one in predictors]
    return {**inference, "spec": {**object_at(inference, "spec"), "predictors": tuned}}


def _tuned_predictor(predictor: PlainObject, template: PlainObject, trial: ServedTrial) -> dict[str, Plain]:
    tuned: dict[str, Plain] = {**predictor, "template": template}
    if "max_batch_size" in trial.configuration:
        size = int(trial.configuration.number("max_batch_size", 1))
        tuned["batching"] = {**object_at(predictor, "batching"), "batchSize": size}
    return tuned


def _parts(options: ClusterOptions, trial: ServedTrial) -> _Parts:
    refuse_unrendered(trial)
    if options.engine is not None:
        raise UsageError("an engine cannot be built there before the server starts", hint="build it beforehand")
    if options.base is None and options.model is None:
        raise UsageError("the image starts its own model, and there the platform brings it", hint="write model")
    template = server_template(options, trial)
    spec = object_at(template, "spec")
    if objects_at(spec, "resourceClaims"):
        raise UsageError("a resource claim has no place there", hint="use a sharing scheme without DRA")
    name = options.base.container if options.base else SERVER
    served = next(one for one in objects_at(spec, "containers") if text_at(one, "name") == name)
    mounts = [one for one in objects_at(served, "volumeMounts") if text_at(one, "name") not in _MODEL_VOLUMES]
    container: dict[str, Plain] = {**served, "volumeMounts": [_moved(one, trial) for one in mounts]}
    arguments = value_at(served, "args")
    if isinstance(arguments, list):
        ours = f"--model-repository={REPOSITORY}"
        container["args"] = [f"--model-repository={MODELS}" if one == ours else one for one in arguments]
    return _Parts(
        container=container,
        volumes=tuple(one for one in objects_at(spec, "volumes") if text_at(one, "name") not in _MODEL_VOLUMES),
        pod={key: spec[key] for key in _POD_LEVEL if key in spec},
        metadata=object_at(template, "metadata"),
    )


def _moved(mount: PlainObject, trial: ServedTrial) -> PlainObject:
    if text_at(mount, "name") != "servetune-config":
        return mount
    return {**mount, "mountPath": f"{MODELS}/{trial.model.name}/{CONFIG_KEY}"}


def _named(options: ClusterOptions, trial: ServedTrial) -> dict[str, Plain]:
    labels = trial_labels(trial.id, "server")
    return {"name": object_name(trial.id, "server"), "namespace": options.namespace, "labels": labels}
