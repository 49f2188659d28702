"""The `kubernetes` section of a study file: what it becomes, and what is refused, each with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.clusters import BASE, DIGEST
from tests.specs import a_spec
from tuner.assemble import preflight
from tuner.domain.cluster import ModelBucket, ModelClaim, ModelImage
from tuner.domain.errors import SpecError, UsageError
from tuner.domain.spec import StudySpec
from tuner.fingerprint import _comparable, fingerprint
from tuner.spec_file import load_spec
from tuner.wire import spec_from_json, spec_to_json
from tuner.yaml_text import to_yaml

IMAGE = f"registry.example/triton@{DIGEST}"
PRICES = (
    "resource,sku,term,currency,price_per_hour,as_of,source\n"
    "cpu_core,,on_demand,USD,0.05,2026-11-01,test\n"
    "cpu_core,,spot,USD,0.02,2026-11-01,test\n"
    "memory_gib,,on_demand,USD,0.01,2026-11-01,test\n"
    "gpu,A100-40,on_demand,USD,3,2026-11-01,test\n"
    "gpu,T4,on_demand,USD,1,2026-11-01,test\n"
)


def a_section() -> dict[str, Any]:
    return {
        "namespace": "studies",
        "image": IMAGE,
        "load": {"image": IMAGE, "workers": 2, "node_labels": {"pool": "load"}},
        "model": {"claim": "models", "path": "resnet/1"},
        "gpus": {
            "A100-40": {"labels": ["NVIDIA-A100-SXM4-40GB"], "memory_mib": 40960},
            "T4": {"labels": ["Tesla-T4"]},
        },
    }


def a_study(section: dict[str, Any] | None, **changes: Any) -> dict[str, Any]:
    runner: dict[str, Any] = {"kind": "kubernetes", "ready_timeout_s": 120.0}
    study = {
        "apiVersion": "servetune/v1",
        "kind": "Study",
        "metadata": {"name": "cards"},
        "model": {"name": "resnet50"},
        "runner": runner if section is None else runner | {"kubernetes": section},
        "knobs": {"cpu_cores": [1, 2], "gpu_type": ["A100-40"], "max_batch_size": [1, 8]},
        "load": {"arrivals": "poisson", "target_rps": 100, "warmup_s": 1, "window_s": 10},
        "slos": [{"indicator": "latency_p99_ms", "max": 100}],
        "prices": {"book": "prices.csv", "term": "on_demand"},
        "budget": {"trials": 10, "wall_time_s": 600},
    }
    return study | changes


def load(folder: Path, study: dict[str, Any]) -> StudySpec:
    (folder / "prices.csv").write_text(PRICES)
    (folder / "study.yaml").write_text(to_yaml(study))
    return load_spec(folder / "study.yaml")


def options_of(folder: Path, section: dict[str, Any], **changes: Any) -> Any:
    return load(folder, a_study(section, **changes)).runner.kubernetes


def test_a_section_becomes_options(tmp_path: Path):
    options = options_of(tmp_path, a_section())
    assert options.namespace == "studies"
    assert options.image == IMAGE
    assert options.model == ModelClaim(claim="models", path="resnet/1")
    assert options.load.node_labels == (("pool", "load"),)
    assert options.gpu("A100-40").memory_mib == 40960
    assert options.deadlines.load_s == 120.0


def test_other_sources_of_the_model(tmp_path: Path):
    bucket = {"url": "s3://m", "image": IMAGE, "command": ["fetch"], "secret": "reader"}
    assert options_of(tmp_path, a_section() | {"model": bucket}).model == ModelBucket(
        url="s3://m",
        image=IMAGE,
        command=("fetch",),
        secret="reader",  # noqa: S106
    )
    image = {"image": IMAGE, "path": "/kubedl-model", "way": "copy"}
    expected = ModelImage(image=IMAGE, path="/kubedl-model", way="copy")
    assert options_of(tmp_path, a_section() | {"model": image}).model == expected


def test_the_study_survives_its_storage(tmp_path: Path):
    bucket = {"url": "s3://m", "image": IMAGE, "command": ["fetch"]}
    engine = {"image": IMAGE, "command": ["build"], "cache_claim": "engines"}
    spec = load(tmp_path, a_study(a_section() | {"model": bucket, "engine": engine}))
    assert spec_from_json(spec_to_json(spec)) == spec


def test_a_base_template_is_read(tmp_path: Path):
    section = a_section() | {"base": {"file": "deploy.yaml", "container": "triton"}}
    del section["image"], section["model"]
    (tmp_path / "deploy.yaml").write_text(to_yaml(BASE))
    options = options_of(tmp_path, section)
    assert options.base.container == "triton"
    assert '"proxy"' in options.base.template_json


@pytest.mark.parametrize("kind", ["Pod", "PodTemplate"])
def test_a_bare_template_is_not_found_by_any_service(tmp_path: Path, kind: str):
    """A Deployment says which labels are its service's; a pod does not."""
    pod = BASE["spec"]["template"] | {"metadata": {"name": "web-1", "labels": {"app": "web", "tier": "front"}}}
    manifest = {"apiVersion": "v1", "kind": kind} | (pod if kind == "Pod" else {"template": pod})
    (tmp_path / "pod.yaml").write_text(to_yaml(manifest))
    section = a_section() | {"base": {"file": "pod.yaml", "container": "triton"}}
    del section["image"], section["model"]
    assert "front" not in options_of(tmp_path, section).base.template_json


