"""Exported files on a real API server: a server-side dry run of each, and the real merge of the patches.

KServe's, Seldon's, KubeDL's and KEDA's kinds are not served here: they are checked against schemas only (tests/golden).
"""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest

from tests.cluster.control_plane import ControlPlane
from tests.clusters import BASE
from tests.golden.test_exports import CASES, objects_of

pytestmark = pytest.mark.cluster

PLURALS = {
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "Service": "/api/v1/namespaces/{}/services",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "HorizontalPodAutoscaler": "/apis/autoscaling/{version}/namespaces/{}/horizontalpodautoscalers",
}
# Claims of devices are of Kubernetes 1.34 and later: an older server drops them without a word.
SERVED = [case for case, (kind, _) in CASES.items() if kind in {"manifests", "hpa"} and "claimed" not in case]


def moved(one: dict[str, Any], namespace: str) -> dict[str, Any]:
    return {**one, "metadata": {**one["metadata"], "namespace": namespace}}


def path_of(plane: ControlPlane, one: dict[str, Any], namespace: str) -> str:
    """Where a kind is served. Before Kubernetes 1.23 autoscaling/v2 was called v2beta2, field for field the same."""
    served = [version["version"] for version in plane.admin.get("/apis/autoscaling")["versions"]]
    version = "v2" if "v2" in served else "v2beta2"
    if one["kind"] == "HorizontalPodAutoscaler":
        one["apiVersion"] = f"autoscaling/{version}"
    return PLURALS[one["kind"]].format(namespace, version=version)


@pytest.mark.parametrize("case", SERVED)
def test_the_api_server_takes_every_plain_object(plane: ControlPlane, namespace: str, case: str):
    objects = objects_of(case)
    assert objects
    for one in objects:
        ours = moved(one, namespace)
        path = path_of(plane, ours, namespace)
        taken = plane.admin.post(f"{path}?dryRun=All&fieldManager=test", ours)
        assert kept(ours["spec"] if "spec" in ours else ours["data"], taken.get("spec", taken.get("data"))) == []


def kept(ours: Any, theirs: Any, path: str = "") -> list[str]:
    """What the server dropped of what we wrote: fields it does not know are lost without a word."""
    if isinstance(ours, dict):
        found = theirs if isinstance(theirs, dict) else {}
        return [lost for key, value in ours.items() for lost in kept(value, found.get(key), f"{path}.{key}")]
    if isinstance(ours, list):
        found = theirs if isinstance(theirs, list) else []
        missing = [f"{path}[{len(found)}]"] if len(found) < len(ours) else []
        return missing + [
            lost for k, one in enumerate(ours[: len(found)]) for lost in kept(one, found[k], f"{path}[{k}]")
        ]
    return [path] if theirs is None and ours not in ("", {}, [], 0, False) else []


def test_the_patch_is_merged_into_a_teams_own_deployment(plane: ControlPlane, namespace: str):
    own = moved(deepcopy(BASE), namespace)
    own["metadata"]["name"] = "resnet50"
    del own["spec"]["template"]["spec"]["nodeName"]
    own["spec"]["template"]["spec"]["containers"][1]["resources"]["limits"]["nvidia.com/mig-1g.5gb"] = "1"
    deployments = PLURALS["Deployment"].format(namespace)
    plane.admin.post(deployments, own)
    (patch,) = objects_of("kustomize_of_a_template.yaml")
    del patch["metadata"]["namespace"]
    limits = patch["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    limits["nvidia.com/mig-1g.5gb"] = None
    merged = plane.admin.call(
        "PATCH",
        f"{deployments}/resnet50?dryRun=All",
        patch,
        "application/strategic-merge-patch+json",
    )
    pod = merged["spec"]["template"]["spec"]
    proxy, server = sorted(pod["containers"], key=lambda one: one["name"])
    assert (merged["spec"]["replicas"], proxy["image"]) == (3, "registry.example/envoy:1.30")
    assert server["args"] == ["tritonserver", "--model-repository=/m", "--http-thread-count=16"]
    assert server["image"] == "registry.example/triton:26.09"
    assert {one["name"]: one.get("value") for one in server["env"]} == {"OMP_NUM_THREADS": "2", "TOKEN": None}
    assert server["resources"]["limits"] == {
        "cpu": "2",
        "memory": "6Gi",
        "ephemeral-storage": "4Gi",
        "nvidia.com/gpu": "1",
    }
    assert server["livenessProbe"]["httpGet"]["path"] == "/v2/health/live"
    assert [one["key"] for one in pod["tolerations"]] == ["dedicated", "nvidia.com/gpu"]
    assert json.dumps(pod["affinity"]).count("Tesla-T4") == 2
