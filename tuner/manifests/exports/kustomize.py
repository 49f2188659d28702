"""A deployable as a strategic merge patch on the Deployment that a team has already, as Kustomize applies it.

What Kubernetes merges by key (containers, environment) is left to it; what it replaces as a whole (arguments,
tolerations, node selector terms) is written as a whole, from the study's base template.
"""

from __future__ import annotations

from dataclasses import replace

from tuner.domain.cluster import ClusterOptions
from tuner.domain.deployable import Deployable
from tuner.domain.space import Configuration
from tuner.manifests.cluster.base_pod import template_of
from tuner.manifests.cluster.server_pod import server_template
from tuner.manifests.cluster.trial import gpu_patch
from tuner.manifests.exports.place import ExportPlace, needed, object_name
from tuner.manifests.exports.production import (
    CONFIG_KNOBS,
    cluster_of,
    metadata_of,
    own_metadata,
    served,
    serving_container,
)
from tuner.manifests.plain import Plain, PlainObject, object_at, objects_at
from tuner.manifests.server_command import command_arguments, environment_settings

_REPLACED = ("affinity", "tolerations", "schedulerName", "resourceClaims")


def kustomize_patch(of: Deployable, place: ExportPlace) -> PlainObject:
    """The patch. Raises UsageError where the Deployment or its container is not named, and where the cluster cannot be
    asked for the GPU share.
    """
    needed(place.name, "--name", "which Deployment is patched")
    options = cluster_of(of, place)
    named = place.container or (options.base.container if options.base else "")
    container = needed(named, "--container", "which of its containers serves")
    trial = served(_without_variant(of))
    # Nothing of the pod but what the knobs and the GPU ask for: no model, and an image only where it is stated.
    bare = replace(options, model=None, engine=None, image=options.image or "-", pull_secrets=())
    template = server_template(bare, trial)
    spec, base = object_at(template, "spec"), _base_spec(options)
    told = serving_container(spec, bare)
    patch = gpu_patch(options, trial)
    pod: dict[str, Plain] = {key: spec[key] for key in _REPLACED if key in spec and spec[key] != base.get(key)}
    pod["containers"] = [_container(container, told, of, place, options)]
    asked: PlainObject = {"labels": dict(patch.labels), "annotations": dict(patch.annotations)} if patch else {}
    metadata = _filled(own_metadata(asked, {}))
    whole = metadata_of(of, place, object_name(place, of.model))
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {key: value for key, value in whole.items() if key != "labels"},
        "spec": {
            "replicas": of.replicas,
            "template": {**({"metadata": metadata} if metadata else {}), "spec": pod},
        },
    }


def kustomize_notes(of: Deployable, place: ExportPlace) -> tuple[str, ...]:
    """What the patch leaves to others."""
    options = cluster_of(of, place)
    notes = []
    settings = dict(of.configuration.settings)
    lost = [name for name in settings if name in CONFIG_KNOBS]
    if lost:
        notes.append(f"not here, but in the model's config.pbtxt (--format config-pbtxt): {', '.join(lost)}")
    if "variant" in settings:
        notes.append(f"variant={settings['variant']}: which files the model is loaded from is not patched")
    if command_arguments(of.configuration) and options.base is None:
        notes.append(
            "arguments replace all of the container's own, which nobody stated, so they are not patched: add "
            + " ".join(command_arguments(of.configuration))
        )
    if not of.configuration.number("memory_gib", of.pricing.footprint.memory_gib):
        notes.append("memory was neither tuned nor stated: the Deployment keeps its own")
    patch = gpu_patch(options, served(of))
    if patch is not None and patch.claim is not None:
        notes.append("the GPU is claimed: take the ResourceClaimTemplate from --format manifests")
    if of.simulated:
        notes.append("everything was measured in simulation: no real server was ever seen")
    return tuple(notes)


def _container(
    name: str, told: PlainObject, of: Deployable, place: ExportPlace, options: ClusterOptions
) -> dict[str, Plain]:
    own: PlainObject = {}
    if options.base is not None:
        own = serving_container(object_at(template_of(options.base), "spec"), options)
    environment = [{"name": key, "value": value} for key, value in environment_settings(of.configuration).items()]
    limits = object_at(told, "resources", "limits")
    # A null takes away what the Deployment has and the spec does not: another way of getting a GPU.
    gone = {key: None for key in object_at(own, "resources", "limits") if key not in limits}
    resources: dict[str, Plain] = {"limits": {**gone, **limits}, "requests": {**gone, **limits}}
    claims = objects_at(told, "resources", "claims")
    # Both are replaced as a whole, so they are written where a knob changed them, and only then.
    told_here = ("command", "args") if options.base is not None else ()
    started = {key: told[key] for key in told_here if key in told and told[key] != own.get(key)}
    return {
        "name": name,
        **({"image": place.image} if place.image else {}),
        "resources": {**resources, **({"claims": list(claims)} if claims else {})},
        **started,
        **({"env": environment} if environment else {}),
    }


def _without_variant(of: Deployable) -> Deployable:
    """Which files are loaded is not the pod's resources: a note says so."""
    settings = {name: value for name, value in of.configuration.settings if name != "variant"}
    return replace(of, configuration=Configuration.of(settings))


def _base_spec(options: ClusterOptions) -> PlainObject:
    return object_at(template_of(options.base), "spec") if options.base else {}


def _filled(metadata: dict[str, Plain]) -> dict[str, Plain]:
    return {key: value for key, value in metadata.items() if value}