def test_a_proof_whose_result_no_log_holds_is_refused_at_once(tmp_path: Path):
    load_section = {"arrivals": "poisson", "target_rps": 9000, "warmup_s": 1, "window_s": 10}
    few = {"cpu_cores": [1], "gpu_type": ["T4"]}
    spec = load(tmp_path, a_study(a_section(), load=load_section, knobs=few, confirm={"window_s": 60}))
    with pytest.raises(UsageError, match=r"result of one run of load would have \d+ bytes"):
        preflight(spec)
    preflight(load(tmp_path, a_study(a_section(), knobs=few)))


def test_an_image_that_serves_may_be_the_study_s_model(tmp_path: Path):
    section = {key: value for key, value in a_section().items() if key not in {"image", "model"}}
    options = options_of(tmp_path, section, model={"name": "resnet50", "image": IMAGE})
    assert (options.image, options.model) == (IMAGE, None)


def test_the_section_is_part_of_what_makes_trials_comparable(tmp_path: Path):
    spec = load(tmp_path, a_study(a_section()))
    other = load(tmp_path, a_study(a_section() | {"image": IMAGE.replace("5e5e", "6f6f")}))
    assert fingerprint(spec) != fingerprint(other)


def test_studies_of_other_runners_keep_their_fingerprint():
    """Their trials are in storages already: a key of another runner must not part them from their study."""
    assert "kubernetes" not in _comparable(a_spec())["runner"]


