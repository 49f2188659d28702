"""From a study file to a StudySpec."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tuner.domain.errors import SpecError, UsageError
from tuner.domain.spec import StudySpec
from tuner.fingerprint import differing_part, fingerprint, prices_used
from tuner.spec_file import load_spec
from tuner.spec_template import study_template
from tuner.wire import spec_from_json, spec_to_json

EXAMPLES = Path(__file__).parents[2] / "examples"
STUDY = """
apiVersion: servetune/v1
kind: Study
metadata:
  name: tested
model:
  path: model.onnx
runner:
  kind: local
knobs:
  cpu_cores: [2, 0.5, 1]
load:
  arrivals: poisson
  target_rps: 100
  warmup_s: 1
  window_s: 10
slos:
  - indicator: latency_p99_ms
    max: 100
prices:
  book: prices.csv
  term: on_demand
budget:
  trials: 10
  wall_time_s: 600
"""
PRICES = """resource,sku,term,currency,price_per_hour,as_of,source
cpu_core,,on_demand,USD,0.03,2026-11-01,made up
cpu_core,,spot,USD,0.01,2026-11-01,made up
memory_gib,,on_demand,USD,0.004,2026-11-01,made up
gpu,T4,on_demand,USD,0.35,2026-11-01,made up
gpu,L4,on_demand,USD,0.56,2026-11-01,made up
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.onnx").write_bytes(b"weights")
    (tmp_path / "prices.csv").write_text(PRICES)
    return tmp_path


def load(folder: Path, text: str = STUDY, **changes: str) -> StudySpec:
    for old, new in changes.items():
        text = text.replace(old, new)
    (folder / "study.yaml").write_text(text)
    return load_spec(folder / "study.yaml")


def knobs(folder: Path, text: str) -> dict[str, tuple[object, ...]]:
    spec = load(folder, STUDY.replace("  cpu_cores: [2, 0.5, 1]", text))
    return {knob.name: knob.values for knob in spec.space.knobs}


def test_what_is_left_out_has_the_stated_defaults(folder: Path):
    spec = load(folder)
    assert (spec.headroom, spec.max_replicas) == (0.0, 8)
    assert (spec.confirm.repeats, spec.confirm.window_s) == (3, 20.0)
    assert (spec.search.optimizer, spec.search.seed) == ("structured", 0)
    assert (spec.budget.failed_trials, spec.runner.ready_timeout_s) == (3, 60.0)
    assert (spec.load.timeout_s, spec.load.payload.kind, spec.load.payload.count) == (None, "random", 16)
    assert spec.pricing.book.currency == "USD"
    assert spec.load.protocol == "kserve_http"


def test_load_may_go_over_grpc_which_makes_it_another_study(folder: Path):
    over_http = load(folder)
    over_grpc = load(folder, **{"  arrivals: poisson": "  arrivals: poisson\n  protocol: kserve_grpc"})
    assert over_grpc.load.protocol == "kserve_grpc"
    assert spec_from_json(spec_to_json(over_grpc)) == over_grpc
    assert differing_part(over_http, over_grpc) == "load"


def test_numbers_are_listed_ascending_and_texts_as_written(folder: Path):
    assert knobs(folder, "  cpu_cores: [2, 0.5, 1]\n  gpu_type: [T4, L4]\n  env.THREADS: ['8', '1']") == {
        "cpu_cores": (0.5, 1.0, 2.0),
        "gpu_type": ("T4", "L4"),
        "env.THREADS": ("8", "1"),
    }


def test_one_value_is_a_knob_that_is_not_tuned(folder: Path):
    assert knobs(folder, "  cpu_cores: 2\n  gpu_type: T4\n  arg.log-verbose: 1") == {
        "cpu_cores": (2.0,),
        "gpu_type": ("T4",),
        "arg.log-verbose": (1,),
    }


def test_the_order_of_keys_means_nothing(folder: Path):
    one = load(folder, STUDY.replace("[2, 0.5, 1]", "[1, 2]\n  instances: [1, 2]"))
    other = load(folder, STUDY.replace("cpu_cores: [2, 0.5, 1]", "instances: [2, 1]\n  cpu_cores: [2.0, 1.0]"))
    assert one == other
    assert one.fingerprint == other.fingerprint


def test_the_simulated_runner_needs_no_model(folder: Path):
    assert load(folder, STUDY.replace("model:\n  path: model.onnx\n", "").replace("local", "simulated")).model.name == (
        "tested"
    )
    assert load(
        folder, STUDY.replace("path: model.onnx", "name: virtual").replace("local", "simulated")
    ).model.name == ("virtual")


def test_runner_options_are_numbers_and_texts_in_order_of_their_names(folder: Path):
    spec = load(folder, STUDY.replace("kind: local", "kind: local\n  options: {b: x, a: 1, c: 0.5}"))
    assert spec.runner.options == (("a", 1), ("b", "x"), ("c", 0.5))


