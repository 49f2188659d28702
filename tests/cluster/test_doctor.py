"""`servetune doctor STUDY.yaml` on a real control plane: what a study needs and the cluster has not, line by line."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runners.findings import Finding
from runners.kubernetes_api import open_api
from runners.kubernetes_doctor import all_images, examine, needs_of
from tests.cluster.control_plane import ControlPlane
from tests.cluster.fake_node import FakeNodes
from tests.cluster.fault_proxy import fault_proxy, kubeconfig_through
from tests.cluster.processes import await_true
from tests.cluster.test_commands import servetune
from tests.unit.test_spec_cluster import IMAGE, PRICES, a_section, a_study
from tuner.clock import SystemClock
from tuner.spec_file import load_spec
from tuner.yaml_text import to_yaml

pytestmark = pytest.mark.cluster
A100 = {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB"}
CLAIM = {"spec": {"accessModes": ["ReadOnlyMany"], "resources": {"requests": {"storage": "1Gi"}}}}


@pytest.fixture
def written(tmp_path: Path, namespace: str) -> Callable[..., Path]:
    """A study in the test's namespace: 1 or 2 cores beside an A100 or a T4."""

    def write(*, knobs: dict[str, Any] | None = None, **section: Any) -> Path:
        (tmp_path / "prices.csv").write_text(PRICES)
        asked = a_section() | {"namespace": namespace, "deadlines": {"schedule_s": 60.0}} | section
        study = a_study(asked, knobs=knobs or {"cpu_cores": [1, 2], "memory_gib": [4], "gpu_type": ["A100-40", "T4"]})
        (tmp_path / "study.yaml").write_text(to_yaml(study))
        return tmp_path / "study.yaml"

    return write


@pytest.fixture
def gpus(nodes: FakeNodes, namespace: str) -> Iterator[str]:
    """A node with two A100 cards."""
    name = f"gpu-{namespace}"
    nodes.add(name, labels=A100, **{"nvidia.com/gpu": "2"})
    yield name
    nodes.remove(name)


def findings(kubeconfig: Path, study: Path, **options: Any) -> dict[str, Finding]:
    spec = load_spec(study)
    assert spec.runner.kubernetes is not None
    needs = needs_of(spec, spec.runner.kubernetes)
    api = open_api(kubeconfig, patience_s=5)
    return {one.what: one for one in examine(api, spec.runner.kubernetes.namespace, needs, **options)}


def test_a_report_reads_well_and_names_what_is_missing(
    plane: ControlPlane, gpus: str, namespace: str, kubeconfig: Path, written: Callable[..., Path]
):
    code, said = servetune("doctor", str(written()), "--kubeconfig", str(kubeconfig))
    print(f"\n{said}")
    assert code == 7
    lines = said.splitlines()
    assert lines[0].startswith(f"ok           cluster {plane.host} (context servetune-test): Kubernetes v1.")
    assert f"ok           namespace {namespace}: it is there" in lines
    assert f"ok           GPU type A100-40: 1 of {len(plane.admin.items('/api/v1/nodes'))} nodes: {gpus}" in said
    assert "missing      GPU type T4: none of" in said
    assert "has nvidia.com/gpu.product=Tesla-T4; there is nvidia.com/gpu.product=NVIDIA-A100-SXM4-40GB" in said
    assert "missing      PersistentVolumeClaim models: there is none" in said
    assert f"not checked  image {IMAGE}: whether nodes can pull it is not tried" in said
    assert "kind: Role" not in said


