"""Cluster options, trials and API objects for tests that need some."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tuner.domain.cluster import ClusterGpu, ClusterOptions, LoadPods, ModelClaim
from tuner.domain.cost import Footprint
from tuner.domain.deployment import ModelRef
from tuner.domain.space import Configuration, KnobValue
from tuner.manifests.cluster.base_pod import base_pod
from tuner.manifests.cluster.load_jobs import LoadWork, load_commands
from tuner.manifests.cluster.naming import TrialId
from tuner.manifests.cluster.states import Expectation
from tuner.manifests.cluster.trial import ServedTrial

DIGEST = "sha256:" + "5e" * 32
IMAGE = f"registry.example/triton@{DIGEST}"
LOAD_IMAGE = f"registry.example/servetune@{DIGEST}"
A100 = ClusterGpu(name="A100-40", labels=("NVIDIA-A100-SXM4-40GB",), memory_mib=40960)
T4 = ClusterGpu(name="T4", labels=("Tesla-T4",), memory_mib=15360)
EXPIRES_AT = "2026-11-22T18:00:00Z"

BASE: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "resnet", "namespace": "serving"},
    "spec": {
        "replicas": 3,
        "selector": {"matchLabels": {"app": "resnet"}},
        "template": {
            "metadata": {"labels": {"app": "resnet"}, "annotations": {"team": "vision"}},
            "spec": {
                "serviceAccountName": "resnet",
                "nodeName": "node-7",
                "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "ml", "effect": "NoSchedule"}],
                "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": "models"}}],
                "containers": [
                    {"name": "proxy", "image": "registry.example/envoy:1.30", "resources": {"limits": {"cpu": "100m"}}},
                    {
                        "name": "triton",
                        "image": "registry.example/triton:26.09",
                        "args": ["tritonserver", "--model-repository=/m", "--http-thread-count=4"],
                        "env": [
                            {"name": "OMP_NUM_THREADS", "value": "8"},
                            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "t", "key": "k"}}},
                        ],
                        "ports": [
                            {"name": "grpc", "containerPort": 9001},
                            {"name": "http", "containerPort": 9000},
                        ],
                        "resources": {
                            "limits": {"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "1", "ephemeral-storage": "4Gi"}
                        },
                        "livenessProbe": {"httpGet": {"path": "/v2/health/live", "port": 9000}},
                        "readinessProbe": {
                            "httpGet": {"path": "/v2/health/ready", "port": 9000},
                            "initialDelaySeconds": 5,
                        },
                        "securityContext": {"runAsUser": 4242},
                        "volumeMounts": [{"name": "models", "mountPath": "/m"}],
                    },
                ],
            },
        },
    },
}  # fmt: skip


def cluster(**changes: Any) -> ClusterOptions:
    options = ClusterOptions(
        namespace="servetune-studies",
        image=IMAGE,
        load=LoadPods(image=LOAD_IMAGE, workers=2, cpu_cores=2, memory_gib=1.5, service_account="load"),
        model=ModelClaim(claim="models", path="resnet50/1"),
        gpus=(A100, T4),
    )
    return replace(options, **changes)


def with_base(**changes: Any) -> ClusterOptions:
    return cluster(image="", model=None, base=base_pod(BASE, "triton"), **changes)


def served(knobs: dict[str, KnobValue] | None = None, **changes: Any) -> ServedTrial:
    trial = ServedTrial(
        id=TrialId(study="resnet50 on cards", trial=12),
        configuration=Configuration.of({"cpu_cores": 1.5, "memory_gib": 4, **(knobs or {})}),
        footprint=Footprint(),
        term="on_demand",
        model=ModelRef(name="resnet50", path="resnet50.onnx", digest=DIGEST),
        expires_at=EXPIRES_AT,
    )
    return replace(trial, **changes)


def work(options: ClusterOptions, trial: ServedTrial, *, run: int = 1) -> LoadWork:
    master, worker = load_commands(options, trial.id, run=run, target="10.244.0.7:8000", wait_s=1200.0)
    return LoadWork(
        trial=trial.id,
        run=run,
        master=master,
        worker=worker,
        plan='{"rate_rps":100}',
        deadline_s=90.5,
        expires_at=EXPIRES_AT,
        environment=(("SERVETUNE_LOAD_SECRET", "a secret of this run's own"),),
    )


NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


def ago(seconds: float) -> str:
    """A time so many seconds before NOW, as the API writes it."""
    return (NOW - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def expectation(**changes: Any) -> Expectation:
    return replace(Expectation(created_at=NOW - timedelta(seconds=30), container="server"), **changes)


def condition(kind: str, status: str = "True", reason: str = "", message: str = "", since_s: float = 20) -> Any:
    stated = {"type": kind, "status": status, "lastTransitionTime": ago(since_s)}
    return stated | ({"reason": reason} if reason else {}) | ({"message": message} if message else {})


def container_status(name: str = "server", *, restarts: int = 0, ready: bool = False, **states: Any) -> Any:
    return {
        "name": name,
        "image": IMAGE,
        "imageID": IMAGE,
        "containerID": f"containerd://{name}-{restarts}",
        "ready": ready,
        "started": ready,
        "restartCount": restarts,
        "state": states.get("state", {"waiting": {"reason": "ContainerCreating"}}),
        "lastState": states.get("last", {}),
    }


def a_pod(*, phase: str = "Pending", node: str = "node0", **changes: Any) -> Any:
    """A scheduled pod of a trial's server that nothing has happened to yet."""
    status: dict[str, Any] = {
        "phase": phase,
        "podIP": "10.244.0.7",
        "qosClass": "Guaranteed",
        "conditions": changes.get("conditions", [condition("PodScheduled")]),
        "containerStatuses": changes.get("containers", [container_status()]),
    }
    if "init" in changes:
        status["initContainerStatuses"] = changes["init"]
    limits = {"cpu": "1500m", "memory": "4Gi", **changes.get("limits", {})}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "st-resnet-12-1-server-6c8d-xk2lp",
            "uid": "4f1c",
            "creationTimestamp": ago(25),
            "labels": {"servetune/role": "server"},
            **changes.get("metadata", {}),
        },
        "spec": {
            **({"nodeName": node} if node else {}),
            "containers": [{"name": "server", "resources": {"limits": limits, "requests": limits}}],
            **changes.get("spec", {}),
        },
        "status": status | changes.get("status", {}),
    }


