"""The controller as a Job of the cluster: its objects are accepted, its account reaches the API, and it tunes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from kubernetes.config import incluster_config

from runners.kubernetes_api import ApiRefused, KubernetesApi, open_api
from runners.kubernetes_checks import check_access
from tests.cluster.addresses import loopback_address
from tests.cluster.binaries import missing_node
from tests.cluster.control_plane import ControlPlane
from tests.cluster.kserve_pod import MODEL
from tests.cluster.processes import await_true
from tests.cluster.project_image import image_layers, imported, missing_builder
from tests.cluster.real_node import real_node
from tests.cluster.runners import occupied, template
from tests.cluster.test_commands import servetune
from tests.cluster.test_whole_study import PRICES, SPIN
from tuner.manifests.cluster.comparison import dropped_fields
from tuner.yaml_text import parse_yaml, plain, to_yaml

pytestmark = pytest.mark.cluster

EXAMPLE = Path(__file__).parents[2] / "examples" / "kubernetes" / "controller.yaml"
FOLDERS = {
    "ServiceAccount": "api/v1/namespaces/{}/serviceaccounts",
    "ConfigMap": "api/v1/namespaces/{}/configmaps",
    "PersistentVolumeClaim": "api/v1/namespaces/{}/persistentvolumeclaims",
    "Role": "apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "RoleBinding": "apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
    "Job": "apis/batch/v1/namespaces/{}/jobs",
}
STUDY = """apiVersion: servetune/v1
kind: Study
metadata: {{name: hosted}}
model: {{name: {model}}}
runner:
  kind: kubernetes
  ready_timeout_s: 60
  kubernetes:
    namespace: {namespace}
    base: {{file: base.yaml}}
    network: host
    host_address: {address}
    load: {{image: {image}, cpu_cores: 0.5, memory_gib: 0.5}}
    capacity_labels: {{on_demand: {{kubernetes.io/hostname: {node}}}}}
knobs: {{cpu_cores: [0.1, 0.3]}}
footprint: {{memory_gib: 0.125}}
load: {{arrivals: constant, target_rps: 10, warmup_s: 1, window_s: 4, timeout_s: 5}}
slos: [{{indicator: latency_p95_ms, max: 2000}}]
prices: {{book: prices.csv, term: on_demand}}
replicas: {{max: 1}}
confirm: {{repeats: 1, window_s: 10}}
budget: {{trials: 2, wall_time_s: 300}}
search: {{optimizer: random, seed: 1}}
"""


def objects_of(text: str, namespace: str) -> list[Any]:
    found: list[Any] = [plain(parse_yaml(one.encode(), "x").root) for one in text.split("---\n")[1:]]  # type: ignore[arg-type]
    text = json.dumps(found).replace("servetune-studies", namespace)
    return json.loads(text)


def make(plane: ControlPlane, one: Any, *, dry_run: bool = False) -> Any:
    folder = FOLDERS[one["kind"]].format(one["metadata"]["namespace"])
    return plane.admin.post(f"/{folder}{'?dryRun=All' if dry_run else ''}", one)


def test_a_real_api_server_takes_the_example_whole(plane: ControlPlane, namespace: str):
    lost = {}
    for one in objects_of(EXAMPLE.read_text(), namespace):
        lost[one["kind"]] = dropped_fields(one, make(plane, one, dry_run=True))
    # Kubernetes 1.20 is older than it, and knows nothing else of it either.
    assert lost.pop("Job") == ("spec.podFailurePolicy",)
    assert set(lost.values()) == {()}


@pytest.fixture
def inside(plane: ControlPlane, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As kubelet lays a pod's account out, whose rights the example gives: the folder with its token."""
    for one in objects_of(EXAMPLE.read_text(), namespace):
        if one["kind"] in {"ServiceAccount", "Role", "RoleBinding"}:
            make(plane, one)
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "ca.crt").write_bytes((plane.folder / "ca.crt").read_bytes())
    write_token(plane, namespace, tmp_path)
    for name in ("token", "ca.crt"):
        (tmp_path / name).symlink_to(Path("..data") / name)
    address = urlsplit(plane.host)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", str(address.hostname))
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(address.port))
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
    return tmp_path


def write_token(plane: ControlPlane, namespace: str, folder: Path) -> str:
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/servetune/token"
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}}
    token = plane.admin.post(path, request)["status"]["token"]
    (folder / "..data" / "token").write_text(token)
    return token


def has_its_rights(api: KubernetesApi, namespace: str) -> bool:
    return all(one.ok for one in check_access(api, namespace) if one.needed)


def test_the_account_reaches_the_cluster_it_runs_in_with_exactly_its_rights(
    plane: ControlPlane, namespace: str, inside: Path
):
    api = open_api(None)
    await_true("the role holds", lambda: has_its_rights(api, namespace), deadline_s=60)
    assert api.context == "in-cluster"
    assert api.authority
    with pytest.raises(ApiRefused) as refused:
        api.get(f"/api/v1/namespaces/{namespace}/secrets")
    assert refused.value.status == 403


