"""Deployments as an API server returns them, for tests that start a study from one."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from tests.clusters import DIGEST

PULLED = f"docker-pullable://registry.example/triton@{DIGEST}"


NODE_NAME = {"apiVersion": "v1", "fieldPath": "spec.nodeName"}


def a_deployment(container: dict[str, Any] | None = None, pod: dict[str, Any] | None = None, **template: Any) -> Any:
    """With everything that Kubernetes fills in; the changes go into its server, its pod's spec and its metadata."""
    return deepcopy({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "resnet",
            "namespace": "serving",
            "uid": "7d2c",
            "resourceVersion": "4711",
            "generation": 3,
            "creationTimestamp": "2026-11-01T08:00:00Z",
            "annotations": {"deployment.kubernetes.io/revision": "3"},
            "managedFields": [{"manager": "kubectl", "operation": "Update"}],
        },
        "spec": {
            "replicas": 3,
            "revisionHistoryLimit": 10,
            "progressDeadlineSeconds": 600,
            "selector": {"matchLabels": {"app": "resnet"}},
            "template": {
                "metadata": {
                    "creationTimestamp": None,
                    "labels": {"app": "resnet", "tier": "vision", "team": "ml"},
                    "annotations": {
                        "kubectl.kubernetes.io/restartedAt": "2026-11-02T09:00:00Z",
                        "prometheus.io/scrape": "true",
                    },
                    **template,
                },
                "spec": {
                    "containers": [
                        {
                            "name": "proxy",
                            "image": "registry.example/envoy:1.30",
                            "imagePullPolicy": "IfNotPresent",
                            "ports": [{"name": "admin", "containerPort": 9901, "protocol": "TCP"}],
                            "resources": {},
                            "terminationMessagePath": "/dev/termination-log",
                            "terminationMessagePolicy": "File",
                        },
                        {
                            "name": "triton",
                            "image": "registry.example/triton:26.09",
                            "imagePullPolicy": "IfNotPresent",
                            "command": ["tritonserver"],
                            "args": ["--model-repository=/models", "--http-thread-count=4"],
                            "env": [
                                {"name": "OMP_NUM_THREADS", "value": "4"},
                                {"name": "NODE", "valueFrom": {"fieldRef": NODE_NAME}},
                                {"name": "API_TOKEN", "valueFrom": {"secretKeyRef": {"name": "store", "key": "token"}}},
                            ],
                            "ports": [
                                {"name": "http", "containerPort": 8000, "protocol": "TCP"},
                                {"name": "grpc", "containerPort": 8001, "protocol": "TCP"},
                            ],
                            "resources": {
                                "limits": {"cpu": "8", "memory": "16Gi", "nvidia.com/gpu": "1"},
                                "requests": {"cpu": "4", "memory": "12Gi", "nvidia.com/gpu": "1"},
                            },
                            "livenessProbe": probe("/v2/health/live", periodSeconds=30),
                            "readinessProbe": probe("/v2/models/resnet50/ready"),
                            "terminationMessagePath": "/dev/termination-log",
                            "terminationMessagePolicy": "File",
                            "volumeMounts": [{"name": "models", "mountPath": "/models", "readOnly": True}],
                            **(container or {}),
                        },
                    ],
                    "dnsPolicy": "ClusterFirst",
                    "nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB", "zone": "b"},
                    "restartPolicy": "Always",
                    "schedulerName": "default-scheduler",
                    "securityContext": {},
                    "serviceAccount": "resnet",
                    "serviceAccountName": "resnet",
                    "terminationGracePeriodSeconds": 30,
                    "tolerations": [{"key": "gpu", "operator": "Exists"}],
                    "volumes": [
                        {"name": "models", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}},
                        {"name": "settings", "configMap": {"name": "resnet", "defaultMode": 420}},
                    ],
                    **(pod or {}),
                },
            },
        },
        "status": {"replicas": 3, "readyReplicas": 3, "observedGeneration": 3},
    })  # fmt: skip


def probe(path: str, **settings: Any) -> dict[str, Any]:
    get = {"path": path, "port": 8000, "scheme": "HTTP"}
    defaults = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
    return {"httpGet": get, **defaults, **settings}


def its_pod(deployment: Any, image_id: str = PULLED, node: str = "node-7") -> Any:
    """A running one."""
    spec = deepcopy(deployment["spec"]["template"]["spec"]) | {"nodeName": node}
    statuses = [{"name": one["name"], "image": one["image"], "imageID": image_id} for one in spec["containers"]]
    return {"kind": "Pod", "spec": spec, "status": {"phase": "Running", "containerStatuses": statuses}}


def a_gpu_node(**labels: str) -> Any:
    """Labels by name, with __ for / and _ for -."""
    return {"kind": "Node", "metadata": {"name": "node-7", "labels": labels}}


def a_service(**selector: str) -> Any:
    return {"kind": "Service", "metadata": {"name": "s"}, "spec": {"selector": selector}}
