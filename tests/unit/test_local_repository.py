"""What an ONNX file or a ready repository becomes: signatures and patched configurations, no server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runners.local_knobs import refuse_unknown_knobs, unknown_knobs
from runners.local_repository import signature_from
from runners.triton_config_text import patch_config_pbtxt
from tuner.domain.deployment import TensorSpec
from tuner.domain.errors import UsageError
from tuner.domain.space import Configuration
from tuner.manifests.config_pbtxt import Scheduling
from tuner.manifests.server_command import command_arguments, environment_settings

ONNX_CONFIG = """
platform: "onnxruntime_onnx"
default_model_filename: "weights.onnx"
max_batch_size: 64
input { name: "x" data_type: TYPE_FP32 dims: [3, 48, 192] }
output { name: "y" data_type: TYPE_FP32 dims: [2] }
instance_group { kind: KIND_GPU count: 2 gpus: [0] }
dynamic_batching { preferred_batch_size: [4, 32] max_queue_delay_microseconds: 500 }
"""


def described(*shape: int | None, kind: str = "tensor(float)") -> dict[str, Any]:
    return {"inputs": [{"name": "x", "type": kind, "shape": list(shape)}], "outputs": []}


def read(text: str):
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    return text_format.Parse(text, model_config_pb2.ModelConfig())


def test_a_free_first_dimension_is_the_batch():
    signature = signature_from(described(None, 3, None), Path("m.onnx"))
    assert signature.batched
    assert signature.inputs == (TensorSpec(name="x", datatype="FP32", shape=(3, -1)),)


@pytest.mark.parametrize("shape", [(1, 3), ()])
def test_a_fixed_first_dimension_is_no_batch(shape: tuple[int, ...]):
    signature = signature_from(described(*shape), Path("m.onnx"))
    assert not signature.batched
    assert signature.inputs[0].shape == shape


def test_an_output_with_a_fixed_first_dimension_forbids_batching():
    both = {**described(None, 3), "outputs": described(1, 2)["inputs"]}
    assert not signature_from(both, Path("m.onnx")).batched


@pytest.mark.parametrize(
    ("kind", "datatype"), [("float16", "FP16"), ("int64", "INT64"), ("uint8", "UINT8"), ("string", "BYTES")]
)
def test_element_types_are_translated(kind: str, datatype: str):
    signature = signature_from(described(None, 1, kind=f"tensor({kind})"), Path("m.onnx"))
    assert signature.inputs[0].datatype == datatype


def test_what_triton_cannot_carry_is_refused():
    with pytest.raises(UsageError, match=r"seq\(tensor\(float\)\)"):
        signature_from(described(None, kind="seq(tensor(float))"), Path("m.onnx"))


def test_tuned_values_replace_those_of_a_ready_configuration_and_no_others():
    patched = patch_config_pbtxt(ONNX_CONFIG, Scheduling(max_batch_size=8, instances=3), intra_op_threads="2")
    config = read(patched.text)
    assert patched.needs_onnx_model
    assert (config.backend, config.platform) == ("python", "")
    assert config.parameters["model_file"].string_value == "weights.onnx"
    assert config.parameters["intra_op_threads"].string_value == "2"
    assert config.max_batch_size == 8
    assert list(config.dynamic_batching.preferred_batch_size) == [4]
    assert config.dynamic_batching.max_queue_delay_microseconds == 500
    assert [(group.kind, group.count) for group in config.instance_group] == [(2, 3)]


def test_a_python_model_keeps_its_own_model_py():
    patched = patch_config_pbtxt('backend: "python" max_batch_size: 4', Scheduling(), intra_op_threads="1")
    assert not patched.needs_onnx_model
    assert read(patched.text).max_batch_size == 4


def test_other_models_of_a_repository_are_only_moved_to_the_cpu():
    config = read(patch_config_pbtxt(ONNX_CONFIG, None, intra_op_threads="1").text)
    assert config.max_batch_size == 64
    assert [(group.kind, group.count) for group in config.instance_group] == [(2, 2)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('backend: "tensorrt"', "no backend 'tensorrt'"),
        ("max_batch_size: eight", "cannot be read"),
        ('backend: "onnxruntime"', "must list its inputs"),
        ('name: "m" backend: "python"', "does not batch"),
    ],
)
def test_a_configuration_that_cannot_be_served_here_is_refused(text: str, words: str):
    with pytest.raises(UsageError, match=words):
        patch_config_pbtxt(text, Scheduling(max_batch_size=4), intra_op_threads="1")


def test_knobs_that_turn_nothing_here_are_named():
    names = ["cpu_cores", "env.OMP_NUM_THREADS", "gpu_type", "arg.http-thread-count", "variant"]
    assert unknown_knobs(names) == ("gpu_type", "variant")
    with pytest.raises(UsageError, match="gpu_type, variant"):
        refuse_unknown_knobs(names)


def test_environment_and_argument_knobs_go_where_they_say():
    configuration = Configuration.of({"env.A": 1, "arg.b-c": "x", "cpu_cores": 2})
    assert environment_settings(configuration) == {"A": "1"}
    assert command_arguments(configuration) == ("--b-c=x",)
    with pytest.raises(UsageError, match=r"env\.A is set by the runner"):
        environment_settings(configuration, reserved=("A",))
