"""The config.pbtxt of a cluster study's model for each configuration: tuned in the user's own, or written anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from runners.local_repository import describe_onnx
from runners.server_environment import ServerEnvironment
from runners.triton_config_text import tune_config_pbtxt
from tuner.domain.errors import UsageError
from tuner.domain.space import Configuration
from tuner.domain.spec import StudySpec
from tuner.manifests.cluster.model_config import model_config
from tuner.manifests.config_pbtxt import scheduling

ConfigText = Callable[[Configuration], str]


def config_text(spec: StudySpec, environment: Callable[[], ServerEnvironment]) -> ConfigText:
    """The text for a configuration; empty where the study names no file here, and the model's own stands.

    `model.repository`: the knobs are written into its NAME/config.pbtxt. `model.path`: a whole text for an ONNX file,
    whose inputs and outputs are asked of ONNX Runtime in the server environment. Raises UsageError for a file that
    cannot be read, and the text's function what `scheduling` and `model_config` do.
    """
    if spec.model.repository:
        own = _own_text(Path(spec.model.repository) / spec.model.name / "config.pbtxt")
        return lambda configuration: tune_config_pbtxt(own, scheduling(configuration))
    if spec.model.path:
        signature = describe_onnx(Path(spec.model.path).absolute(), environment())
        engine = spec.runner.kubernetes is not None and spec.runner.kubernetes.engine is not None
        footprint = spec.pricing.footprint

        def written(configuration: Configuration) -> str:
            on_gpu = bool(configuration.text("gpu_type", footprint.gpu_type))
            return model_config(spec.model.name, signature, configuration, engine=engine, on_gpu=on_gpu)

        return written
    return lambda _configuration: ""


def _own_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", hint="is model.name the model's folder?") from error
