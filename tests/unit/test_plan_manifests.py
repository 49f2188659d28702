"""`servetune plan --manifests`: which configuration it shows, and that its text is what kubectl can read."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_spec_cluster import a_section, a_study
from tests.unit.test_spec_cluster import load as load_study
from tuner import cli
from tuner.domain.errors import UsageError
from tuner.domain.spec import StudySpec
from tuner.plan_command import print_manifests
from tuner.yaml_text import parse_yaml, plain

KNOBS = {"cpu_cores": [1, 2], "gpu_type": ["A100-40", "T4"]}


def study(folder: Path, **changes: Any) -> StudySpec:
    return load_study(folder, a_study(a_section(), **{"knobs": KNOBS, **changes}))


def documents(text: str) -> list[Any]:
    return [plain(parse_yaml(one.encode(), "x").root) for one in text.split("---\n")[1:]]  # type: ignore[arg-type]


def limits(objects: list[Any]) -> Any:
    deployment = next(one for one in objects if one["kind"] == "Deployment")
    return deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]


def test_without_a_choice_it_is_the_cheapest(tmp_path: Path):
    text = print_manifests(study(tmp_path), "-", ())
    assert text.startswith("# cards: cpu_cores=1 gpu_type=T4\n")
    objects = documents(text)
    assert [one["kind"] for one in objects] == ["ConfigMap", "Deployment", "Service", "NetworkPolicy"]
    assert limits(objects)["cpu"] == "1"


def test_settings_are_kept_and_the_rest_is_the_cheapest(tmp_path: Path):
    assert limits(documents(print_manifests(study(tmp_path), "-", ["cpu_cores=2.0"])))["cpu"] == "2"
    text = print_manifests(study(tmp_path), "-", ["gpu_type=A100-40"])
    assert "# cards: cpu_cores=1 gpu_type=A100-40\n" in text


def test_it_says_how_to_remove_what_it_shows_and_no_study_takes_it_for_its_own(tmp_path: Path):
    text = print_manifests(study(tmp_path), "-", ())
    removal = text.splitlines()[1]
    assert removal.startswith(
        "# To remove it: kubectl --namespace studies delete configmap,deployment,service,networkpolicy --selector "
    )
    selector = dict(pair.split("=") for pair in removal.rsplit(" ", 1)[1].split(","))
    for one in documents(text):
        assert selector.items() <= one["metadata"]["labels"].items()
        assert one["metadata"]["labels"]["servetune/study"] == "cards-by-hand"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("cores=1", "no such knob"),
        ("cpu_cores", "no such knob"),
        ("cpu_cores=3", "the study does not try that"),
        ("gpu_type=t4", "the study does not try that"),
    ],
)
def test_what_the_study_does_not_try_is_refused(tmp_path: Path, setting: str, message: str):
    with pytest.raises(UsageError, match=message):
        print_manifests(study(tmp_path), "-", [setting])


def test_what_triton_would_refuse_is_passed_over(tmp_path: Path):
    (tmp_path / "models" / "resnet50" / "1").mkdir(parents=True)
    (tmp_path / "models" / "resnet50" / "config.pbtxt").write_text('platform: "onnxruntime_onnx"\nmax_batch_size: 8\n')
    knobs = {"cpu_cores": [1, 2], "max_batch_size": [4, 8], "preferred_batch_size": [2, 8]}
    spec = study(tmp_path, knobs=knobs, model={"name": "resnet50", "repository": "models"})
    assert "max_batch_size=8 preferred_batch_size=8" in print_manifests(spec, "-", ["preferred_batch_size=8"])
    with pytest.raises(
        UsageError, match="no configuration with these settings can be deployed: preferred_batch_size 8"
    ):
        print_manifests(spec, "-", ["preferred_batch_size=8", "max_batch_size=4"])


def test_a_folder_gets_a_file_an_object_in_their_order(tmp_path: Path):
    said = print_manifests(study(tmp_path), str(tmp_path / "out"), ())
    names = sorted(one.name for one in (tmp_path / "out").iterdir())
    assert names == ["01-configmap.yaml", "02-deployment.yaml", "03-service.yaml", "04-networkpolicy.yaml"]
    assert len(said.splitlines()) == 4


def test_the_command_prints_nothing_but_manifests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    study(tmp_path)
    monkeypatch.setattr(sys, "argv", ["servetune", "plan", str(tmp_path / "study.yaml"), "--manifests", "-"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    assert len(documents(capsys.readouterr().out)) == 4


def test_a_choice_without_manifests_is_told(tmp_path: Path):
    with pytest.raises(UsageError, match="--set chooses among manifests"):
        print_manifests(study(tmp_path), "", ["cpu_cores=1"])


def test_another_runner_has_no_manifests(tmp_path: Path):
    local = a_study(None, runner={"kind": "simulated"}, knobs={"cpu_cores": [1]})
    with pytest.raises(UsageError, match="the study says nothing of its cluster"):
        print_manifests(load_study(tmp_path, local), "-", ())
