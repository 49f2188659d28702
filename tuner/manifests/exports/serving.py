"""A deployable for services that live in KServe, Seldon Core or KubeDL: the objects of `platforms`, for production.

Sources as there. KServe calls a plain Deployment `Standard` since 0.16, and `RawDeployment` before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tuner.domain.cluster import ClusterOptions, ModelClaim
from tuner.domain.deployable import Deployable
from tuner.manifests.cluster.base_pod import base_pod
from tuner.manifests.cluster.naming import object_name as trial_object_name
from tuner.manifests.cluster.platforms import kserve_objects, kubedl_inference, seldon_objects
from tuner.manifests.cluster.trial import ServedTrial
from tuner.manifests.exports.place import ExportPlace, needed, object_name
from tuner.manifests.exports.production import (
    cluster_of,
    config_name,
    metadata_of,
    own_metadata,
    renamed,
    served,
    steady,
)
from tuner.manifests.plain import Plain, PlainObject, merged, object_at, objects_at, text_at

MODE: dict[str, Plain] = {
    "serving.kserve.io/deploymentMode": "Standard",
    # The replicas are the proven ones, until an HPA or a ScaledObject of its own takes them over.
    "serving.kserve.io/autoscalerClass": "none",
}


def kserve(
    of: Deployable, place: ExportPlace, *, config_pbtxt: str = "", complete: bool = True
) -> tuple[PlainObject, ...]:
    """The config.pbtxt's ConfigMap, a ServingRuntime and an InferenceService on it with the proven replicas.

    Raises UsageError where the repository, its format or the image is not stated, or KServe has no place for a knob.
    """
    repository = _repository(of, place)
    model_format = needed(place.model_format, "--model-format", "which format the model has (onnx, tensorrt, ...)")
    options, trial = _options(of, place, config_pbtxt)
    found = kserve_objects(options, trial, repository=repository, model_format=model_format)
    production = _for_production(found, of, place, trial)
    return tuple(_kserve_object(one, of, options, complete=complete) for one in production)


def _kserve_object(one: PlainObject, of: Deployable, options: ClusterOptions, *, complete: bool) -> PlainObject:
    if text_at(one, "kind") == "ServingRuntime":
        containers = [steady(part, options, of, complete=complete) for part in objects_at(one, "spec", "containers")]
        return {**one, "spec": {**object_at(one, "spec"), "containers": containers}}
    if text_at(one, "kind") != "InferenceService":
        return one
    changed = merged(one, {"metadata": {"annotations": MODE}})
    predictor = object_at(changed, "spec", "predictor")
    cleaned = {**_clean(predictor), "minReplicas": of.replicas, "maxReplicas": of.replicas}
    return {**changed, "spec": {**object_at(changed, "spec"), "predictor": cleaned}}


def seldon(of: Deployable, place: ExportPlace, *, config_pbtxt: str = "") -> tuple[PlainObject, ...]:
    """The config.pbtxt's ConfigMap, and a SeldonDeployment with the proven replicas. Raises UsageError as `kserve`."""
    options, trial = _options(of, place, config_pbtxt)
    found = seldon_objects(options, trial, repository=_repository(of, place))
    return tuple(_seldon_object(one, of) for one in _for_production(found, of, place, trial))


def _seldon_object(one: PlainObject, of: Deployable) -> PlainObject:
    if text_at(one, "kind") != "SeldonDeployment":
        return one
    predictors = [
        {
            **predictor,
            "replicas": of.replicas,
            "componentSpecs": [_clean_component(part) for part in objects_at(predictor, "componentSpecs")],
        }
        for predictor in objects_at(one, "spec", "predictors")
    ]
    return {**one, "spec": {**object_at(one, "spec"), "predictors": predictors}}


def kubedl(of: Deployable, place: ExportPlace, inference: PlainObject) -> PlainObject:
    """The user's own Inference with one predictor tuned: its replicas, pod and batch size; all else stands.

    Raises UsageError where the predictor is not named or not there, or an Inference has no place for a knob.
    """
    predictor = needed(place.predictor, "--predictor", "which predictor of the Inference is tuned")
    predictors = objects_at(inference, "spec", "predictors")
    template = next((object_at(one, "template") for one in predictors if text_at(one, "name") == predictor), {})
    base = base_pod(template, place.container) if template else None
    options = replace(cluster_of(of, replace(place, image="")), base=base, image="", model=None, engine=None)
    trial = replace(served(of), config_pbtxt="")
    changed = kubedl_inference(inference, predictor, options, trial)
    tuned = [
        {**one, "replicas": of.replicas, "template": _clean_template(object_at(one, "template"), template)}
        if text_at(one, "name") == predictor
        else one
        for one in objects_at(changed, "spec", "predictors")
    ]
    return {**changed, "spec": {**object_at(changed, "spec"), "predictors": tuned}}


def _options(of: Deployable, place: ExportPlace, config_pbtxt: str) -> tuple[ClusterOptions, ServedTrial]:
    options = cluster_of(of, place)
    if options.base is None:
        needed(options.image, "--image", "which image serves")
        # The platform brings the model; that there is one makes the server a Triton with a model repository.
        path = "{variant}" if "variant" in of.configuration else "-"
        options = replace(options, model=ModelClaim(claim="-", path=path), engine=None)
    return options, served(of, config_pbtxt)


def _repository(of: Deployable, place: ExportPlace) -> str:
    address = needed(place.repository, "--repository", "where the platform fetches the model repository from")
    return address.replace("{variant}", of.configuration.text("variant", ""))


def _for_production(
    found: tuple[PlainObject, ...], of: Deployable, place: ExportPlace, trial: ServedTrial
) -> tuple[PlainObject, ...]:
    """With names of their own, and without a trial's labels."""
    name = object_name(place, of.model)
    config = config_name(name, trial.config_pbtxt)
    names = {trial_object_name(trial.id, "server"): name, trial_object_name(trial.id, "config"): config}
    return tuple(_owned(renamed(one, names), of, place) for one in found)


def _owned(one: PlainObject, of: Deployable, place: ExportPlace) -> PlainObject:
    metadata = metadata_of(of, place, text_at(one, "metadata", "name"))
    return {**one, "metadata": metadata}


def _clean(pod: PlainObject) -> dict[str, Plain]:
    """A pod whose labels and annotations stand beside its other settings, without those of a trial."""
    rest = {key: value for key, value in pod.items() if key not in {"labels", "annotations"}}
    return {**rest, **_filled(own_metadata(pod, {}))}


def _clean_component(part: PlainObject) -> PlainObject:
    return {**part, "metadata": _filled(own_metadata(object_at(part, "metadata"), {}))}


def _clean_template(template: PlainObject, own: PlainObject) -> dict[str, Plain]:
    """With the liveness probe that the trials do without."""
    probes = {text_at(one, "name"): one.get("livenessProbe") for one in objects_at(own, "spec", "containers")}
    containers = [
        {**one, "livenessProbe": probe} if (probe := probes.get(text_at(one, "name"))) else one
        for one in objects_at(template, "spec", "containers")
    ]
    spec = {**object_at(template, "spec"), "containers": containers}
    return {"metadata": _filled(own_metadata(object_at(template, "metadata"), {})), "spec": spec}


def _filled(pairs: Mapping[str, Plain]) -> dict[str, Plain]:
    return {key: value for key, value in pairs.items() if value}
