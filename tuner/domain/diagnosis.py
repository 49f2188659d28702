"""What limits a service, as far as one measurement shows: a named bottleneck with its evidence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from tuner.domain.measurement import Doubt, Measurement

NEARLY_ALL = 0.9
HARDLY_BUSY = 0.5
THROTTLED_SHARE = 0.1
MEMORY_SHARE = 0.95
QUEUE_SHARE = 0.5
GENERATOR_DOUBTS = frozenset({Doubt.SEND_LAG, Doubt.GENERATOR_CPU, Doubt.NOT_SENT, Doubt.WORKER_LOST, Doubt.START_SKEW})


class Bottleneck(StrEnum):
    """What more of would help."""

    GENERATOR = "generator-bound"
    MEMORY = "memory-bound"
    CPU_STARVED_GPU = "CPU-starved GPU"
    CPU = "CPU-bound"
    GPU = "GPU-bound"
    QUEUEING = "queueing"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The bottleneck, and the figures that show it."""

    bottleneck: Bottleneck
    evidence: str


def diagnose(measurement: Measurement) -> Diagnosis:
    """The first cause that the figures show, in an order in which each would hide those after it.

    UNKNOWN where nothing is exhausted, or the runner cannot see what would show it.
    """
    for bottleneck, evidence_of in _CAUSES:
        evidence = evidence_of(measurement)
        if evidence:
            return Diagnosis(bottleneck=bottleneck, evidence=evidence)
    return Diagnosis(bottleneck=Bottleneck.UNKNOWN, evidence="nothing that was seen is used up")


def _generator(seen: Measurement) -> str:
    doubts = ", ".join(doubt for doubt in seen.doubts if doubt in GENERATOR_DOUBTS)
    return doubts and f"{doubts} (send lag p99 {seen.send_lag_p99_ms:.1f} ms, CPU {seen.generator_cpu_ratio:.0%})"


def _memory(seen: Measurement) -> str:
    peak, limit = seen.telemetry.memory_peak_bytes, seen.telemetry.memory_limit_bytes
    if peak is None or not limit or peak < MEMORY_SHARE * limit:
        return ""
    return f"the memory peak is {peak / limit:.0%} of its limit"


def _cpu(seen: Measurement) -> str:
    at = seen.telemetry
    if at.periods and at.throttled_periods is not None and at.throttled_periods >= THROTTLED_SHARE * at.periods:
        return f"the CPU was throttled in {at.throttled_periods / at.periods:.0%} of periods"
    if at.cpu_s is None or not at.at_s or not at.cpu_limit_cores:
        return ""
    use = at.cpu_s / at.at_s / at.cpu_limit_cores
    return f"{use:.0%} of {at.cpu_limit_cores:g} cores are busy" if use >= NEARLY_ALL else ""


def _cpu_starved_gpu(seen: Measurement) -> str:
    busy, cpu = seen.telemetry.gpu_busy_ratio, _cpu(seen)
    return (
        f"{cpu}, while the GPU is busy {busy:.0%} of the time"
        if cpu and busy is not None and busy < HARDLY_BUSY
        else ""
    )


def _gpu(seen: Measurement) -> str:
    busy = seen.telemetry.gpu_busy_ratio
    return f"the GPU is busy {busy:.0%} of the time" if busy is not None and busy >= NEARLY_ALL else ""


def _queueing(seen: Measurement) -> str:
    queue_s, compute_s = seen.telemetry.queue_s, seen.telemetry.compute_s
    if queue_s is not None and compute_s is not None and queue_s > QUEUE_SHARE * (queue_s + compute_s):
        return f"requests spend {queue_s / (queue_s + compute_s):.0%} of their time in the server's queue"
    return "the queue grew during the window" if Doubt.OVERSATURATED in seen.doubts else ""


_CAUSES: tuple[tuple[Bottleneck, Callable[[Measurement], str]], ...] = (
    (Bottleneck.GENERATOR, _generator),
    (Bottleneck.MEMORY, _memory),
    (Bottleneck.CPU_STARVED_GPU, _cpu_starved_gpu),
    (Bottleneck.CPU, _cpu),
    (Bottleneck.GPU, _gpu),
    (Bottleneck.QUEUEING, _queueing),
)
