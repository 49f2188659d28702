"""The load inside the cluster: one locust master and its workers as Jobs that nobody restarts.

Only fields that Kubernetes 1.20 has: its API drops what it does not know, such as completionMode (1.21), without a
word. Workers are told apart by what they say to their master, so they need no index.
"""

from __future__ import annotations

import math
from base64 import b64encode
from dataclasses import dataclass

from tuner.domain.cluster import ClusterOptions, Pairs
from tuner.domain.errors import UsageError
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
MOST_PLAN_BYTES = 1_000_000
"""A ConfigMap holds 1 MiB at most, by the API's own rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadWork:
    """One run of load: the two commands, what they read (mounted as /plan/plan.json), and when it has failed.

    `files` are mounted beside the plan under their names. `port` is the master's; on the host's network each trial has
    its own. `run` counts the runs against one deployment, from 1: a Job that ended is never started again.
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
    files: tuple[tuple[str, bytes], ...] = ()


def master_address(options: ClusterOptions, trial: TrialId, run: int) -> str:
    """Where workers find their master: its Service's name, or this host."""
    return options.host_address if options.network == "host" else object_name(trial, "load-master", run=run)


def load_commands(
    options: ClusterOptions, trial: TrialId, *, run: int, target: str, wait_s: float, port: int = MASTER_PORT
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What master and workers are started with. `target` is the HOST:PORT that alone the workers may put load on,
    `wait_s` how long the two wait for each other.
    """
    bind = options.host_address if options.network == "host" else "0.0.0.0"  # noqa: S104 - a pod's own network
    program, wait = ("python3", "-m"), f"--max-wait-s={wait_s:g}"
    master = (
        *(*program, "load_profiles.load_master"),
        *("--plan", f"{PLAN_FOLDER}/{PLAN_KEY}", "--bind", _joined(bind, port)),
        *(f"--expect-workers={options.load.workers}", wait, "--print-result"),
    )
    worker = (
        *(*program, "load_profiles.load_worker"),
        *("--master", _joined(master_address(options, trial, run), port), "--allow-target", target, wait),
    )
    return master, worker


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def load_objects(options: ClusterOptions, work: LoadWork) -> tuple[PlainObject, ...]:
    """Plan, master's Service, master and workers, in the order in which they are made.

    Raises UsageError where the plan does not fit into a ConfigMap.
    """
    refuse_too_large(work)
    plan: dict[str, Plain] = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(options, work, "load"),
        "immutable": True,
        "data": {PLAN_KEY: work.plan},
    }
    if work.files:
        plan["binaryData"] = {name: b64encode(content).decode() for name, content in work.files}
    service: tuple[PlainObject, ...] = () if options.network == "host" else (_master_service(options, work),)
    jobs = (_job(options, work, "load-master", count=1), _job(options, work, "load-worker", count=options.load.workers))
    return tuple(sealed(one) for one in (plan, *service, *jobs))


def refuse_too_large(work: LoadWork) -> None:
    """Raises UsageError where the plan does not fit into a ConfigMap."""
    size_bytes = len(work.plan.encode()) + sum(len(content) for _name, content in work.files)
    if size_bytes > MOST_PLAN_BYTES:
        raise UsageError(
            f"the load's plan has {size_bytes} bytes, and a ConfigMap holds {MOST_PLAN_BYTES}",
            hint="use fewer or smaller payload files, or a shorter trace",
        )


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
