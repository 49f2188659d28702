"""What the server told of itself during a measurement, as part of `servetune load`'s answer."""

from __future__ import annotations

from typing import Any

from tuner.domain.deployment import Telemetry
from tuner.domain.diagnosis import (
    cpu_cores_used,
    cpu_throttled_ratio,
    diagnose,
    gpu_busy_ratio,
    gpu_throttled_ratio,
)
from tuner.domain.measurement import Measurement


def nothing_told() -> Telemetry:
    """The reading of a server that nobody asks."""
    return Telemetry()


def bottleneck_document(seen: Measurement) -> dict[str, str]:
    found = diagnose(seen)
    return {"name": str(found.bottleneck), "evidence": found.evidence}


def telemetry_document(seen: Measurement) -> dict[str, Any] | None:
    """Its figures, null for what it does not tell; None where it tells nothing at all."""
    at = seen.telemetry
    figures: dict[str, Any] = {
        "inference_count": at.inference_count,
        "execution_count": at.execution_count,
        "mean_batch_size": at.mean_batch_size,
        "batches": None if at.batches is None else {str(size): count for size, count in at.batches},
        "queue_ms_per_inference": _ms_each(at.queue_s, at.inference_count),
        "compute_ms_per_inference": _ms_each(at.compute_s, at.inference_count),
        "pending_peak": at.pending_peak,
        "cpu_cores_used": cpu_cores_used(seen),
        "cpu_limit_cores": at.cpu_limit_cores,
        "cpu_throttled_ratio": cpu_throttled_ratio(seen),
        "memory_peak_bytes": at.memory_peak_bytes,
        "memory_limit_bytes": at.memory_limit_bytes,
        "gpu": _gpu_document(seen),
    }
    return {"elapsed_s": at.at_s, **figures} if any(value is not None for value in figures.values()) else None


def telemetry_text(seen: Measurement) -> str:
    """On one line; empty where the server does not count."""
    at = seen.telemetry
    queue_ms, compute_ms = _ms_each(at.queue_s, at.inference_count), _ms_each(at.compute_s, at.inference_count)
    if at.mean_batch_size is None or queue_ms is None or compute_ms is None:
        return ""
    pending = "" if at.pending_peak is None else f", at most {at.pending_peak} seen waiting"
    return (
        f"server: {at.inference_count} inferences in batches of {at.mean_batch_size:.2f}, each {queue_ms:.2f} ms in "
        f"the queue and {compute_ms:.2f} ms computing{pending}"
    )


def _gpu_document(seen: Measurement) -> dict[str, Any] | None:
    use, seconds = seen.telemetry.gpu, seen.telemetry.at_s
    if use is None:
        return None
    return {
        "busy_ratio": gpu_busy_ratio(seen),
        "throttled_ratio": gpu_throttled_ratio(seen),
        "power_w": use.energy_j / seconds if use.energy_j is not None and seconds else None,
        "energy_j": use.energy_j,
        "memory_peak_bytes": use.memory_peak_bytes,
        "memory_limit_bytes": use.memory_limit_bytes,
    }


def _ms_each(total_s: float | None, count: int | None) -> float | None:
    return None if total_s is None or not count else total_s / count * 1000.0
