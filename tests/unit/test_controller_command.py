"""The hosted controller as `plan --controller` prints it: what it needs, what it may do, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from tests.clusters import BASE, DIGEST
from tests.unit.test_spec_cluster import a_section, a_study
from tests.unit.test_spec_cluster import load as load_study
from tuner.controller_command import ControllerRequest, hosted_objects
from tuner.domain.errors import UsageError
from tuner.domain.spec import StudySpec
from tuner.manifests.cluster.controller import MOST_BYTES, HostedController, StorageClaim, controller_objects
from tuner.plan_command import print_controller, print_manifests
from tuner.spec_file import load_spec
from tuner.yaml_text import parse_yaml, plain, to_yaml

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "kubernetes"
IMAGE = f"registry.example/servetune@{DIGEST}"
CLAIM = ControllerRequest(image=IMAGE, storage_claim="studies")
KNOBS = {"cpu_cores": [1, 2], "gpu_type": ["T4"]}


def study(folder: Path, **changes: Any) -> StudySpec:
    section = a_section() | {"base": {"file": "deploy.yaml", "container": "triton"}} | changes.pop("section", {})
    del section["image"], section["model"]
    (folder / "deploy.yaml").write_text(to_yaml(BASE))
    return load_study(folder, a_study(section, **{"knobs": KNOBS, **changes}))


def objects_of(text: str) -> list[Any]:
    return [plain(parse_yaml(one.encode(), "x").root) for one in text.split("---\n")[1:]]  # type: ignore[arg-type]


def test_the_study_and_what_it_names_go_with_it(tmp_path: Path):
    spec = study(tmp_path)
    found: Any = {one["kind"]: one for one in hosted_objects(spec, str(tmp_path / "study.yaml"), CLAIM)}
    assert sorted(found["ConfigMap"]["data"]) == ["deploy.yaml", "prices.csv", "study.yaml"]
    there = tmp_path / "there"
    there.mkdir()
    for name, text in found["ConfigMap"]["data"].items():
        (there / name).write_text(text)
    assert load_spec(there / "study.yaml").fingerprint == spec.fingerprint


def test_it_is_the_account_of_the_role_and_keeps_its_history(tmp_path: Path):
    found: Any = {one["kind"]: one for one in hosted_objects(study(tmp_path), str(tmp_path / "study.yaml"), CLAIM)}
    pod = found["Job"]["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == found["ServiceAccount"]["metadata"]["name"]
    assert found["RoleBinding"]["subjects"][0]["name"] == pod["serviceAccountName"]
    assert pod["volumes"][1]["persistentVolumeClaim"]["claimName"] == found["PersistentVolumeClaim"]["metadata"]["name"]
    mount = pod["containers"][0]["volumeMounts"][1]["mountPath"]
    assert pod["containers"][0]["env"] == [{"name": "SERVETUNE_STORAGE", "value": f"sqlite:///{mount}/studies.db"}]
    assert pod["terminationGracePeriodSeconds"] > study(tmp_path).runner.kubernetes.deadlines.teardown_s  # type: ignore[union-attr]


def test_its_trials_let_it_in(tmp_path: Path):
    spec = study(tmp_path)
    job: Any = hosted_objects(spec, str(tmp_path / "study.yaml"), CLAIM)[-1]
    labels = job["spec"]["template"]["metadata"]["labels"]
    policy = next(one for one in objects_of(print_manifests(spec, "-", ())) if one["kind"] == "NetworkPolicy")
    allowed = [peer["podSelector"]["matchLabels"] for peer in policy["spec"]["ingress"][0]["from"]]
    assert any(labels["servetune/role"] == one.get("servetune/role") for one in allowed)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (ControllerRequest(image=IMAGE), "has to be said, once"),
        (ControllerRequest(image=IMAGE, storage_secret="a", storage_claim="b"), "has to be said, once"),  # noqa: S106
        (ControllerRequest(image="servetune:latest", storage_claim="b"), "no image by digest"),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, request_: ControllerRequest, message: str):
    with pytest.raises(UsageError, match=message):
        hosted_objects(study(tmp_path), str(tmp_path / "study.yaml"), request_)


def test_a_study_by_name_a_model_beside_it_and_a_file_elsewhere_are_refused(tmp_path: Path):
    spec = study(tmp_path)
    with pytest.raises(UsageError, match="no study file"):
        hosted_objects(spec, "cards", CLAIM)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "deploy.yaml").write_text(to_yaml(BASE))
    elsewhere = study(tmp_path, section={"base": {"file": "other/deploy.yaml", "container": "triton"}})
    with pytest.raises(UsageError, match=r"other/deploy\.yaml is in another folder"):
        hosted_objects(elsewhere, str(tmp_path / "study.yaml"), CLAIM)
    (tmp_path / "m.onnx").write_bytes(b"x")
    with_model = study(tmp_path, model={"path": "m.onnx"})
    with pytest.raises(UsageError, match="ConfigMap is no place"):
        hosted_objects(with_model, str(tmp_path / "study.yaml"), CLAIM)


def test_files_that_no_configmap_holds_are_refused(tmp_path: Path):
    options = study(tmp_path).runner.kubernetes
    assert options is not None
    files = (("study.yaml", "x" * (MOST_BYTES + 1)),)
    controller = HostedController(study="x", image=IMAGE, files=files, storage=StorageClaim(name="c"))
    with pytest.raises(UsageError, match="too large"):
        controller_objects(options, controller)


def test_the_example_is_what_the_command_prints():
    spec = load_spec(EXAMPLE / "study.yaml")
    assert spec.runner.kubernetes is not None
    request = ControllerRequest(image=spec.runner.kubernetes.load.image, storage_secret="study-storage")  # noqa: S106
    printed = print_controller(spec, str(EXAMPLE / "study.yaml"), "-", request)
    assert (EXAMPLE / "controller.yaml").read_text() == printed + "\n"


@pytest.mark.parametrize("version", ["1.25", "1.31", kubernetes_validate.latest_version()])
def test_strict_schemas_accept_the_example(version: str):
    for one in objects_of((EXAMPLE / "controller.yaml").read_text()):
        kubernetes_validate.validate(one, version, strict=True)


def test_the_example_says_how_its_job_is_called():
    job = objects_of((EXAMPLE / "controller.yaml").read_text())[-1]
    assert job["kind"] == "Job"
    assert f"job/{job['metadata']['name']}" in (EXAMPLE / "README.md").read_text()
