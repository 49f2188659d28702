"""Study files as such: what is written is read back, what is broken never breaks the reader."""

from __future__ import annotations

import json
import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tuner.domain.errors import SpecError
from tuner.spec_file import load_spec
from tuner.spec_model import StudyFile
from tuner.spec_schema import study_schema
from tuner.spec_template import study_template
from tuner.yaml_text import parse_yaml, plain, to_yaml

VALIDATOR = Draft202012Validator(json.loads(study_schema()))

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
numbers = st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | numbers | texts
data = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=15
)

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
seconds = st.floats(0.001, 86_400) | st.integers(1, 86_400)


def distinct(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(values, min_size=1, max_size=5, unique=True) | values


knobs = st.fixed_dictionaries(
    {"cpu_cores": distinct(st.floats(0.01, 1024))},
    optional={
        "memory_gib": distinct(st.floats(0.1, 65_536)),
        "gpu_type": distinct(names),
        "gpu_memory_share": distinct(st.floats(0.01, 1)),
        "max_batch_size": distinct(st.integers(1, 65_536)),
        "queue_delay_ms": distinct(st.integers(0, 1000)),
        "preprocess": distinct(st.sampled_from(["in_server", "split"])),
        "env.OMP_NUM_THREADS": distinct(st.integers(-1000, 1000)),
        "arg.log-verbose": distinct(st.text("abc,:#'\"0 1", min_size=1, max_size=8)),
    },
)
indicators = st.sampled_from(["latency_p50_ms", "latency_p99_ms", "error_ratio"])
studies = st.fixed_dictionaries(
    {
        "apiVersion": st.just("servetune/v1"),
        "kind": st.just("Study"),
        "metadata": st.fixed_dictionaries({"name": names}),
        "runner": st.fixed_dictionaries(
            {"kind": st.sampled_from(["local", "simulated", "kubernetes"])},
            optional={"ready_timeout_s": seconds, "options": st.dictionaries(st.just("cpu_cv"), st.floats(0, 10))},
        ),
        "knobs": knobs,
        "load": st.fixed_dictionaries(
            {
                "arrivals": st.sampled_from(
                    ["poisson", "constant", "peak_valley", {"kind": "gamma", "burstiness": 4.0}]
                ),
                "target_rps": st.floats(0.01, 1_000_000),
                "warmup_s": st.floats(0, 3600),
                "window_s": seconds,
            },
            optional={
                "timeout_s": seconds,
                "payload": st.fixed_dictionaries({"kind": st.sampled_from(["image", "random"])}),
            },
        ),
        "slos": st.lists(
            st.fixed_dictionaries({"indicator": indicators, "max": st.floats(0.0001, 1e6)}), min_size=1, max_size=3
        ),
        "prices": st.fixed_dictionaries({"book": st.just("prices.csv"), "term": st.sampled_from(["spot", "owned"])}),
        "budget": st.fixed_dictionaries({"trials": st.integers(1, 1000), "wall_time_s": seconds}),
    },
    optional={
        "headroom": st.floats(0, 0.99),
        "replicas": st.fixed_dictionaries({"max": st.integers(1, 100)}),
        "search": st.fixed_dictionaries(
            {"optimizer": st.sampled_from(["tpe", "gp", "structured"]), "seed": st.integers(0, 99)}
        ),
    },
)


def read_back(text: str) -> Any:
    document = parse_yaml(text.encode(), "written.yaml")
    assert document.problems == ()
    assert document.root is not None
    return plain(document.root)


@given(data)
@example("no")
@example("\x85\u2028\ufeff")
@example({"1": -0.0})
def test_what_is_written_is_read_back(value: Any):
    back = read_back(to_yaml(value))
    assert back == value
    assert type(back) is type(value)


@given(texts)
def test_a_reader_of_yaml_1_1_reads_the_same_text(text: str):
    assert yaml.safe_load(to_yaml({"key": text})) == {"key": text}


@given(studies)
@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_a_study_survives_its_file_and_fits_the_schema(study: dict[str, Any]):
    file = StudyFile.model_validate(study)
    written = file.model_dump(mode="json", exclude_none=True)
    assert StudyFile.model_validate(read_back(to_yaml(written))) == file
    assert list(VALIDATOR.iter_errors(written)) == []


TEMPLATE = study_template()
PRICES = (
    "resource,sku,term,currency,price_per_hour,as_of,source\n"
    "cpu_core,,on_demand,USD,0.03,2026-11-01,made up\n"
    "gpu,T4,on_demand,USD,0.35,2026-11-01,made up\n"
)
scraps = st.sampled_from(
    ["", "\n", " ", "  ", "-", ":", ": ", "[", "]", "{", "}", ",", "#", "&a ", "*a", "!t ", "'", '"', "\t", "|", ">",
     "?", "---\n", "null", "~", ".nan", "1e999", "-1", "0", "true", "x" * 99, "\x00", "é", "%", "@", "..", "knobs:"]
)  # fmt: skip
edits = st.lists(st.tuples(st.integers(0, len(TEMPLATE)), st.integers(0, 40), scraps | texts), min_size=1, max_size=4)


@given(edits)
@settings(max_examples=150, deadline=None)
def test_a_spoilt_study_file_is_a_study_or_a_list_of_places(edits: list[tuple[int, int, str]]):
    text = TEMPLATE
    for at, length, scrap in edits:
        text = text[:at] + scrap + text[at + length :]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "study.yaml"
        path.write_bytes(text.encode())
        (path.parent / "model.onnx").write_bytes(b"x")
        (path.parent / "prices.csv").write_text(PRICES)
        try:
            spec = load_spec(path)
        except SpecError as error:
            refused = error.problems
        else:
            assert len(spec.space) >= 1
            assert math.isfinite(spec.required_rps)
            return
    assert refused
    assert all(problem.line >= 1 and problem.column >= 1 and problem.message for problem in refused)