def test_a_cluster_that_has_everything_is_well(
    plane: ControlPlane, gpus: str, namespace: str, kubeconfig: Path, written: Callable[..., Path]
):
    claim = {"metadata": {"name": "models"}, **CLAIM}
    plane.admin.post(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims", claim)
    study = written(knobs={"cpu_cores": [1, 2], "memory_gib": [4], "gpu_type": ["A100-40"]})
    code, said = servetune("doctor", str(study), "--kubeconfig", str(kubeconfig))
    assert code == 0, said
    assert "missing" not in said
    assert "ok           a trial's objects: the cluster would take them: ConfigMap, Deployment, Service" in said


def test_what_may_not_be_looked_at_is_not_called_missing(
    plane: ControlPlane, gpus: str, namespace: str, written: Callable[..., Path]
):
    code, said = servetune("doctor", str(written()), "--kubeconfig", str(plane.kubeconfig("nobody")))
    assert code == 7
    assert "not checked  GPU type T4: this identity may not look at nodes" in said
    assert "not checked  PersistentVolumeClaim models: this identity may not look at it" in said
    assert "missing      configmaps (the owner of a trial, its config.pbtxt): may not create" in said
    assert "networkpolicies" in said.split("kind: Role")[1]


def test_sizes_that_fit_no_node_are_told_apart_from_those_that_do(
    plane: ControlPlane, gpus: str, kubeconfig: Path, written: Callable[..., Path]
):
    study = written(knobs={"cpu_cores": [1, 64], "memory_gib": [4], "gpu_type": ["A100-40"]})
    found = [one for one in examine_all(kubeconfig, study) if one.what == "GPU type A100-40"]
    assert [(one.ok, one.needed) for one in found] == [(True, True), (False, False)]
    assert "1 of 2 sizes fit no node, the first: cpu_cores 64" in found[1].detail
    assert "nvidia.com/gpu 2 allocatable" in found[0].detail


def examine_all(kubeconfig: Path, study: Path) -> list[Finding]:
    spec = load_spec(study)
    assert spec.runner.kubernetes is not None
    return list(examine(open_api(kubeconfig), spec.runner.kubernetes.namespace, needs_of(spec, spec.runner.kubernetes)))


@pytest.mark.parametrize(
    ("hard", "needed", "words"),
    [
        ({"requests.cpu": "3"}, True, r"asks for requests.cpu 5, and the whole quota is 3"),
        ({"requests.nvidia.com/gpu": "0"}, True, r"requests.nvidia.com/gpu 1, and the whole quota is 0"),
        ({"pods": "3"}, True, r"asks for pods 4, and the whole quota is 3"),
    ],
)
def test_what_of_the_largest_trial_a_quota_does_not_hold_is_named(
    plane: ControlPlane,
    namespace: str,
    kubeconfig: Path,
    written: Callable[..., Path],
    *,
    hard: dict[str, str],
    needed: bool,
    words: str,
):
    path = f"/api/v1/namespaces/{namespace}/resourcequotas"
    plane.admin.post(path, {"metadata": {"name": "small"}, "spec": {"hard": hard}})
    await_true("the quota counts", lambda: "hard" in plane.admin.get(f"{path}/small").get("status", {}), deadline_s=60)
    found = findings(kubeconfig, written())["quota small"]
    assert (found.ok, found.needed) == (False, needed)
    assert words in found.detail


def test_a_namespace_that_is_not_there_is_missing(kubeconfig: Path, written: Callable[..., Path]):
    found = findings(kubeconfig, written(namespace="nowhere"))
    assert found["namespace nowhere"].ok is False
    assert found["namespace nowhere"].remedy == "kubectl create namespace nowhere"
    assert "not found" in found["a trial's objects"].detail


def test_claims_for_gpus_need_an_api_that_this_cluster_has_not(kubeconfig: Path, written: Callable[..., Path]):
    found = findings(kubeconfig, written(sharing={"scheme": "dra"}))["GPU claims"]
    assert found.ok is False
    assert "resource.k8s.io/v1" in found.detail


def test_a_cluster_that_is_away_is_one_line_and_the_rest_is_not_checked(
    plane: ControlPlane, written: Callable[..., Path]
):
    with fault_proxy(plane) as proxy:
        proxy.away.set()
        code, said = servetune("doctor", str(written()), "--kubeconfig", str(kubeconfig_through(proxy, plane)))
    assert code == 7
    assert said.startswith(f"missing      cluster {proxy.host}")
    assert "not checked  everything else" in said


def test_a_study_and_options_that_contradict_it_are_refused(written: Callable[..., Path], kubeconfig: Path):
    study = str(written())
    assert servetune("doctor", study, "--namespace", "other")[0] == 2
    assert servetune("doctor", study, "--runner", "local")[0] == 2
    assert servetune("doctor", "--pull-image")[0] == 2


def pull(kubeconfig: Path, study: Path, into: list[Finding]) -> None:
    found = findings(kubeconfig, study, pulling=SystemClock())
    into += [one for what, one in found.items() if what.startswith("image ")]


@pytest.mark.parametrize(
    ("state", "image_id", "ok"),
    [
        ({"terminated": {"exitCode": 0}}, "sha256:1", True),
        ({"terminated": {"exitCode": 128, "reason": "StartError"}}, "sha256:1", True),
        ({"waiting": {"reason": "ErrImagePull", "message": "unauthorized"}}, "", False),
    ],
)
def test_images_are_pulled_by_a_pod_only_when_asked_and_nothing_is_left(
    plane: ControlPlane,
    namespace: str,
    kubeconfig: Path,
    written: Callable[..., Path],
    *,
    state: dict[str, Any],
    image_id: str,
    ok: bool,
):
    """What a kubelet would say of the pod is said here."""
    study, told = written(), list[Finding]()
    pods = f"/api/v1/namespaces/{namespace}/pods"
    thread = threading.Thread(target=pull, args=(kubeconfig, study, told))
    thread.start()
    await_true("the pod is made", lambda: bool(plane.admin.items(pods)), deadline_s=120)
    pod = plane.admin.items(pods)[0]
    status = [
        {"name": one["name"], "image": one["image"], "imageID": image_id, "state": state, "ready": False}
        | {"restartCount": 0}
        for one in pod["spec"]["containers"]
    ]
    plane.admin.patch(f"{pods}/{pod['metadata']['name']}/status", {"status": {"containerStatuses": status}})
    await_true("the pod is told to go", lambda: gone(plane, pods), deadline_s=120)
    thread.join()
    spec = load_spec(study)
    assert spec.runner.kubernetes is not None
    assert [one.what for one in told] == [
        f"image {name}" for name in all_images(needs_of(spec, spec.runner.kubernetes))
    ]
    assert [one.ok for one in told] == [ok] * len(told)
    assert plane.admin.items(f"/apis/batch/v1/namespaces/{namespace}/jobs") == []


def gone(plane: ControlPlane, pods: str) -> bool:
    """As a kubelet lets go of a pod that was never placed: the API server has removed it already."""
    left = [one for one in plane.admin.items(pods) if "deletionTimestamp" in one["metadata"]]
    for one in left:
        plane.admin.delete(f"{pods}/{one['metadata']['name']}", gracePeriodSeconds=0)
    return not plane.admin.items(pods)