def a_node(name: str = "node0", *, labels: dict[str, str] | None = None, ready: str = "True", **amounts: str) -> Any:
    allocatable = {"cpu": "8", "memory": "32Gi", "pods": "110"} | {k.replace("__", "/"): v for k, v in amounts.items()}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
        "status": {"allocatable": allocatable, "conditions": [condition("Ready", ready)]},
    }


def a_deployment(*conditions: Any) -> Any:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "st-resnet-12-1-server"},
        "status": {"observedGeneration": 1, "unavailableReplicas": 1, "conditions": list(conditions)},
    }


def waiting(reason: str, message: str = "", name: str = "server") -> Any:
    return container_status(name, state={"waiting": {"reason": reason, "message": message}})


def ended(reason: str, code: int, *, restarts: int = 0) -> Any:
    terminated = {"terminated": {"reason": reason, "exitCode": code, "finishedAt": ago(1)}}
    if restarts:
        back_off = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"}}
        return container_status(restarts=restarts, state=back_off, last=terminated)
    return container_status(state=terminated)


def running(since_s: float, *, ready: bool = False, restarts: int = 0) -> Any:
    return container_status(ready=ready, restarts=restarts, state={"running": {"startedAt": ago(since_s)}})


def ready_pod(**changes: Any) -> Any:
    conditions = [condition("PodScheduled"), condition("Ready")]
    containers = [running(15, ready=True, restarts=changes.pop("restarts", 0))]
    return a_pod(phase="Running", conditions=changes.pop("conditions", conditions), containers=containers, **changes)
