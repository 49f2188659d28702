"""What is served, the running thing, and what the server says of itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from tuner.domain.space import Configuration

KserveProtocol = Literal["kserve_http", "kserve_grpc"]
Protocol = KserveProtocol | Literal["tensorflow_rest", "http"]
Number = TypeVar("Number", int, float)


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
class GpuUse:
    """What the server's GPU did, as sums over time since any origin; None where the card does not tell.

    `busy_s` and `memory_busy_s` are seconds in which it computed and in which its memory was read or written,
    `throttled_s` seconds in which its clocks were held down (by power, heat or the supply), `clock_mhz_s` its clock
    times seconds. `memory_peak_bytes` is the most that was in use, by the server where `memory_of` says so, else by
    all that came after the server was started.
    """

    busy_s: float | None = None
    memory_busy_s: float | None = None
    throttled_s: float | None = None
    clock_mhz_s: float | None = None
    energy_j: float | None = None
    memory_peak_bytes: int | None = None
    memory_limit_bytes: int | None = None
    memory_of: Literal["server", "device"] = "device"


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """The server's own counters since it started; None where the runner cannot see it.

    `machine_busy_s` are CPU seconds of everything on the machine that server and load generator share, `at_s` is when
    all this was read; both count from any origin. Queue and compute times are sums over requests. `batches` are pairs
    of a batch size and how many executions had it. `pending_peak` is the most requests that were seen waiting to be
    executed since the reading before. `memory_peak_bytes` contains the files the kernel keeps for the server,
    `working_set_bytes` is what it would not give back if asked, at the time of the reading.
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
    working_set_bytes: int | None = None
    batches: tuple[tuple[int, int], ...] | None = None
    pending_peak: int | None = None
    gpu: GpuUse | None = None

    @property
    def mean_batch_size(self) -> float | None:
        """Requests per execution."""
        served, executed = self.inference_count, self.execution_count
        return served / executed if served and executed else None


def telemetry_between(before: Telemetry, after: Telemetry) -> Telemetry:
    """What happened between two readings. Peaks and limits are the later one's: they have no difference.

    A server that counts less than before has started anew: its counters say nothing about the time between.
    """
    if (_change(after.inference_count, before.inference_count) or 0) < 0:
        gone = after.restarts - before.restarts
        return Telemetry(restarts=max(1, gone), at_s=_change(after.at_s, before.at_s))
    return Telemetry(
        inference_count=_change(after.inference_count, before.inference_count),
        execution_count=_change(after.execution_count, before.execution_count),
        queue_s=_change(after.queue_s, before.queue_s),
        compute_s=_change(after.compute_s, before.compute_s),
        cpu_s=_change(after.cpu_s, before.cpu_s),
        throttled_periods=_change(after.throttled_periods, before.throttled_periods),
        periods=_change(after.periods, before.periods),
        memory_peak_bytes=after.memory_peak_bytes,
        restarts=after.restarts - before.restarts,
        machine_busy_s=_change(after.machine_busy_s, before.machine_busy_s),
        at_s=_change(after.at_s, before.at_s),
        cpu_limit_cores=after.cpu_limit_cores,
        memory_limit_bytes=after.memory_limit_bytes,
        working_set_bytes=after.working_set_bytes,
        batches=_batches_between(before.batches, after.batches),
        pending_peak=after.pending_peak,
        gpu=None if before.gpu is None or after.gpu is None else _gpu_between(before.gpu, after.gpu),
    )


def _change(late: Number | None, early: Number | None) -> Number | None:
    return None if late is None or early is None else late - early


def _batches_between(
    before: tuple[tuple[int, int], ...] | None, after: tuple[tuple[int, int], ...] | None
) -> tuple[tuple[int, int], ...] | None:
    if before is None or after is None:
        return None
    early = dict(before)
    return tuple((size, count - early.get(size, 0)) for size, count in after if count > early.get(size, 0))


def _gpu_between(before: GpuUse, after: GpuUse) -> GpuUse:
    return replace(
        after,
        busy_s=_change(after.busy_s, before.busy_s),
        memory_busy_s=_change(after.memory_busy_s, before.memory_busy_s),
        throttled_s=_change(after.throttled_s, before.throttled_s),
        clock_mhz_s=_change(after.clock_mhz_s, before.clock_mhz_s),
        energy_j=_change(after.energy_j, before.energy_j),
    )