def test_the_footprint_is_what_no_knob_tunes(folder: Path):
    spec = load(folder, STUDY + "footprint: {memory_gib: 4, gpu_type: T4, gpu_memory_share: 0.5}\n")
    assert spec.pricing.unit_cost_per_hour(spec.space.at(0)) == pytest.approx(0.5 * 0.03 + 4 * 0.004 + 0.5 * 0.35)
    assert [price.resource for price in prices_used(spec.pricing, spec.space)] == ["cpu_core", "memory_gib", "gpu"]


def test_problems_of_the_study_and_of_its_book_come_together(folder: Path):
    (folder / "prices.csv").write_text(PRICES.replace("0.03", "free"))
    with pytest.raises(SpecError) as caught:
        load(folder, STUDY.replace("target_rps: 100", "target_rps: many"))
    assert [Path(problem.file).name for problem in caught.value.problems] == ["prices.csv", "study.yaml"]


def test_a_file_that_is_not_there_is_a_usage_error(tmp_path: Path):
    with pytest.raises(UsageError, match=r"cannot read .*absent\.yaml: No such file"):
        load_spec(tmp_path / "absent.yaml")


def test_the_prices_book_may_lie_elsewhere(folder: Path):
    inner = folder / "inner"
    inner.mkdir()
    shutil.copy(folder / "model.onnx", inner)
    (inner / "study.yaml").write_text(STUDY.replace("book: prices.csv", "book: ../prices.csv"))
    assert load_spec(inner / "study.yaml").pricing.book.price("cpu_core").price_per_hour == 0.03


SAME_TRIALS = {
    "name: tested": "name: renamed",
    "trials: 10": "trials: 99",
    "wall_time_s: 600": "wall_time_s: 6000",
}
OTHER_TRIALS = {
    "kind: local": ("kind: simulated", "runner"),
    "[2, 0.5, 1]": ("[2, 0.5]", "knobs"),
    "target_rps: 100": ("target_rps: 101", "load"),
    "max: 100": ("max: 99", "slos"),
    "term: on_demand": ("term: spot", "prices"),
    "budget:": ("headroom: 0.2\nbudget:", "headroom"),
    "prices:\n": ("replicas: {max: 2}\nprices:\n", "replicas"),
    "slos:": ("confirm: {repeats: 4}\nslos:", "confirm"),
    "load:": ("search: {seed: 1}\nload:", "search"),
    "runner:": ("footprint: {memory_gib: 1}\nrunner:", "footprint"),
}


@pytest.mark.parametrize("change", SAME_TRIALS)
def test_name_and_budget_leave_the_fingerprint(change: str, folder: Path):
    spec, other = load(folder), load(folder, **{change: SAME_TRIALS[change]})
    assert other.fingerprint == spec.fingerprint
    assert differing_part(spec, other) == ""


@pytest.mark.parametrize("change", OTHER_TRIALS)
def test_what_changes_trials_changes_the_fingerprint(change: str, folder: Path):
    text, part = OTHER_TRIALS[change]
    spec, other = load(folder), load(folder, **{change: text})
    assert other.fingerprint != spec.fingerprint
    assert differing_part(spec, other) == part


def test_the_model_is_its_bytes_and_not_its_place(folder: Path):
    spec = load(folder)
    (folder / "sub").mkdir()
    (folder / "sub" / "model.onnx").write_bytes(b"weights")
    assert load(folder, STUDY.replace("path: model.onnx", "path: sub/model.onnx")).fingerprint == spec.fingerprint
    (folder / "model.onnx").write_bytes(b"retrained")
    assert differing_part(spec, load(folder)) == "model"


def test_only_prices_in_use_count(folder: Path):
    spec = load(folder)
    (folder / "prices.csv").write_text(PRICES.replace("0.56", "0.99").replace("2026-11-01", "2026-11-02"))
    assert load(folder).fingerprint == spec.fingerprint
    (folder / "prices.csv").write_text(PRICES.replace("0.03", "0.04"))
    assert differing_part(spec, load(folder)) == "prices"


@pytest.mark.parametrize("example", ["quickstart", "simulated-gpu"])
def test_examples_load_and_survive_the_storage(example: str, tmp_path: Path):
    shutil.copytree(EXAMPLES / example, tmp_path / example)
    study = tmp_path / example / "study.yaml"
    if "path: cls.onnx" in study.read_text():
        (study.parent / "cls.onnx").write_bytes(b"weights")
    spec = load_spec(study)
    assert len(spec.space) >= (720 if example == "simulated-gpu" else 100)
    assert spec_from_json(spec_to_json(spec)) == spec
    assert fingerprint(replace(spec, fingerprint="")) == spec.fingerprint
    assert len(spec.fingerprint) == 64


def test_the_template_loads(folder: Path):
    assert load(folder, study_template()).name == "my-study"
