"""A cluster runner for tests, its options, and a look at what a deployment occupies in the cluster."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any

from runners.kubernetes_api import open_api
from runners.kubernetes_lease import ClusterLease
from runners.kubernetes_runner import KubernetesRunner
from tests.cluster.addresses import loopback_address
from tests.cluster.kserve_pod import MODEL
from tests.cluster.rest import Rest
from tests.specs import a_spec
from tuner.clock import SystemClock
from tuner.domain.cluster import ClusterOptions, LoadPods, PhaseDeadlines
from tuner.domain.deployment import Deployment, ModelRef
from tuner.manifests.cluster.base_pod import base_pod

PORT = 18080
IMAGE = "localhost/servetune-test:1"
DEADLINES = PhaseDeadlines(schedule_s=120, pull_s=120, prepare_s=120, load_s=120, teardown_s=120)
"""What only a hang exceeds, on a machine however busy. A test about a deadline has a short one for it alone."""


def own_node(namespace: str) -> dict[str, str]:
    """The label of the node that is there for the tests of this namespace."""
    return {"servetune-test": namespace}


def template(address: str, port: int, **container: Any) -> dict[str, Any]:
    """A pod that serves at a port and address of its own; it leaves at once when told."""
    one = {
        "name": "server",
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "command": ["python3", "/kserve_pod.py", str(port), address],
        "ports": [{"name": "http", "containerPort": port}],
        **container,
    }
    return {"kind": "Pod", "spec": {"terminationGracePeriodSeconds": 1, "containers": [one]}}


def options(namespace: str, **changes: Any) -> ClusterOptions:
    """On the namespace's own node, at an address of its own: no other test, here or beside us, has the same."""
    address = loopback_address(namespace)
    settings: dict[str, Any] = {
        "namespace": namespace,
        "load": LoadPods(image=IMAGE, cpu_cores=0.25, memory_gib=0.5),
        "base": base_pod(template(address, changes.pop("port", PORT), **changes.pop("container", {}))),
        "network": "host",
        "host_address": address,
        "capacity_labels": (("on_demand", tuple(own_node(namespace).items())),),
        "deadlines": DEADLINES,
    }
    return ClusterOptions(**(settings | changes))


def cluster_runner(kubeconfig: Path, asked: ClusterOptions, lease: ClusterLease | None = None) -> KubernetesRunner:
    return KubernetesRunner(
        api=open_api(kubeconfig, patience_s=60),
        spec=a_spec(name="cluster test", model=ModelRef(name=MODEL, image=IMAGE, digest=IMAGE)),
        options=asked,
        config_pbtxt=lambda _configuration: "",
        clock=SystemClock(),
        lease=lease,
    )


def infer(deployment: Deployment) -> None:
    address = deployment.endpoint.removeprefix("http://")
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        body = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}
        connection.request("POST", f"/v2/models/{deployment.model_name}/infer", json.dumps(body))
        answer = connection.getresponse()
        assert answer.status == 200
        assert json.loads(answer.read())["outputs"]
    finally:
        connection.close()


def occupied(admin: Rest, namespace: str) -> list[str]:
    """Everything servetune made there, asked for without the runner's own code."""
    kinds = {
        "api/v1": ("pods", "services", "configmaps"),
        "apis/apps/v1": ("deployments", "replicasets"),
        "apis/batch/v1": ("jobs",),
        "apis/networking.k8s.io/v1": ("networkpolicies",),
    }
    ours = "labelSelector=app.kubernetes.io/managed-by=servetune"
    return [
        f"{kind} {one['metadata']['name']}"
        for group, listed in kinds.items()
        for kind in listed
        for one in admin.items(f"/{group}/namespaces/{namespace}/{kind}?{ours}")
    ]