SHARES = {"cpu_cores": [1], "gpu_type": ["T4", "A100-40"], "gpu_memory_share": [0.25, 0.375]}
REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "an image by tag": ({"image": "triton:26.09"}, {}, "by its digest"),
    "a namespace in capitals": ({"namespace": "Studies"}, {}, "lower-case letters, digits and '-'"),
    "an unknown scheme": ({"sharing": {"scheme": "hammi"}}, {}, "did you mean hami"),
    "replicas of whole cards": ({"sharing": {"replicas": 2}}, {}, "'whole' has no replicas"),
    "slices of time without replicas": ({"sharing": {"scheme": "time_slicing"}}, {}, "needs 'replicas'"),
    "KAI without a queue": ({"sharing": {"scheme": "kai"}}, {}, "'kai' needs 'queue'"),
    "a queue of MIG": ({"sharing": {"scheme": "mig_mixed", "queue": "q"}}, {}, "'mig_mixed' has no queue"),
    "no source of the model": ({"model": {"path": "x"}}, {}, "nothing says where the model is"),
    "a bucket that nobody reads": ({"model": {"url": "s3://m"}}, {}, "a model by url needs 'command'"),
    "a claim with a command": (
        {"model": {"claim": "m", "path": "x", "command": ["x"]}},
        {},
        "a model by claim has no 'command'",
    ),
    "two images": ({}, {"model": {"name": "x", "image": IMAGE}}, "image says already which image serves"),
    "an engine of nothing": (
        {"engine": {"image": IMAGE, "command": ["x"], "cache_claim": "c"}, "model": None},
        {},
        "nothing to build it from",
    ),
    "one's own labels without a name": ({"gpu_labels": "own"}, {}, "which label holds the GPU type"),
    "a type nobody labelled": ({"gpus": {"T4": {"labels": ["Tesla-T4"]}}}, {}, "gpus says nothing of A100-40"),
    "spot nodes without a label": ({}, {"prices": {"book": "prices.csv", "term": "spot"}}, "which nodes are spot"),
    "a share of a whole card": (
        {},
        {"knobs": {"cpu_cores": [1], "gpu_type": ["T4"], "gpu_memory_share": [0.5, 1]}},
        "0.5 of a T4 cannot be asked for: the scheme 'whole' gives whole cards only",
    ),
    "a share that MIG cannot cut": (
        {"sharing": {"scheme": "mig_mixed"}},
        {"knobs": {"cpu_cores": [1], "gpu_type": ["A100-40"], "gpu_memory_share": [0.25, 0.375]}},
        "MIG cannot cut 0.375 of a A100-40",
    ),
    "a card without MIG": ({"sharing": {"scheme": "mig_mixed"}}, {"knobs": SHARES}, "no MIG profiles are known for T4"),
    "memory nobody stated": (
        {"sharing": {"scheme": "volcano"}},
        {"knobs": {"cpu_cores": [1], "gpu_type": ["T4"], "gpu_memory_share": [0.5]}},
        "that of T4 is not stated",
    ),
    "part of a thousandth": ({}, {"knobs": {"cpu_cores": [0.0001, 1]}}, "no whole number of thousandths"),
    "a knob of another runner": ({}, {"knobs": {"cpu_cores": [1], "preprocess": ["split"]}}, "cannot set it"),
    "a template elsewhere": ({"image": None, "base": {"file": "../d.yaml"}}, {}, "leaves the study file's folder"),
    "a template that is not there": ({"image": None, "base": {"file": "d.yaml"}}, {}, "cannot read d.yaml"),
    "a template without the container": (
        {"image": None, "base": {"file": "deploy.yaml", "container": "x"}},
        {},
        "no container 'x'",
    ),
    "a template that is none": ({"image": None, "base": {"file": "prices.csv"}}, {}, "holds no manifest"),
}


@pytest.mark.parametrize("row", REFUSED)
def test_what_cannot_be_is_refused_with_its_place(row: str, tmp_path: Path):
    section, changes, message = REFUSED[row]
    changed = {key: value for key, value in (a_section() | section).items() if value is not None}
    (tmp_path / "deploy.yaml").write_text(to_yaml(BASE))
    with pytest.raises(SpecError) as caught:
        load(tmp_path, a_study(changed, **changes))
    assert message in str(caught.value)
    lines = (tmp_path / "study.yaml").read_text().split("\n")
    assert all(lines[problem.line - 1].strip() for problem in caught.value.problems)


def test_a_share_is_refused_where_it_stands(tmp_path: Path):
    knobs = {"cpu_cores": [1], "gpu_type": ["A100-40"], "gpu_memory_share": [0.25, 0.375]}
    with pytest.raises(SpecError) as caught:
        load(tmp_path, a_study(a_section() | {"sharing": {"scheme": "mig_mixed"}}, knobs=knobs))
    (problem,) = caught.value.problems
    assert (tmp_path / "study.yaml").read_text().split("\n")[problem.line - 1].strip() == "- 0.375"


def test_a_runner_without_its_section(tmp_path: Path):
    with pytest.raises(SpecError, match="missing key 'kubernetes'"):
        load(tmp_path, a_study(None))


def test_another_runner_has_no_such_section(tmp_path: Path):
    study = a_study(a_section())
    study["runner"]["kind"] = "simulated"
    with pytest.raises(SpecError, match="the runner 'simulated' uses no cluster"):
        load(tmp_path, study)
