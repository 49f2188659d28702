"""Everything that one attempt at a trial puts into a cluster: one owner, whose removal removes the rest."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tuner.domain.cluster import ClusterOptions
from tuner.manifests.cluster.model_volumes import CONFIG_KEY
from tuner.manifests.cluster.naming import (
    ROLE_LABEL,
    STUDY_ANNOTATION,
    Role,
    controller_labels,
    metadata_of,
    sealed,
    study_labels,
    study_object_name,
    trial_labels,
)
from tuner.manifests.cluster.server_pod import http_port, server_template
from tuner.manifests.cluster.trial import ServedTrial, gpu_patch, refuse_unrendered
from tuner.manifests.plain import Plain, PlainObject, merged, text_at


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialObjects:
    """`owner` is made first; `owned` get its uid by `owned_by`, and are made in their order."""

    owner: PlainObject
    owned: tuple[PlainObject, ...]

    @property
    def all(self) -> tuple[PlainObject, ...]:
        """For `kubectl apply`, where nobody knows a uid: to be removed by label."""
        return (self.owner, *self.owned)


def trial_objects(options: ClusterOptions, trial: ServedTrial) -> TrialObjects:
    """The objects of the server's side of a trial. Raises UsageError where the cluster cannot be asked for it."""
    refuse_unrendered(trial)
    owned = [
        *configuration_object(options, trial),
        *_claim(options, trial),
        _deployment(options, trial),
        _service(options, trial),
        *_network_policy(options, trial),
    ]
    return TrialObjects(owner=sealed(_owner(options, trial)), owned=tuple(sealed(one) for one in owned))


def owned_by(manifest: PlainObject, owner: PlainObject, uid: str) -> dict[str, Plain]:
    """The object as the owner's. It does not hold up the owner's removal, for that takes a right of its own."""
    reference: PlainObject = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": text_at(owner, "metadata", "name"),
        "uid": uid,
        "controller": False,
        "blockOwnerDeletion": False,
    }
    return merged(manifest, {"metadata": {"ownerReferences": [reference]}})


def study_lease(
    *, namespace: str, study: str, holder: str, duration_s: float, renewed_at: str, acquired_at: str, token: int
) -> dict[str, Plain]:
    """The lease of a study's one coordinator. Times are RFC 3339 with microseconds; `token` counts the holders, so
    that a late one is known. Renewed while the study runs; the trials of a lease that ran out belong to nobody.
    """
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": study_object_name(study, "lease"),
            "namespace": namespace,
            "labels": study_labels(study),
            "annotations": {STUDY_ANNOTATION: study},
        },
        "spec": {
            "holderIdentity": holder,
            "leaseDurationSeconds": max(1, math.ceil(duration_s)),
            "acquireTime": acquired_at,
            "renewTime": renewed_at,
            "leaseTransitions": token,
        },
    }


def _owner(options: ClusterOptions, trial: ServedTrial) -> dict[str, Plain]:
    data = {
        "study": trial.id.study,
        "trial": str(trial.id.trial),
        "attempt": str(trial.id.attempt),
        "configuration": trial.configuration.key,
        "model": f"{trial.model.name} {trial.model.digest}".strip(),
    }
    made_by = trial.coordinator.annotations if trial.coordinator else {}
    metadata = merged(_metadata(options, trial, "owner"), {"annotations": made_by})
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def configuration_object(options: ClusterOptions, trial: ServedTrial) -> tuple[PlainObject, ...]:
    """The ConfigMap with the rendered config.pbtxt, where there is one."""
    if not trial.config_pbtxt:
        return ()
    metadata = _metadata(options, trial, "config")
    data = {CONFIG_KEY: trial.config_pbtxt}
    return ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "immutable": True, "data": data},)


def _claim(options: ClusterOptions, trial: ServedTrial) -> tuple[PlainObject, ...]:
    """Served by Kubernetes 1.34 and later."""
    patch = gpu_patch(options, trial)
    if patch is None or patch.claim is None:
        return ()
    template: dict[str, Plain] = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaimTemplate",
        "metadata": _metadata(options, trial, "gpu"),
        "spec": {"spec": patch.claim},
    }
    return (template,)


def _deployment(options: ClusterOptions, trial: ServedTrial) -> dict[str, Plain]:
    deadlines = options.deadlines
    patience_s = deadlines.schedule_s + deadlines.pull_s + deadlines.prepare_s + deadlines.load_s
    spec: dict[str, Plain] = {
        "replicas": 1,
        "revisionHistoryLimit": 0,
        # The next pod must find the GPU free.
        "strategy": {"type": "Recreate"},
        # A backstop only: the runner's own deadlines come first.
        "progressDeadlineSeconds": math.ceil(patience_s) + 60,
        "selector": {"matchLabels": trial_labels(trial.id, "server")},
        "template": server_template(options, trial),
    }
    metadata = _metadata(options, trial, "server")
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def _service(options: ClusterOptions, trial: ServedTrial) -> dict[str, Plain]:
    """By one port of its own, whatever the container's."""
    port: PlainObject = {"name": "http", "port": 80, "targetPort": http_port(options, trial), "protocol": "TCP"}
    spec: PlainObject = {"selector": trial_labels(trial.id, "server"), "ports": [port]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": _metadata(options, trial, "server"), "spec": spec}


def _network_policy(options: ClusterOptions, trial: ServedTrial) -> tuple[PlainObject, ...]:
    """Only pods of the same trial reach the server, and the study's own controller: no load of another by mistake."""
    if options.network == "host":
        return ()
    same = {key: value for key, value in trial_labels(trial.id, "server").items() if key != ROLE_LABEL}
    controller = controller_labels(trial.id.study)
    spec: PlainObject = {
        "podSelector": {"matchLabels": same},
        "policyTypes": ["Ingress"],
        "ingress": [{"from": [{"podSelector": {"matchLabels": labels}} for labels in (same, controller)]}],
    }
    metadata = _metadata(options, trial, "network")
    return ({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec},)


def _metadata(options: ClusterOptions, trial: ServedTrial, role: Role) -> dict[str, Plain]:
    return metadata_of(trial.id, role, namespace=options.namespace, expires_at=trial.expires_at)
