"""`servetune export` as a user runs it, on a study that was really tuned (on the virtual clock)."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pandas as pd
import pytest

from tuner import cli
from tuner.yaml_text import parse_yaml

STUDY = """apiVersion: servetune/v1
kind: Study
metadata:
  name: exported
model:
  name: image-classifier
runner:
  kind: simulated
  options: {cpu_ms_per_item: 4}
knobs:
  cpu_cores: [1, 2]
  max_batch_size: [1, 8]
load:
  arrivals: {kind: diurnal, valley: 0.2}
  target_rps: 20
  warmup_s: 1
  window_s: 10
slos:
  - {indicator: latency_p99_ms, max: 400}
prices:
  book: prices.csv
  term: on_demand
headroom: 0.2
replicas: {max: 4}
footprint: {memory_gib: 8, gpu_type: T4}
confirm: {repeats: 3, window_s: 60}
budget: {trials: 6, wall_time_s: 7200}
search: {optimizer: grid, seed: 1}
"""
CLUSTER = """apiVersion: servetune/v1
kind: Study
metadata: {name: cluster}
model: {name: image-classifier, image: "registry.example/triton@sha256:DIGEST"}
runner:
  kind: kubernetes
  kubernetes:
    namespace: studies
    gpus: {T4: {labels: [Tesla-T4]}}
    load: {image: registry.example/servetune@sha256:DIGEST}
knobs: {cpu_cores: [1, 2]}
load: {arrivals: poisson, target_rps: 20, warmup_s: 1, window_s: 30, payload: {kind: random}}
slos: [{indicator: latency_p99_ms, max: 400}]
prices: {book: prices.csv, term: on_demand}
footprint: {memory_gib: 8, gpu_type: T4}
budget: {trials: 2, wall_time_s: 3600}
""".replace("DIGEST", "5e" * 32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tuned study, one that was never begun, and a cluster's."""
    path = tmp_path_factory.mktemp("exports")
    book = Path(__file__).parents[2] / "examples/simulated-gpu/prices.csv"
    (path / "prices.csv").write_text(book.read_text())
    (path / "study.yaml").write_text(STUDY)
    (path / "empty.yaml").write_text(STUDY.replace("name: exported", "name: empty"))
    (path / "cluster.yaml").write_text(CLUSTER)
    code = run("tune", str(path / "study.yaml"), "-q", "--storage", f"sqlite:///{path}/h.db")
    assert code == 0
    return path


def run(*argv: str) -> int:
    before, sys.argv = sys.argv, ["servetune", *argv]
    try:
        cli.main()
    except SystemExit as ended:
        return int(ended.code or 0)
    finally:
        sys.argv = before
    return 0


def export(folder: Path, kind: str, *argv: str, study: str = "study.yaml") -> int:
    return run("export", str(folder / study), "--storage", f"sqlite:///{folder}/h.db", "--format", kind, *argv)


def test_a_tuned_study_becomes_a_file(folder: Path, capsys: pytest.CaptureFixture[str]):
    target = folder / "answer.json"
    assert export(folder, "json", "-o", str(target)) == 0
    said = capsys.readouterr()
    assert said.out == f"wrote {target}\n"
    assert "note: everything was measured in simulation" in said.err
    document = json.loads(target.read_text())
    assert (document["status"], document["study"]) == ("proven", "exported")
    assert document["scaling"]["min_replicas"] <= document["scaling"]["max_replicas"] == document["replicas"]


def test_only_the_file_is_on_stdout_and_it_is_the_same_every_time(folder: Path, capsys: pytest.CaptureFixture[str]):
    def once() -> str:
        assert export(folder, "hpa", "--namespace", "serving") == 0
        return capsys.readouterr().out

    text = once()
    assert parse_yaml(text.encode(), "hpa").problems == ()
    assert once() == text


