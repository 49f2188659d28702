"""Patching a ready `config.pbtxt` through Triton's own message type: tritonclient's only door in this package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tuner.domain.errors import UsageError
from tuner.manifests.config_pbtxt import Scheduling

_ONNX_BACKENDS = ("onnxruntime", "onnxruntime_onnx")
_SERVED = ("python", *_ONNX_BACKENDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchedConfig:
    """`needs_onnx_model`: the model asked for Triton's ONNX backend, and our model.py must stand in for it."""

    text: str
    needs_onnx_model: bool


def patch_config_pbtxt(text: str, tuned: Scheduling | None, *, intra_op_threads: str) -> PatchedConfig:
    """The text with the tuned values in place of its own; what is not tuned stays as it is. Raises UsageError."""
    from google.protobuf import text_format

    config = _parsed(text)
    backend = config.backend or config.platform
    if backend not in _SERVED and backend != "ensemble":
        raise UsageError(
            f"the local server has no backend {backend!r}", hint=f"it serves {', '.join(_SERVED)}; or use a container"
        )
    needs_onnx_model = backend in _ONNX_BACKENDS
    if needs_onnx_model:
        _serve_by_python(config, intra_op_threads)
    if tuned is not None:
        _write(config, tuned)
    if backend != "ensemble":
        _on_cpu(config, tuned)
    return PatchedConfig(text=text_format.MessageToString(config), needs_onnx_model=needs_onnx_model)


def tune_config_pbtxt(text: str, tuned: Scheduling, *, parameters: tuple[tuple[str, str], ...] = ()) -> str:
    """The text with the tuned values in place of its own, for a full Triton: whatever else it says stands.

    A tuned number of instances goes into every group, wherever the group runs; `parameters` are the backend's own.
    Raises UsageError.
    """
    from google.protobuf import text_format

    config = _parsed(text)
    _write(config, tuned)
    if tuned.instances is not None:
        if not config.instance_group:
            config.instance_group.add()
        for group in config.instance_group:
            group.count = tuned.instances
    for key, value in parameters:
        config.parameters[key].string_value = value
    return str(text_format.MessageToString(config))


def _parsed(text: str) -> Any:
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    config: Any = model_config_pb2.ModelConfig()
    try:
        return text_format.Parse(text, config)
    except text_format.ParseError as error:
        raise UsageError(f"the model's config.pbtxt cannot be read: {error}") from error


def _serve_by_python(config: Any, intra_op_threads: str) -> None:
    if not config.input or not config.output:
        raise UsageError(f"the config.pbtxt of {config.name or 'the model'} must list its inputs and outputs")
    config.ClearField("platform")
    config.backend = "python"
    config.parameters["model_file"].string_value = config.default_model_filename or "model.onnx"
    config.parameters["intra_op_threads"].string_value = intra_op_threads
    config.ClearField("default_model_filename")


def _on_cpu(config: Any, tuned: Scheduling | None) -> None:
    """Every instance group on CPU: this server has no GPU. A tuned count replaces the groups."""
    from tritonclient.grpc import model_config_pb2

    kind_cpu = model_config_pb2.ModelInstanceGroup.Kind.Value("KIND_CPU")
    if tuned is not None and tuned.instances is not None:
        config.ClearField("instance_group")
        config.instance_group.add(count=tuned.instances)
    if not config.instance_group:
        config.instance_group.add(count=1)
    for group in config.instance_group:
        group.kind = kind_cpu
        group.ClearField("gpus")


def _write(config: Any, tuned: Scheduling) -> None:
    if tuned.max_batch_size is not None:
        if config.max_batch_size == 0 and tuned.max_batch_size > 1:
            raise UsageError(
                f"model {config.name} does not batch (max_batch_size: 0), so max_batch_size cannot be tuned"
            )
        config.max_batch_size = tuned.max_batch_size if config.max_batch_size else 0
    batching = config.dynamic_batching
    if config.max_batch_size:
        batching.SetInParent()
    if tuned.preferred_batch_size is not None:
        batching.preferred_batch_size[:] = [tuned.preferred_batch_size]
    elif tuned.max_batch_size is not None:
        # The file's own preferred sizes above the tuned limit would make Triton refuse the model.
        batching.preferred_batch_size[:] = [s for s in batching.preferred_batch_size if s <= tuned.max_batch_size]
    if tuned.queue_delay_us is not None:
        batching.max_queue_delay_microseconds = tuned.queue_delay_us
    if tuned.priority_levels is not None:
        batching.priority_levels = batching.default_priority_level = tuned.priority_levels
    if tuned.queue_timeout_us is not None:
        batching.default_queue_policy.timeout_action = 0
        batching.default_queue_policy.default_timeout_microseconds = tuned.queue_timeout_us
