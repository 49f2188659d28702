"""`servetune tune` as a Job of the cluster that it tunes in: killed at any time, it goes on from the history."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import assert_never

from tuner.domain.cluster import ClusterOptions
from tuner.domain.errors import UsageError
from tuner.manifests.cluster.access import ROLE_NAME
from tuner.manifests.cluster.naming import controller_labels, study_labels, study_object_name
from tuner.manifests.cluster.quantities import cpu_quantity, memory_quantity
from tuner.manifests.cluster.server_pod import RESTRICTED_CONTAINER, UNDISTURBED
from tuner.manifests.plain import Plain, PlainObject

STUDY_FOLDER = "/study"
STUDY_KEY = "study.yaml"
STORAGE_FOLDER = "/storage"
STORAGE_GIB = 1.0
MOST_BYTES = 900_000
"""A ConfigMap holds a MiB, its own words included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageSecret:
    """The storage's address is in a Secret, under a key: a PostgreSQL database with its password."""

    name: str
    key: str = "url"


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageClaim:
    """The storage is an SQLite file in a PersistentVolumeClaim, made with the Job and kept after it."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedController:
    """`files` are the study file (study.yaml) and what lies beside it, by name; `image` is servetune's own."""

    study: str
    image: str
    files: tuple[tuple[str, str], ...]
    storage: StorageSecret | StorageClaim
    account: str = ROLE_NAME
    cpu_cores: float = 1.0
    memory_gib: float = 2.0


def controller_objects(options: ClusterOptions, controller: HostedController) -> tuple[PlainObject, ...]:
    """The study's files, its storage where that is a claim, and the Job. Raises UsageError for files too large."""
    if sum(len(name) + len(text.encode()) for name, text in controller.files) > MOST_BYTES:
        raise UsageError(
            "the study's files are too large for a ConfigMap", hint=f"at most {MOST_BYTES:,} bytes of text"
        )
    metadata: dict[str, Plain] = {
        "name": study_object_name(controller.study, "controller"),
        "namespace": options.namespace,
        "labels": study_labels(controller.study),
    }
    files: PlainObject = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": dict(controller.files),
    }
    job: PlainObject = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            # Each start replays the history, and goes on; the study's own budget ends it.
            "backoffLimit": 20,
            "podFailurePolicy": {"rules": [_taken_away(), _ended_for_good()]},
            "template": {
                "metadata": {"labels": controller_labels(controller.study), "annotations": UNDISTURBED},
                "spec": _pod(options, controller),
            },
        },
    }
    return (files, *_claim(options, controller), job)


def _taken_away() -> PlainObject:
    """A pod that was evicted or preempted is no failure of the study."""
    return {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}


def _ended_for_good() -> PlainObject:
    """Exit codes that say something of the study; the others (7: infrastructure, 130 and above: killed) try again."""
    exit_codes: PlainObject = {"containerName": "controller", "operator": "In", "values": [1, 2, 3, 4, 5, 6, 8, 9]}
    # Kubernetes 1.25 wants the other list as well, if empty.
    return {"action": "FailJob", "onExitCodes": exit_codes, "onPodConditions": []}


def _claim(options: ClusterOptions, controller: HostedController) -> tuple[PlainObject, ...]:
    if isinstance(controller.storage, StorageSecret):
        return ()
    claim: PlainObject = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": controller.storage.name,
            "namespace": options.namespace,
            "labels": study_labels(controller.study),
        },
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": memory_quantity(STORAGE_GIB)}},
        },
    }
    return (claim,)


def _pod(options: ClusterOptions, controller: HostedController) -> dict[str, Plain]:
    files: PlainObject = {"name": "study", "configMap": {"name": study_object_name(controller.study, "controller")}}
    context: dict[str, Plain] = {
        "runAsNonRoot": True,
        "runAsUser": options.run_as_user,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    spec: dict[str, Plain] = {
        "serviceAccountName": controller.account,
        # The only pod that talks to the API.
        "automountServiceAccountToken": True,
        "restartPolicy": "Never",
        # Told to end, it takes its trials away first.
        "terminationGracePeriodSeconds": math.ceil(options.deadlines.teardown_s) + 30,
        "securityContext": context,
        "containers": [_container(controller)],
        "volumes": [files],
    }
    if isinstance(controller.storage, StorageClaim):
        kept: PlainObject = {"name": "storage", "persistentVolumeClaim": {"claimName": controller.storage.name}}
        spec["volumes"] = [files, kept]
        spec["securityContext"] = {**context, "fsGroup": options.run_as_user, "fsGroupChangePolicy": "OnRootMismatch"}
    if options.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in options.pull_secrets]
    if options.network == "host":
        spec |= {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}
    return spec


def _container(controller: HostedController) -> dict[str, Plain]:
    amounts: PlainObject = {
        "cpu": cpu_quantity(controller.cpu_cores),
        "memory": memory_quantity(controller.memory_gib),
    }
    mounts: list[Plain] = [{"name": "study", "mountPath": STUDY_FOLDER, "readOnly": True}]
    if isinstance(controller.storage, StorageClaim):
        mounts.append({"name": "storage", "mountPath": STORAGE_FOLDER})
    return {
        "name": "controller",
        "image": controller.image,
        "command": ["servetune", "tune", f"{STUDY_FOLDER}/{STUDY_KEY}", "--verbose"],
        "env": [_storage_variable(controller.storage)],
        "resources": {"limits": amounts, "requests": amounts},
        "securityContext": RESTRICTED_CONTAINER,
        "volumeMounts": mounts,
    }


def _storage_variable(storage: StorageSecret | StorageClaim) -> PlainObject:
    match storage:
        case StorageSecret(name=name, key=key):
            return {"name": "SERVETUNE_STORAGE", "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}
        case StorageClaim():
            return {"name": "SERVETUNE_STORAGE", "value": f"sqlite:///{STORAGE_FOLDER}/studies.db"}
    assert_never(storage)
