"""A configuration as the text of Triton's `config.pbtxt`.

Field names: the `ModelConfig` message of Triton's `model_config.proto`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

from tuner.domain.deployment import TensorSpec
from tuner.domain.errors import InfeasibleConfiguration, UsageError
from tuner.domain.space import Configuration

InstanceKind = Literal["KIND_CPU", "KIND_GPU"]
BATCHING_KNOBS = (
    "max_batch_size",
    "queue_delay_ms",
    "preferred_batch_size",
    "queue_timeout_ms",
    "priority_levels",
    "instances",
)
"""The knobs that end up in `config.pbtxt`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSignature:
    """What a model takes and gives. `batched`: the first dimension is free, and left out of the shapes here."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batched: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduling:
    """The tuned part of a model's configuration; None where the study does not tune it and Triton's default holds."""

    max_batch_size: int | None = None
    queue_delay_us: int | None = None
    preferred_batch_size: int | None = None
    queue_timeout_us: int | None = None
    priority_levels: int | None = None
    instances: int | None = None


def scheduling(configuration: Configuration) -> Scheduling:
    """The batching knobs of a configuration in Triton's units.

    Raises InfeasibleConfiguration where Triton would refuse to load them, UsageError for a value of no meaning.
    """
    found = Scheduling(
        max_batch_size=_whole(configuration, "max_batch_size", least=1),
        queue_delay_us=_microseconds(configuration, "queue_delay_ms"),
        preferred_batch_size=_whole(configuration, "preferred_batch_size", least=1),
        queue_timeout_us=_microseconds(configuration, "queue_timeout_ms"),
        priority_levels=_whole(configuration, "priority_levels", least=0),
        instances=_whole(configuration, "instances", least=1),
    )
    limit = found.max_batch_size or 1
    if found.preferred_batch_size is not None and found.preferred_batch_size > limit:
        raise InfeasibleConfiguration(
            f"preferred_batch_size {found.preferred_batch_size} is above max_batch_size {limit}"
        )
    return found


def render_config_pbtxt(
    name: str,
    signature: ModelSignature,
    tuned: Scheduling,
    *,
    backend: str,
    parameters: tuple[tuple[str, str], ...],
    instance_kind: InstanceKind = "KIND_CPU",
) -> str:
    """The complete `config.pbtxt` of one model.

    A batched model keeps its batch dimension even at `max_batch_size: 1`, so that requests look the same at every
    setting. Raises UsageError where batching is tuned for a model whose batch dimension is fixed.
    """
    if not signature.batched and (tuned.max_batch_size or 1) > 1:
        raise UsageError(
            f"model {name} has a fixed batch dimension, so max_batch_size {tuned.max_batch_size} cannot be served",
            hint="export it with a dynamic first dimension, or leave max_batch_size out of the knobs",
        )
    blocks = [
        f"name: {json.dumps(name)}",
        f"backend: {json.dumps(backend)}",
        f"max_batch_size: {(tuned.max_batch_size or 1) if signature.batched else 0}",
        *(_tensor("input", tensor) for tensor in signature.inputs),
        *(_tensor("output", tensor) for tensor in signature.outputs),
        f"instance_group [\n  {{\n    kind: {instance_kind}\n    count: {tuned.instances or 1}\n  }}\n]",
        *([dynamic_batching(tuned)] if signature.batched else []),
        *(_parameter(key, value) for key, value in parameters),
    ]
    return "\n".join(blocks) + "\n"


def dynamic_batching(tuned: Scheduling) -> str:
    """The block that has requests wait for each other, with what is tuned of it."""
    lines = []
    if tuned.preferred_batch_size is not None:
        lines.append(f"  preferred_batch_size: [ {tuned.preferred_batch_size} ]")
    if tuned.queue_delay_us is not None:
        lines.append(f"  max_queue_delay_microseconds: {tuned.queue_delay_us}")
    if tuned.priority_levels:
        # Requests that name no priority get the lowest one.
        lines.append(f"  priority_levels: {tuned.priority_levels}")
        lines.append(f"  default_priority_level: {tuned.priority_levels}")
    if tuned.queue_timeout_us is not None:
        lines.append("  default_queue_policy {")
        lines.append("    timeout_action: REJECT")
        lines.append(f"    default_timeout_microseconds: {tuned.queue_timeout_us}")
        lines.append("  }")
    return "\n".join(["dynamic_batching {", *lines, "}"])


def _tensor(field: str, tensor: TensorSpec) -> str:
    dims = ", ".join(str(size) for size in tensor.shape)
    kind = "STRING" if tensor.datatype == "BYTES" else tensor.datatype
    body = f"    name: {json.dumps(tensor.name)}\n    data_type: TYPE_{kind}\n    dims: [ {dims} ]"
    return f"{field} [\n  {{\n{body}\n  }}\n]"


def _parameter(key: str, value: str) -> str:
    return f"parameters {{\n  key: {json.dumps(key)}\n  value {{\n    string_value: {json.dumps(value)}\n  }}\n}}"


def _whole(configuration: Configuration, knob: str, *, least: int) -> int | None:
    if knob not in configuration:
        return None
    value = configuration.number(knob, 0.0)
    if value != int(value) or value < least:
        raise UsageError(f"{knob} must be a whole number of at least {least}, not {configuration[knob]}")
    return int(value)


def _microseconds(configuration: Configuration, knob: str) -> int | None:
    if knob not in configuration:
        return None
    value_ms = configuration.number(knob, 0.0)
    if value_ms < 0:
        raise UsageError(f"{knob} must not be negative, and is {configuration[knob]}")
    return round(value_ms * 1000)
