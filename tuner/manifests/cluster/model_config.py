"""The config.pbtxt of a model that a full Triton serves: ONNX by its own backend, an engine by TensorRT's."""

from __future__ import annotations

from tuner.domain.errors import UsageError
from tuner.domain.space import Configuration
from tuner.manifests.config_pbtxt import ModelSignature, render_config_pbtxt, scheduling


def model_config(
    name: str, signature: ModelSignature, configuration: Configuration, *, engine: bool, on_gpu: bool
) -> str:
    """The rendered text for a configuration.

    Raises InfeasibleConfiguration where Triton would refuse it, UsageError for a knob that the backend does not have.
    """
    threads = "intra_op_threads" in configuration
    if engine and not on_gpu:
        raise UsageError("an engine needs a GPU", hint="add gpu_type to knobs or footprint")
    if engine and threads:
        raise UsageError("intra_op_threads means nothing to an engine", hint="leave it out of the knobs")
    count = configuration.number("intra_op_threads", 1)
    if count != int(count) or count < 1:
        raise UsageError(f"intra_op_threads must be a whole number of at least 1, not {count:g}")
    return render_config_pbtxt(
        name,
        signature,
        scheduling(configuration),
        backend="tensorrt" if engine else "onnxruntime",
        parameters=(("intra_op_thread_count", str(int(count))),) if threads else (),
        instance_kind="KIND_GPU" if on_gpu else "KIND_CPU",
    )