def test_parquet_and_csv_are_the_same_table(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert export(folder, "parquet", "-o", str(folder / "t.parquet")) == 0
    capsys.readouterr()
    assert export(folder, "csv") == 0
    typed, text = pd.read_parquet(folder / "t.parquet"), pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert list(typed.columns) == list(text.columns)
    assert len(typed) == len(text)


def test_a_binary_file_is_not_printed(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert export(folder, "parquet") == 2
    assert "--output" in capsys.readouterr().err


def test_a_simulated_study_is_deployed_on_the_cluster_that_another_study_describes(
    folder: Path, capsys: pytest.CaptureFixture[str]
):
    assert export(folder, "manifests", "--name", "classifier") == 2
    assert "--cluster" in capsys.readouterr().err
    assert export(folder, "manifests", "--name", "classifier", "--cluster", str(folder / "cluster.yaml")) == 0
    text = capsys.readouterr().out
    assert "Tesla-T4" in text
    assert "registry.example/triton@sha256:5e5e" in text


def test_what_has_no_answer_is_not_exported(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert export(folder, "json", study="empty.yaml") == 8
    assert "has no spec to deploy" in capsys.readouterr().err


def test_what_is_not_proven_is_exported_only_when_that_is_wanted(folder: Path, capsys: pytest.CaptureFixture[str]):
    # A limit right where its p99 is: no window of this length tells on which side.
    close = {
        "name: exported": "name: close",
        "max: 400": "max: 41",
        "{max: 4}": "{max: 1}",
        "valley: 0.2": "valley: 0.9",
    }
    text = STUDY.replace("[1, 2]", "[1]").replace("[1, 8]", "[8]")
    for old, new in close.items():
        text = text.replace(old, new)
    (folder / "close.yaml").write_text(text)
    assert run("tune", str(folder / "close.yaml"), "-q", "--storage", f"sqlite:///{folder}/h.db") == 4
    capsys.readouterr()
    assert export(folder, "config-pbtxt", study="close.yaml") == 4
    said = capsys.readouterr()
    assert said.out == ""
    assert "--unproven" in said.err
    assert export(folder, "config-pbtxt", "--unproven", study="close.yaml") == 0
    assert "NOT PROVEN" in capsys.readouterr().out.splitlines()[0]


def test_own_files_are_merged_into(folder: Path, capsys: pytest.CaptureFixture[str]):
    (folder / "own.pbtxt").write_text('name: "m"\nplatform: "onnxruntime_onnx"\nmax_batch_size: 64\n')
    assert export(folder, "config-pbtxt", "--config", str(folder / "own.pbtxt")) == 0
    assert 'platform: "onnxruntime_onnx"' in capsys.readouterr().out
    (folder / "values.yaml").write_text("server: {replicas: 1}   # ours\n")
    (folder / "map.yaml").write_text("replicas: server.replicas\n")
    files = ("--values", str(folder / "values.yaml"), "--map", str(folder / "map.yaml"))
    assert export(folder, "helm-values", *files) == 0
    assert "}   # ours" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--map", "nothere.yaml"), "cannot read"),
        (("--config", "."), "is not a file"),
        (("--cluster", "study.yaml"), "has no runner.kubernetes section"),
    ],
)
def test_files_that_are_no_such_thing_are_refused(
    folder: Path, argv: tuple[str, str], message: str, capsys: pytest.CaptureFixture[str]
):
    assert export(folder, "manifests", argv[0], str(folder / argv[1])) == 2
    assert message in capsys.readouterr().err


def test_an_unknown_format_is_a_usage_error(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert export(folder, "docker-compose") == 2


def test_two_studies_side_by_side(folder: Path, capsys: pytest.CaptureFixture[str]):
    stricter = STUDY.replace("name: exported", "name: stricter").replace("target_rps: 20", "target_rps: 30")
    (folder / "stricter.yaml").write_text(stricter)
    storage = ("--storage", f"sqlite:///{folder}/h.db")
    assert run("tune", str(folder / "stricter.yaml"), "-q", *storage) == 0
    capsys.readouterr()
    assert run("diff", "exported", "stricter", *storage) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[0] == "exported -> stricter"
    assert "(+50%)" in next(line for line in text.splitlines() if "target_rps" in line)
    assert run("diff", "exported", "stricter", "--json", *storage) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["asked"] == [{"name": "target_rps", "before": 20.0, "after": 30.0, "change": 0.5}]
    assert document["money"]["from_prices"] == 0.0


def test_a_study_without_an_answer_has_no_difference(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert run("diff", "exported", str(folder / "empty.yaml"), "--storage", f"sqlite:///{folder}/h.db") == 8
    assert "has no spec to deploy" in capsys.readouterr().err


@pytest.fixture(scope="module")
def lock(folder: Path) -> str:
    """The lock file of the tuned study."""
    path = folder / "serving-baseline.lock.json"
    storage = ("--storage", f"sqlite:///{folder}/h.db")
    assert run("baseline", "update", "exported", "--reason", "first", "--lock", str(path), *storage) == 0
    return str(path)


def test_a_lock_file_is_exported_as_the_study_it_is_of(folder: Path, lock: str, capsys: pytest.CaptureFixture[str]):
    assert run("export", lock, "-f", "json") == 0
    locked = json.loads(capsys.readouterr().out)
    assert export(folder, "json") == 0
    studied = json.loads(capsys.readouterr().out)
    for same in (
        "configuration",
        "replicas",
        "hourly_cost",
        "currency",
        "slos",
        "required_rps",
        "prices",
        "deployments",
    ):
        assert locked[same] == studied[same], same
    assert locked["model"]["name"] == studied["model"]["name"]
    assert (locked["status"], locked["trials"], locked["cold_start_s"]) == ("proven", None, None)
    assert any("a lock file does not keep the load's shape" in note for note in locked["notes"])


def test_a_lock_file_keeps_no_trials(lock: str, capsys: pytest.CaptureFixture[str]):
    assert run("export", lock, "-f", "csv") == 2
    assert "export the study" in capsys.readouterr().err


def test_a_lock_file_beside_a_study_costs_the_same(folder: Path, lock: str, capsys: pytest.CaptureFixture[str]):
    assert run("diff", lock, "exported", "--json", "--storage", f"sqlite:///{folder}/h.db") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["money"]["change"] == pytest.approx(0.0)
    assert all(knob["before"] == knob["after"] for knob in document["knobs"])


def test_a_damaged_lock_file_has_its_exit_code(folder: Path, lock: str, capsys: pytest.CaptureFixture[str]):
    broken = folder / "broken.lock.json"
    broken.write_text(Path(lock).read_text().replace('"replicas": ', '"replicas": 1'))
    assert run("export", str(broken), "-f", "json") == 6
    assert run("diff", str(broken), lock) == 6
    assert "was changed by hand" in capsys.readouterr().err
