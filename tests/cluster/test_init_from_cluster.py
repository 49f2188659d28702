"""`servetune init --from-cluster` on a real API server: what it fills in comes out again, what is wrong is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cluster.control_plane import ControlPlane
from tests.cluster.test_commands import servetune
from tests.deployments import a_deployment
from tuner.yaml_text import parse_yaml, plain

pytestmark = pytest.mark.cluster


def deploy(plane: ControlPlane, namespace: str, container: dict[str, Any] | None = None) -> Any:
    """As a user would: without what a server fills in. Returned as the server has it."""
    one = a_deployment(container)
    one["metadata"] = {"name": "resnet", "namespace": namespace}
    spec = one["spec"]["template"]["spec"]
    spec["containers"][1]["lifecycle"] = {"preStop": {"exec": {"command": ["sleep", "5"]}}}
    spec["volumes"] += [
        {"name": "host", "hostPath": {"path": "/data"}},
        {"name": "scratch", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}},
        {"name": "identity", "projected": {"sources": [{"serviceAccountToken": {"path": "t", "audience": "store"}}]}},
    ]
    spec["initContainers"] = [{"name": "warm", "image": "registry.example/warm:1", "command": ["true"]}]
    spec["topologySpreadConstraints"] = [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {}}
    ]
    del one["status"]
    plane.admin.post(f"/apis/apps/v1/namespaces/{namespace}/deployments", one)
    return plane.admin.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/resnet")


def init(plane: ControlPlane, namespace: str, study: Path, *more: str, who: str = "admin") -> tuple[int, str]:
    where = ("--kubeconfig", str(plane.kubeconfig(who)), "--namespace", namespace)
    return servetune("init", "--from-cluster", "deploy/resnet", *where, "-o", str(study), *more)


def test_a_deployment_becomes_a_study_that_can_be_planned_and_deploys_the_same_again(
    plane: ControlPlane, namespace: str, tmp_path: Path
):
    there = deploy(plane, namespace)
    code, said = init(plane, namespace, tmp_path / "study.yaml")
    assert code == 0, said
    assert said.count("wrote ") == 3
    code, said = servetune("plan", str(tmp_path / "study.yaml"))
    assert code == 0, said
    assert f"{namespace}-resnet: valid" in said

    document = parse_yaml((tmp_path / "study.template.yaml").read_bytes(), "template")
    assert document.root is not None
    written: Any = plain(document.root)
    assert "terminationMessagePath" not in (tmp_path / "study.template.yaml").read_text()
    again = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "again"},
        "spec": {"selector": {"matchLabels": {"team": "ml"}}, "template": written["template"]},
    }
    kept = plane.admin.post(f"/apis/apps/v1/namespaces/{namespace}/deployments?dryRun=All", again)
    was, now = there["spec"]["template"]["spec"], kept["spec"]["template"]["spec"]
    was["nodeSelector"].pop("nvidia.com/gpu.product")
    assert now == was
    assert kept["spec"]["template"]["metadata"]["labels"] == {"tier": "vision", "team": "ml"}
    after = plane.admin.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/resnet")
    assert after["metadata"]["generation"] == there["metadata"]["generation"] == 1


def test_its_trial_as_of_today_is_accepted(plane: ControlPlane, namespace: str, tmp_path: Path):
    deploy(plane, namespace)
    study = tmp_path / "study.yaml"
    assert init(plane, namespace, study)[0] == 0
    today = ("--set", "cpu_cores=4", "--set", "memory_gib=12", "--set", "arg.http-thread-count=4")
    code, said = servetune("plan", str(study), "--manifests", str(tmp_path / "out"), *today)
    assert code == 0, said
    one: Any = plain(parse_yaml((tmp_path / "out" / "02-deployment.yaml").read_bytes(), "x").root)  # type: ignore[arg-type]
    kept = plane.admin.post(f"/apis/apps/v1/namespaces/{namespace}/deployments?dryRun=All", one)
    server = kept["spec"]["template"]["spec"]["containers"][1]
    assert server["resources"]["limits"] == {"cpu": "4", "memory": "12Gi", "nvidia.com/gpu": "1"}
    assert "app" not in kept["spec"]["template"]["metadata"]["labels"]


def test_what_is_wrong_is_said_and_nothing_is_written(plane: ControlPlane, namespace: str, tmp_path: Path):
    study = tmp_path / "study.yaml"
    code, said = init(plane, namespace, study)
    assert (code, "has no Deployment resnet" in said) == (2, True)
    deploy(plane, namespace, {"env": [{"name": "STORE_PASSWORD", "value": "hunter2"}]})
    code, said = init(plane, namespace, study)
    assert (code, "triton: env STORE_PASSWORD" in said, "hunter2" in said) == (2, True, False)
    code, said = init(plane, namespace, study, who="nobody")
    assert (code, "you may not get deployments.apps there" in said) == (2, True)
    code, said = init(plane, namespace, study, "--context", "production")
    assert (code, "no cluster to talk to" in said) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_another_s_name_is_answered_with_those_that_are_there(plane: ControlPlane, namespace: str, tmp_path: Path):
    deploy(plane, namespace)
    where = ("--kubeconfig", str(plane.kubeconfig()), "--namespace", namespace)
    code, said = servetune("init", str(tmp_path / "s.yaml"), "--from-cluster", "deploy/resnett", *where)
    assert (code, "it has resnet" in said) == (2, True)
    code, said = servetune("init", str(tmp_path / "s.yaml"), "--from-cluster", "sts/resnet", *where)
    assert (code, "deploy/NAME" in said) == (2, True)
