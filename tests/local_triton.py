"""A local runner for tests, and a look at what a deployment occupies on this machine."""

from __future__ import annotations

import logging
import os
import socket
from functools import cache
from pathlib import Path

import numpy as np

from runners.deployment_registry import DEPLOYMENT_VARIABLE, entries
from runners.local_repository import ServedModel, served_model
from runners.local_runner import LocalRunner
from runners.process_table import processes_with
from runners.server_environment import ServerEnvironment, default_cache_dir, server_environment
from tuner.clock import SystemClock
from tuner.domain.cost import Footprint
from tuner.domain.deployment import Deployment, KserveProtocol, ModelRef

QUICKSTART_MODEL = Path(__file__).parents[1] / "examples" / "quickstart" / "cls.onnx"
IMAGE_SHAPE = (3, 48, 192)


@cache
def environment() -> ServerEnvironment:
    """The same one that `servetune` uses, so it is built once on a machine."""
    return server_environment(default_cache_dir(), logging.getLogger("servetune.tests").warning)


@cache
def quickstart_model() -> ServedModel:
    return served_model(ModelRef(name="cls", path=str(QUICKSTART_MODEL)), environment())


def local_runner(
    registry: Path,
    *,
    model: ServedModel | None = None,
    ready_timeout_s: float = 180.0,
    protocol: KserveProtocol = "kserve_http",
) -> LocalRunner:
    return LocalRunner(
        model=model or quickstart_model(),
        environment=environment(),
        footprint=Footprint(),
        study="test",
        ready_timeout_s=ready_timeout_s,
        registry=registry,
        clock=SystemClock(),
        inherited=os.environ,
        protocol=protocol,
    )


def infer(deployment: Deployment, batch: int = 1) -> np.ndarray:
    """One real inference through tritonclient."""
    from tritonclient.http import InferenceServerClient, InferInput

    images = np.random.default_rng(7).random((batch, *IMAGE_SHAPE), dtype=np.float32)
    tensor = InferInput(deployment.inputs[0].name, list(images.shape), "FP32")
    tensor.set_data_from_numpy(images)
    client = InferenceServerClient(deployment.endpoint.removeprefix("http://"))
    try:
        return client.infer(deployment.model_name, [tensor]).as_numpy("save_infer_model/scale_0.tmp_1")
    finally:
        client.close()


def occupied(registry: Path, deployment_id: str) -> list[str]:
    """Everything of a deployment that still is on this machine, found in every way we know."""
    marked = [f"process {p.pid}" for p, e in processes_with(DEPLOYMENT_VARIABLE).items()
              if deployment_id in e[DEPLOYMENT_VARIABLE]]  # fmt: skip
    files = [f"entry {entry.key}" for entry in entries(registry) if entry.deployment_id == deployment_id]
    folders = [Path("/tmp"), Path("/dev/shm")]
    folders += [folder for folder in Path("/sys/fs/cgroup").rglob("servetune-*") if folder.is_dir()]
    named = [
        str(p) for folder in folders for p in [folder, *folder.iterdir()] if f"servetune-{deployment_id}" in p.name
    ]
    return marked + files + named


def answers(deployment: Deployment) -> bool:
    """Whether anything listens on the deployment's port."""
    host, _, port = deployment.endpoint.removeprefix("http://").partition(":")
    with socket.socket() as sock:
        sock.settimeout(2.0)
        return sock.connect_ex((host, int(port))) == 0
