"""The init step that builds an engine, run by a real shell: once for equal content, and never half an engine."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from tests.clusters import cluster, served
from tuner.domain.cluster import EngineBuild
from tuner.manifests.cluster.server_pod import server_template

COUNTED = ("sh", "-c", 'echo built >> "$LOG"; cat "$MODEL_FOLDER"/* > "$ENGINE_FILE"')


def build(folder: Path, command: tuple[str, ...] = COUNTED) -> subprocess.CompletedProcess[str]:
    """As the pod would, with its folders below one of ours."""
    engine = EngineBuild(image="x", command=command, cache_claim="engines")
    template: Any = server_template(cluster(engine=engine), served({"gpu_type": "T4"}))
    step = template["spec"]["initContainers"][0]
    variables = {one["name"]: one.get("value", "pod-1").replace("$(POD_NAME)", "pod-1") for one in step["env"]}
    places = {name: value.replace("/engines", f"{folder}/engines") for name, value in variables.items()}
    places |= {"MODEL_FOLDER": f"{folder}/model", "LOG": f"{folder}/log", "PATH": "/usr/bin:/bin"}
    return subprocess.run(step["command"], env=places, capture_output=True, text=True, check=False)


def files(folder: Path) -> dict[str, str]:
    return {one.name: one.read_text() for one in (folder / "engines").rglob("*") if one.is_file()}


def model(folder: Path, text: str) -> None:
    (folder / "model").mkdir(exist_ok=True)
    (folder / "model" / "model.onnx").write_text(text)


def test_an_engine_is_built_once_for_the_same_model(tmp_path: Path):
    model(tmp_path, "weights")
    assert build(tmp_path).returncode == 0
    again = build(tmp_path)
    assert (again.returncode, again.stderr) == (0, "")
    assert "in the cache" in again.stdout
    assert (tmp_path / "log").read_text() == "built\n"
    assert files(tmp_path)["model.plan"] == "weights"


def test_another_model_at_the_same_place_is_built_anew(tmp_path: Path):
    model(tmp_path, "weights")
    build(tmp_path)
    model(tmp_path, "better weights")
    assert build(tmp_path).returncode == 0
    assert files(tmp_path)["model.plan"] == "better weights"
    assert (tmp_path / "log").read_text() == "built\nbuilt\n"


def test_a_build_that_fails_leaves_nothing_behind(tmp_path: Path):
    model(tmp_path, "weights")
    failed = build(tmp_path, ("sh", "-c", 'echo half > "$ENGINE_FILE"; exit 3'))
    assert failed.returncode == 3
    assert files(tmp_path) == {}


def test_a_build_that_writes_elsewhere_is_told(tmp_path: Path):
    model(tmp_path, "weights")
    failed = build(tmp_path, ("true",))
    assert failed.returncode == 1
    assert "did not write the file that ENGINE_FILE names" in failed.stderr
