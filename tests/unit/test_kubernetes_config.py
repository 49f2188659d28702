"""A cluster study's config.pbtxt: the user's own with the knobs written in, and nothing else changed."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from runners.kubernetes_config import config_text
from tests.specs import a_spec
from tuner.domain.deployment import ModelRef
from tuner.domain.errors import UsageError
from tuner.domain.space import Configuration

OWN = """
name: "resnet"
platform: "tensorrt_plan"
max_batch_size: 16
input [ { name: "x" data_type: TYPE_FP32 dims: [ 3, 224, 224 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 1000 ] } ]
instance_group [ { kind: KIND_GPU count: 1 gpus: [ 0 ] } ]
model_warmup [ { name: "w" batch_size: 1 } ]
dynamic_batching { preferred_batch_size: [ 4, 16 ] }
"""


def not_asked() -> NoReturn:
    raise AssertionError("no server environment is needed for a repository")


def written(folder: Path, settings: dict[str, int | float | str]) -> str:
    (folder / "resnet").mkdir()
    (folder / "resnet" / "config.pbtxt").write_text(OWN)
    spec = a_spec(model=ModelRef(name="resnet", repository=str(folder)))
    return config_text(spec, not_asked)(Configuration.of(settings))


def parsed(text: str):
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def test_knobs_are_written_and_all_else_stands(tmp_path: Path):
    config = parsed(written(tmp_path, {"max_batch_size": 8, "queue_delay_ms": 2, "instances": 3, "cpu_cores": 2}))
    assert config.max_batch_size == 8
    assert config.dynamic_batching.max_queue_delay_microseconds == 2000
    assert list(config.dynamic_batching.preferred_batch_size) == [4]
    assert [(group.count, list(group.gpus)) for group in config.instance_group] == [(3, [0])]
    assert config.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_GPU
    assert config.platform == "tensorrt_plan"
    assert config.model_warmup[0].name == "w"


def test_untuned_means_untouched(tmp_path: Path):
    assert parsed(written(tmp_path, {"cpu_cores": 2})) == parsed(OWN)


def test_without_files_the_models_own_stands():
    spec = a_spec(model=ModelRef(name="resnet", image="registry.example/triton"))
    assert config_text(spec, not_asked)(Configuration.of({"cpu_cores": 1})) == ""


def test_a_repository_without_the_model_is_refused(tmp_path: Path):
    with pytest.raises(UsageError, match=r"resnet/config\.pbtxt cannot be read"):
        config_text(a_spec(model=ModelRef(name="resnet", repository=str(tmp_path))), not_asked)


def test_a_broken_file_is_refused(tmp_path: Path):
    (tmp_path / "resnet").mkdir()
    (tmp_path / "resnet" / "config.pbtxt").write_text("name: {")
    text = config_text(a_spec(model=ModelRef(name="resnet", repository=str(tmp_path))), not_asked)
    with pytest.raises(UsageError, match="cannot be read"):
        text(Configuration.of({"max_batch_size": 2}))
