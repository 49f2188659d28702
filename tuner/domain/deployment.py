"""What is served, the running thing, and what the server says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tuner.domain.space import Configuration

KserveProtocol = Literal["kserve_http", "kserve_grpc"]
Protocol = KserveProtocol | Literal["tensorflow_rest", "http"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRef:
    """The model of a study: exactly one of an ONNX file, a ready Triton model repository, or a container image.

    `digest` is the SHA-256 of the content ("sha256:..."), or the image reference itself.
    """

    name: str
    path: str = ""
    repository: str = ""
    image: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One input of the served model. `shape` has no batch dimension; -1 marks a free dimension."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A server that is ready: where it answers, what it expects, which cores are left for the load generator.

    The endpoint is http://HOST:PORT, and grpc://HOST:PORT for kserve_grpc.
    `host` is what requests call it where the endpoint is a pinned address; empty: as in the endpoint.
    """

    deployment_id: str
    endpoint: str
    model_name: str
    inputs: tuple[TensorSpec, ...]
    batched: bool
    configuration: Configuration
    generator_cpus: tuple[int, ...]
    ready_after_s: float
    host: str = ""
    protocol: Protocol = "kserve_http"
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """The server's own counters since it started; None where the runner cannot see it.

    `machine_busy_s` are CPU seconds of everything on the machine that server and load generator share, `at_s` is when
    all this was read; both count from any origin. `gpu_busy_ratio` is the share of time the GPU had work.
    """

    inference_count: int | None = None
    execution_count: int | None = None
    queue_s: float | None = None
    compute_s: float | None = None
    cpu_s: float | None = None
    throttled_periods: int | None = None
    periods: int | None = None
    memory_peak_bytes: int | None = None
    restarts: int = 0
    machine_busy_s: float | None = None
    at_s: float | None = None
    cpu_limit_cores: float | None = None
    memory_limit_bytes: int | None = None
    gpu_busy_ratio: float | None = None


def telemetry_between(before: Telemetry, after: Telemetry) -> Telemetry:
    """What happened between two readings. The memory peak is the later one's: a peak has no difference."""

    def less(late: float | None, early: float | None) -> float | None:
        return None if late is None or early is None else late - early

    def fewer(late: int | None, early: int | None) -> int | None:
        return None if late is None or early is None else late - early

    return Telemetry(
        inference_count=fewer(after.inference_count, before.inference_count),
        execution_count=fewer(after.execution_count, before.execution_count),
        queue_s=less(after.queue_s, before.queue_s),
        compute_s=less(after.compute_s, before.compute_s),
        cpu_s=less(after.cpu_s, before.cpu_s),
        throttled_periods=fewer(after.throttled_periods, before.throttled_periods),
        periods=fewer(after.periods, before.periods),
        memory_peak_bytes=after.memory_peak_bytes,
        restarts=after.restarts - before.restarts,
        machine_busy_s=less(after.machine_busy_s, before.machine_busy_s),
        at_s=less(after.at_s, before.at_s),
        cpu_limit_cores=after.cpu_limit_cores,
        memory_limit_bytes=after.memory_limit_bytes,
        gpu_busy_ratio=after.gpu_busy_ratio,
    )
