"""The tuned part of a config.pbtxt by itself, for a model whose own file nobody stated."""

from __future__ import annotations

import json
from dataclasses import replace

from tuner.domain.deployable import Deployable
from tuner.domain.errors import UsageError
from tuner.domain.space import Configuration
from tuner.manifests.config_pbtxt import dynamic_batching, scheduling
from tuner.manifests.exports.production import CONFIG_KNOBS

BY_THE_PYTHON_BACKEND = (
    "measured with the Python backend, which ran ONNX Runtime so: Triton's own backend for ONNX was not measured"
)
FREE_BATCH = "max_batch_size 1 is what a model with a free batch dimension was measured with: of another, write 0"
# What the local runner serves a bare model file with, where the study does not tune it.
LOCAL_SETTINGS = {"max_batch_size": 1, "instances": 1, "intra_op_threads": 1}


def as_served(of: Deployable) -> Deployable:
    """With what the local runner set by itself: a file that leaves it out would be served by Triton's own defaults."""
    if not _bare_file(of):
        return of
    return replace(of, configuration=Configuration.of(LOCAL_SETTINGS | of.configuration.as_dict()))


def serving_notes(of: Deployable) -> tuple[str, ...]:
    """What the file alone does not tell of how its values were measured."""
    if not _bare_file(of):
        return ()
    return (BY_THE_PYTHON_BACKEND,) if "max_batch_size" in of.configuration else (BY_THE_PYTHON_BACKEND, FREE_BATCH)


def _bare_file(of: Deployable) -> bool:
    return of.runner == "local" and bool(of.model.path)


def backend_parameters(of: Deployable) -> tuple[tuple[str, str], ...]:
    """What ONNX Runtime is told beside the scheduling. Raises UsageError for a number of threads that is none."""
    if "intra_op_threads" not in of.configuration:
        return ()
    count = of.configuration.number("intra_op_threads", 1)
    if count != int(count) or count < 1:
        raise UsageError(f"intra_op_threads must be a whole number of at least 1, not {count:g}")
    return (("intra_op_thread_count", str(int(count))),)


def tunes_config(of: Deployable) -> bool:
    """Whether any of its knobs stands in a config.pbtxt."""
    return any(name in CONFIG_KNOBS for name, _ in of.configuration.settings)


def partial_config(of: Deployable) -> str:
    """What was tuned, and no more: Triton completes it by asking the model for inputs, outputs and backend.

    That is Triton's auto-complete, on unless --disable-auto-complete-config is given; ONNX, TensorRT, TensorFlow and
    OpenVINO models can be asked. Raises InfeasibleConfiguration, UsageError.
    """
    tuned = scheduling(of.configuration)
    blocks = [f"name: {json.dumps(of.model.name)}"]
    if tuned.max_batch_size is not None:
        blocks.append(f"max_batch_size: {tuned.max_batch_size}")
    if tuned.instances is not None:
        gpu = of.configuration.text("gpu_type", of.pricing.footprint.gpu_type)
        kind = "KIND_GPU" if gpu else "KIND_CPU"
        blocks.append(f"instance_group [\n  {{\n    kind: {kind}\n    count: {tuned.instances}\n  }}\n]")
    if any(name in of.configuration for name in CONFIG_KNOBS if name not in {"instances", "intra_op_threads"}):
        blocks.append(dynamic_batching(tuned))
    for key, value in backend_parameters(of):
        blocks.append(
            f"parameters {{\n  key: {json.dumps(key)}\n  value {{\n    string_value: {json.dumps(value)}\n  }}\n}}"
        )
    return "\n".join(blocks) + "\n"
