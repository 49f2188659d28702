"""The load inside the cluster: one locust master and its workers as Jobs that nobody restarts."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tuner.domain.cluster import ClusterOptions, Pairs
from tuner.manifests.cluster.naming import (
    ROLE_LABEL,
    RUN_LABEL,
    STUDY_ANNOTATION,
    Role,
    TrialId,
    metadata_of,
    object_name,
    sealed,
    trial_labels,
)
from tuner.manifests.cluster.placement import NodeLabel, Placement, with_placement
from tuner.manifests.cluster.quantities import cpu_quantity, memory_quantity
from tuner.manifests.cluster.server_pod import RESTRICTED_CONTAINER, UNDISTURBED
from tuner.manifests.plain import Plain, PlainObject, merged

MASTER_PORT = 5557
PLAN_FOLDER = "/plan"
PLAN_KEY = "plan.json"
KEPT_AFTER_END_S = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadWork:
    """One run of load: the two commands, what they read (mounted as /plan/plan.json), and when it has failed.

    `port` is the master's; on the host's network each trial has its own. `run` counts the runs against one
    deployment, from 1: a Job that ended is never started again.
    """

    trial: TrialId
    run: int
    master: tuple[str, ...]
    worker: tuple[str, ...]
    plan: str
    deadline_s: float
    expires_at: str
    port: int = MASTER_PORT
    environment: Pairs = ()


def master_address(options: ClusterOptions, trial: TrialId, run: int) -> str:
    """Where workers find their master: its Service's name, or this host."""
    return options.host_address if options.network == "host" else object_name(trial, "load-master", run=run)


def locust_arguments(
    options: ClusterOptions, trial: TrialId, *, run: int, port: int = MASTER_PORT
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What locust's own command line needs of us: the master's arguments, and the workers'."""
    bind = options.host_address if options.network == "host" else "*"
    master = (
        "--master",
        f"--master-bind-host={bind}",
        f"--master-bind-port={port}",
        "--headless",
        f"--expect-workers={options.load.workers}",
    )
    return master, ("--worker", f"--master-host={master_address(options, trial, run)}", f"--master-port={port}")


def load_objects(options: ClusterOptions, work: LoadWork) -> tuple[PlainObject, ...]:
    """Plan, master's Service, master and workers, in the order in which they are made. Raises UsageError."""
    metadata = _metadata(options, work, "load")
    plan: PlainObject = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "immutable": True,
        "data": {PLAN_KEY: work.plan},
    }
    service: tuple[PlainObject, ...] = () if options.network == "host" else (_master_service(options, work),)
    jobs = (_job(options, work, "load-master", count=1), _job(options, work, "load-worker", count=options.load.workers))
    return tuple(sealed(one) for one in (plan, *service, *jobs))


def _master_service(options: ClusterOptions, work: LoadWork) -> dict[str, Plain]:
    """Headless: workers may look it up before the master is ready."""
    spec: PlainObject = {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": {**trial_labels(work.trial, "load-master"), RUN_LABEL: str(work.run)},
        "ports": [{"name": "master", "port": work.port, "targetPort": work.port, "protocol": "TCP"}],
    }
    return {"apiVersion": "v1", "kind": "Service", "metadata": _metadata(options, work, "load-master"), "spec": spec}


def _job(options: ClusterOptions, work: LoadWork, role: Role, *, count: int) -> dict[str, Plain]:
    labels = {**trial_labels(work.trial, role), RUN_LABEL: str(work.run)}
    spec: PlainObject = {
        "completions": count,
        "parallelism": count,
        "completionMode": "Indexed",
        # A second start would send another load: a lost worker voids the measurement.
        "backoffLimit": 0,
        "activeDeadlineSeconds": math.ceil(work.deadline_s),
        "ttlSecondsAfterFinished": KEPT_AFTER_END_S,
        "template": {
            "metadata": {
                "labels": labels,
                "annotations": {**UNDISTURBED, STUDY_ANNOTATION: work.trial.study},
            },
            "spec": _pod_spec(options, work, role),
        },
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": _metadata(options, work, role), "spec": spec}


def _pod_spec(options: ClusterOptions, work: LoadWork, role: Role) -> dict[str, Plain]:
    user = options.run_as_user
    spec: dict[str, Plain] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": user,
            "fsGroup": user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "affinity": {"podAntiAffinity": _away_from_server(work.trial)},
        "containers": [_container(options, work, role)],
        "volumes": [{"name": "plan", "configMap": {"name": _name(work, "load")}}],
    }
    if options.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in options.pull_secrets]
    if options.load.service_account:
        spec["serviceAccountName"] = options.load.service_account
    if options.network == "host":
        spec |= {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}
    labels = tuple(NodeLabel(key, (value,)) for key, value in options.load.node_labels)
    return with_placement(spec, Placement(labels=labels))


def _container(options: ClusterOptions, work: LoadWork, role: Role) -> dict[str, Plain]:
    amounts: PlainObject = {
        "cpu": cpu_quantity(options.load.cpu_cores),
        "memory": memory_quantity(options.load.memory_gib),
    }
    environment = (("MASTER_HOST", master_address(options, work.trial, work.run)), ("MASTER_PORT", str(work.port)))
    return {
        "name": role,
        "image": options.load.image,
        "command": list(work.master if role == "load-master" else work.worker),
        "env": [{"name": name, "value": value} for name, value in (*environment, *work.environment)],
        "resources": {"limits": amounts, "requests": amounts},
        "securityContext": RESTRICTED_CONTAINER,
        "volumeMounts": [{"name": "plan", "mountPath": PLAN_FOLDER, "readOnly": True}],
    }


def _away_from_server(trial: TrialId) -> PlainObject:
    """On another node than the server where there is one: a cluster of one node still works."""
    term: PlainObject = {
        "labelSelector": {"matchLabels": {ROLE_LABEL: trial_labels(trial, "server")[ROLE_LABEL]}},
        "topologyKey": "kubernetes.io/hostname",
    }
    return {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": term}]}


def _metadata(options: ClusterOptions, work: LoadWork, role: Role) -> dict[str, Plain]:
    metadata = metadata_of(work.trial, role, namespace=options.namespace, expires_at=work.expires_at)
    return merged(metadata, {"name": _name(work, role), "labels": {RUN_LABEL: str(work.run)}})


def _name(work: LoadWork, role: Role) -> str:
    return object_name(work.trial, role, run=work.run)
