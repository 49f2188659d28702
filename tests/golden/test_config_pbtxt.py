"""Configurations as `config.pbtxt`: the text is golden, and Triton's own message type reads it.

After a wanted change: `uv run python -m tests.golden.test_config_pbtxt` rewrites the files; read the difference.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tuner.domain.deployment import TensorSpec
from tuner.domain.errors import InfeasibleConfiguration, UsageError
from tuner.domain.space import Configuration, KnobValue
from tuner.manifests.config_pbtxt import ModelSignature, Scheduling, render_config_pbtxt, scheduling

FOLDER = Path(__file__).parent / "config_pbtxt"

IMAGE = ModelSignature(
    inputs=(TensorSpec(name="x", datatype="FP32", shape=(3, -1, -1)),),
    outputs=(TensorSpec(name="save_infer_model/scale_0.tmp_1", datatype="FP32", shape=(2,)),),
    batched=True,
)
TEXT = ModelSignature(
    inputs=(
        TensorSpec(name='a "quoted" name', datatype="BYTES", shape=(1,)),
        TensorSpec(name="n", datatype="INT64", shape=(1, 1)),
    ),
    outputs=(TensorSpec(name="out", datatype="BOOL", shape=(1, 4)),),
    batched=False,
)
CASES: dict[str, tuple[ModelSignature, dict[str, KnobValue]]] = {
    "untuned": (IMAGE, {}),
    "batch_of_one": (IMAGE, {"cpu_cores": 0.5, "max_batch_size": 1}),
    "everything": (
        IMAGE,
        {
            "max_batch_size": 16,
            "queue_delay_ms": 2.5,
            "preferred_batch_size": 8,
            "queue_timeout_ms": 50,
            "priority_levels": 2,
            "instances": 2,
            "intra_op_threads": 2,
            "env.OMP_WAIT_POLICY": "PASSIVE",
        },
    ),
    "fixed_batch_dimension": (TEXT, {"instances": 3}),
}


def rendered(case: str) -> str:
    signature, knobs = CASES[case]
    configuration = Configuration.of(knobs)
    parameters = (("intra_op_threads", str(knobs.get("intra_op_threads", 1))),)
    return render_config_pbtxt("cls", signature, scheduling(configuration), backend="python", parameters=parameters)


def parsed(text: str):
    """Triton's own reading of the text."""
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    return text_format.Parse(text, model_config_pb2.ModelConfig())


@pytest.mark.parametrize("case", CASES)
def test_text_is_as_recorded(case: str):
    assert rendered(case) == (FOLDER / f"{case}.pbtxt").read_text()


@pytest.mark.parametrize("case", CASES)
def test_triton_reads_back_what_was_meant(case: str):
    signature, knobs = CASES[case]
    config = parsed(rendered(case))
    assert config.max_batch_size == (knobs.get("max_batch_size", 1) if signature.batched else 0)
    assert config.HasField("dynamic_batching") == signature.batched
    assert [group.count for group in config.instance_group] == [knobs.get("instances", 1)]
    assert [tensor.name for tensor in config.input] == [tensor.name for tensor in signature.inputs]
    assert [tuple(tensor.dims) for tensor in config.input] == [tensor.shape for tensor in signature.inputs]
    assert config.dynamic_batching.max_queue_delay_microseconds == round(knobs.get("queue_delay_ms", 0) * 1000)
    assert config.parameters["intra_op_threads"].string_value == str(knobs.get("intra_op_threads", 1))


def test_preferred_size_above_the_limit_is_infeasible():
    with pytest.raises(InfeasibleConfiguration, match="preferred_batch_size 8 is above max_batch_size 4"):
        scheduling(Configuration.of({"max_batch_size": 4, "preferred_batch_size": 8}))


@pytest.mark.parametrize(("knob", "value"), [("instances", 0), ("max_batch_size", 1.5), ("queue_delay_ms", -1)])
def test_values_without_meaning_are_refused(knob: str, value: float):
    with pytest.raises(UsageError, match=knob):
        scheduling(Configuration.of({knob: value}))


def test_batching_a_model_with_a_fixed_batch_dimension_is_refused():
    with pytest.raises(UsageError, match="fixed batch dimension"):
        render_config_pbtxt("cls", TEXT, Scheduling(max_batch_size=4), backend="python", parameters=())


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in CASES:
        (FOLDER / f"{name}.pbtxt").write_text(rendered(name))
