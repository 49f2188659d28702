"""The only importer of prometheus_client: what a Triton server's /metrics says. Pure.

Source: Triton's metrics documentation. GPU figures are those of all GPUs the server sees.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

COMPUTE = tuple(f"nv_inference_compute_{part}_duration_us" for part in ("input", "infer", "output"))


@dataclass(frozen=True, slots=True, kw_only=True)
class TritonMetrics:
    """One reading: sums over the model's requests since the server started, and gauges; None where not told.

    `gpu_busy_ratio` is a mean over the GPUs, everything else of them a sum.
    """

    inference_count: int | None = None
    execution_count: int | None = None
    queue_s: float | None = None
    compute_s: float | None = None
    pending: int | None = None
    gpu_busy_ratio: float | None = None
    gpu_memory_used_bytes: int | None = None
    gpu_memory_total_bytes: int | None = None
    gpu_power_w: float | None = None
    gpu_energy_j: float | None = None


def parse_metrics(text: str, model: str) -> TritonMetrics:
    """From the text of /metrics, of one model (empty: of all). Raises ValueError for what is no such text."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if not model or sample.labels.get("model", model) == model:
                    # The parser gives counters the ending that OpenMetrics wants of them.
                    found[sample.name.removesuffix("_total")].append(float(sample.value))
    except (ValueError, IndexError, KeyError) as error:
        raise ValueError(f"this is no text of metrics: {error}") from error
    totals = {name: sum(values) for name, values in found.items()}
    busy, compute_us = found.get("nv_gpu_utilization"), [totals[name] for name in COMPUTE if name in totals]
    queue_us = totals.get("nv_inference_queue_duration_us")
    return TritonMetrics(
        inference_count=_whole(totals.get("nv_inference_count")),
        execution_count=_whole(totals.get("nv_inference_exec_count")),
        queue_s=None if queue_us is None else queue_us / 1e6,
        compute_s=sum(compute_us) / 1e6 if len(compute_us) == len(COMPUTE) else None,
        pending=_whole(totals.get("nv_inference_pending_request_count")),
        gpu_busy_ratio=sum(busy) / len(busy) if busy else None,
        gpu_memory_used_bytes=_whole(totals.get("nv_gpu_memory_used_bytes")),
        gpu_memory_total_bytes=_whole(totals.get("nv_gpu_memory_total_bytes")),
        gpu_power_w=totals.get("nv_gpu_power_usage"),
        gpu_energy_j=totals.get("nv_energy_consumption"),
    )


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