def test_a_token_that_kubelet_renews_is_read_again(
    plane: ControlPlane, namespace: str, inside: Path, monkeypatch: pytest.MonkeyPatch
):
    api = open_api(None)
    await_true("the role holds", lambda: has_its_rights(api, namespace), deadline_s=60)
    # Every token of the account so far dies with it; the new account of the same name has another identity.
    account = f"/api/v1/namespaces/{namespace}/serviceaccounts/servetune"
    plane.admin.delete(account)
    make(plane, {"kind": "ServiceAccount", "metadata": {"name": "servetune", "namespace": namespace}})
    pods = f"/api/v1/namespaces/{namespace}/pods"

    def refused() -> bool:
        try:
            api.list(pods)
        except ApiRefused as answer:
            return answer.status == 401
        return False

    await_true("the old token is refused", refused, deadline_s=60)
    write_token(plane, namespace, inside)
    later = SimpleNamespace(now=lambda: datetime.now() + timedelta(minutes=2))  # noqa: DTZ005 - as the library does
    monkeypatch.setattr(incluster_config, "datetime", SimpleNamespace(datetime=later, timedelta=timedelta))
    await_true("the new token is taken", lambda: not refused(), deadline_s=60)
    assert api.list(pods).items == ()


@pytest.fixture(scope="module")
def real(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A node's name, and the project's image on it."""
    missing = missing_node() or missing_builder()
    if missing:
        pytest.skip(missing)
    layers = image_layers(SPIN)
    folder = tmp_path_factory.mktemp("node")
    with real_node(plane, folder) as name:
        yield name, imported(folder / "c.sock", layers)


@pytest.mark.timeout(600)
def test_a_study_is_tuned_inside_the_cluster_to_its_end(
    plane: ControlPlane, real: tuple[str, str], namespace: str, tmp_path: Path
):
    node, image = real
    address = loopback_address(namespace)
    (tmp_path / "prices.csv").write_text(PRICES)
    (tmp_path / "base.yaml").write_text(to_yaml(template(address, 18080, env=[{"name": "WORK_MS", "value": "2"}])))
    where = {"namespace": namespace, "node": node, "image": image, "address": address, "model": MODEL}
    (tmp_path / "study.yaml").write_text(STUDY.format(**where))
    printed = ("--manifests", "-", "--controller", image, "--storage-claim", "studies")
    code, said = servetune("plan", str(tmp_path / "study.yaml"), *printed)
    assert code == 0, said
    keep_storage(plane, namespace, tmp_path / "kept")
    for one in objects_of(said, namespace):
        make(plane, reaching(plane, one) if one["kind"] == "Job" else one)
    jobs, pods = f"/apis/batch/v1/namespaces/{namespace}/jobs", f"/api/v1/namespaces/{namespace}/pods"

    def controller() -> Any:
        return next(one for one in plane.admin.items(jobs) if one["metadata"]["name"].endswith("-controller"))

    try:
        await_true("the Job has ended", lambda: bool(controller()["status"].get("conditions")), deadline_s=330)
    finally:
        for pod in plane.admin.items(f"{pods}?labelSelector=servetune/role=controller"):
            print(plane.admin.call("GET", f"{pods}/{pod['metadata']['name']}/log")[-6000:])
    assert [one["type"] for one in controller()["status"]["conditions"]] == ["Complete"]
    left = [one for one in occupied(plane.admin, namespace) if "-controller" not in one]
    assert left == []
    storage = f"sqlite:///{tmp_path}/kept/studies.db"
    code, said = servetune("recommend", "hosted", "--storage", storage, "--json")
    assert (code, json.loads(said)["recommendation"]["verdict"]) == (0, "pass")


def keep_storage(plane: ControlPlane, namespace: str, folder: Path) -> None:
    """A volume for the claim: a folder of this machine that the controller's user may write to."""
    folder.mkdir()
    folder.chmod(0o777)
    for above in (folder.parent, folder.parent.parent, folder.parent.parent.parent):
        above.chmod(0o755)
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"studies-{namespace}"},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": str(folder)},
            "claimRef": {"namespace": namespace, "name": "studies"},
        },
    }
    plane.admin.post("/api/v1/persistentvolumes", volume)


def reaching(plane: ControlPlane, job: Any) -> Any:
    """No kube-proxy runs on this machine, so the API is not where its Service says."""
    address = urlsplit(plane.host)
    variables = {"KUBERNETES_SERVICE_HOST": str(address.hostname), "KUBERNETES_SERVICE_PORT": str(address.port)}
    container = job["spec"]["template"]["spec"]["containers"][0]
    container["env"] += [{"name": name, "value": value} for name, value in variables.items()]
    container["resources"] = {"limits": {"memory": "1Gi"}, "requests": {"memory": "1Gi"}}
    return job
