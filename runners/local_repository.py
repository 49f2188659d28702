"""Model repositories for the local server: one written for an ONNX file, or a ready one copied and patched."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from runners.server_environment import ServerEnvironment
from runners.triton_config_text import patch_config_pbtxt
from tuner.domain.deployment import ModelRef, TensorSpec
from tuner.domain.errors import UsageError
from tuner.domain.space import Configuration
from tuner.manifests.config_pbtxt import ModelSignature, render_config_pbtxt, scheduling

SERVER_SIDE = Path(__file__).parent / "server_side"
DESCRIBE_TIMEOUT_S = 120.0
_DATATYPES = {
    "bool": "BOOL", "double": "FP64", "float": "FP32", "float16": "FP16", "string": "BYTES",
    **{f"{sign}int{bits}": f"{sign}int{bits}".upper() for sign in ("", "u") for bits in (8, 16, 32, 64)},
}  # fmt: skip


class ServedModel(Protocol):
    """A model that can be laid out as a Triton model repository."""

    @property
    def name(self) -> str: ...

    @property
    def arguments(self) -> tuple[str, ...]:
        """What this model asks of the server's command line."""
        ...

    def lay_out(self, configuration: Configuration, repository: Path) -> None:
        """Write the repository for one configuration. Raises InfeasibleConfiguration, UsageError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxFile:
    """An ONNX file, served by ONNX Runtime inside Triton's Python backend. The file stays where it is."""

    name: str
    path: Path
    signature: ModelSignature
    # Our config.pbtxt is complete; letting Triton complete it would start the model once more, a second or two.
    arguments: tuple[str, ...] = ("--disable-auto-complete-config",)

    def lay_out(self, configuration: Configuration, repository: Path) -> None:
        version = repository / self.name / "1"
        version.mkdir(parents=True)
        shutil.copyfile(SERVER_SIDE / "onnx_model.py", version / "model.py")
        text = render_config_pbtxt(
            self.name,
            self.signature,
            scheduling(configuration),
            backend="python",
            # By its own path, so that weights in files beside it are found.
            parameters=(("intra_op_threads", intra_op_threads(configuration)), ("model_file", str(self.path))),
        )
        (version.parent / "config.pbtxt").write_text(text, "utf-8")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyRepository:
    """A Triton model repository of the user's: copied, and the knobs written into the one model's config.pbtxt."""

    name: str
    folder: Path
    arguments: tuple[str, ...] = ()

    def lay_out(self, configuration: Configuration, repository: Path) -> None:
        shutil.copytree(self.folder, repository)
        for config in sorted(repository.glob("*/config.pbtxt")):
            tuned = scheduling(configuration) if config.parent.name == self.name else None
            threads = intra_op_threads(configuration) if config.parent.name == self.name else "1"
            patched = patch_config_pbtxt(config.read_text("utf-8"), tuned, intra_op_threads=threads)
            config.write_text(patched.text, "utf-8")
            if patched.needs_onnx_model:
                for version in config.parent.glob("[0-9]*"):
                    shutil.copyfile(SERVER_SIDE / "onnx_model.py", version / "model.py")


def intra_op_threads(configuration: Configuration) -> str:
    """ONNX Runtime's threads for one inference; 1 where the study does not tune it."""
    threads = configuration.number("intra_op_threads", 1)
    if threads != int(threads) or threads < 1:
        raise UsageError(f"intra_op_threads must be a whole number of at least 1, not {threads:g}")
    return str(int(threads))


def served_model(model: ModelRef, environment: ServerEnvironment) -> ServedModel:
    """What a study's model is on this machine. Raises UsageError where it cannot be served here."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", model.name):
        raise UsageError(f"{model.name!r} is no model name for Triton", hint="use letters, digits, '_', '.' and '-'")
    if model.repository:
        folder = Path(model.repository).absolute()
        if not (folder / model.name / "config.pbtxt").is_file():
            raise UsageError(
                f"the repository {folder} has no {model.name}/config.pbtxt", hint="is model.name the model's folder?"
            )
        return ReadyRepository(name=model.name, folder=folder)
    if model.path:
        path = Path(model.path).absolute()
        return OnnxFile(name=model.name, path=path, signature=describe_onnx(path, environment))
    raise UsageError("the local runner serves model.path or model.repository", hint="use runner kind container")


def describe_onnx(path: Path, environment: ServerEnvironment) -> ModelSignature:
    """The inputs and outputs that ONNX Runtime finds in a file. Raises UsageError where it cannot load it."""
    command = [str(environment.python), "-I", str(SERVER_SIDE / "describe_onnx.py"), str(path)]
    done = subprocess.run(  # noqa: S603 - our own program in the server environment
        command, capture_output=True, text=True, timeout=DESCRIBE_TIMEOUT_S, check=False, stdin=subprocess.DEVNULL
    )
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UsageError(f"ONNX Runtime cannot load {path}: {reason}", hint="is it a complete ONNX file?")
    return signature_from(json.loads(done.stdout), path)


def signature_from(described: dict[str, Any], path: Path) -> ModelSignature:
    """Batched means that the first dimension of every input and output is free. Raises UsageError."""
    both = described["inputs"] + described["outputs"]
    batched = all(tensor["shape"] and tensor["shape"][0] is None for tensor in both)
    return ModelSignature(
        inputs=tuple(_tensor(tensor, path, batched=batched) for tensor in described["inputs"]),
        outputs=tuple(_tensor(tensor, path, batched=batched) for tensor in described["outputs"]),
        batched=batched,
    )


def _tensor(tensor: dict[str, Any], path: Path, *, batched: bool) -> TensorSpec:
    element = re.fullmatch(r"tensor\((\w+)\)", tensor["type"])
    datatype = _DATATYPES.get(element[1]) if element else None
    if datatype is None:
        raise UsageError(f"{path}: {tensor['name']} has type {tensor['type']}, which Triton cannot carry")
    dims = tensor["shape"][1:] if batched else tensor["shape"]
    return TensorSpec(name=tensor["name"], datatype=datatype, shape=tuple(-1 if d is None else d for d in dims))
