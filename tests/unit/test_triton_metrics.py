"""What a Triton server says at /metrics and in its statistics, as recorded, and what is made of it over time."""

from __future__ import annotations

from pathlib import Path

import pytest

from runners.metrics_watch import MetricsWatch
from runners.triton_http import parse_statistics
from runners.triton_metrics import TritonMetrics, parse_metrics

RECORDED = (Path(__file__).parents[1] / "data" / "triton_metrics.txt").read_text("utf-8")
GPUS = """\
# HELP nv_gpu_utilization GPU utilization rate [0.0 - 1.0)
# TYPE nv_gpu_utilization gauge
nv_gpu_utilization{gpu_uuid="GPU-1d6b0fc2"} 0.9
nv_gpu_utilization{gpu_uuid="GPU-77aa01be"} 0.3
# HELP nv_gpu_memory_used_bytes GPU used memory, in bytes
# TYPE nv_gpu_memory_used_bytes gauge
nv_gpu_memory_used_bytes{gpu_uuid="GPU-1d6b0fc2"} 3158310912.000000
# HELP nv_gpu_memory_total_bytes GPU total memory, in bytes
# TYPE nv_gpu_memory_total_bytes gauge
nv_gpu_memory_total_bytes{gpu_uuid="GPU-1d6b0fc2"} 85520809984.000000
# HELP nv_gpu_power_usage GPU power usage in watts
# TYPE nv_gpu_power_usage gauge
nv_gpu_power_usage{gpu_uuid="GPU-1d6b0fc2"} 312.4
# HELP nv_energy_consumption GPU energy consumption in joules since the Triton Server started
# TYPE nv_energy_consumption counter
nv_energy_consumption{gpu_uuid="GPU-1d6b0fc2"} 20121.5
"""
PENDING = 'nv_inference_pending_request_count{model="cls",version="1"} 0'


def test_the_recorded_text_of_a_server_without_a_gpu():
    assert parse_metrics(RECORDED, "cls") == TritonMetrics(
        inference_count=20, execution_count=10, queue_s=0.004885, compute_s=0.050863, pending=0
    )


def test_another_models_figures_are_not_ours_and_gpus_are_everybodys():
    seen = parse_metrics(RECORDED + GPUS, "other")
    assert seen == TritonMetrics(
        gpu_busy_ratio=pytest.approx(0.6),
        gpu_memory_used_bytes=3158310912,
        gpu_memory_total_bytes=85520809984,
        gpu_power_w=312.4,
        gpu_energy_j=20121.5,
    )


@pytest.mark.parametrize("text", ["<html><body>not found</body></html>", '{"error": "x"}', "a b c d e"])
def test_what_is_no_text_of_metrics_is_an_error(text: str):
    with pytest.raises(ValueError, match="no text of metrics"):
        parse_metrics(text, "cls")


def test_the_longest_queue_between_two_questions_is_kept_and_then_forgotten():
    texts = iter([RECORDED.replace(PENDING, PENDING[:-1] + "17"), None, RECORDED, RECORDED])
    watch = MetricsWatch(lambda: next(texts), "cls")
    watch.sampler.now()
    watch.sampler.now()
    assert watch.last is None
    assert watch.take_pending_peak() == 17
    assert watch.take_pending_peak() == 0
    assert watch.gpu() is None


def test_a_gpus_memory_peak_and_energy_are_told():
    larger = GPUS.replace("3158310912", "9158310912")
    texts = iter([larger, GPUS])
    watch = MetricsWatch(lambda: next(texts), "")
    watch.sampler.now()
    watch.sampler.now()
    use = watch.gpu()
    assert use is not None
    assert (use.memory_peak_bytes, use.memory_limit_bytes, use.energy_j) == (9158310912, 85520809984, 20121.5)
    assert use.busy_s is not None


def test_batch_sizes_come_from_the_statistics_over_all_versions():
    spent = {"queue": {"count": 10, "ns": 4890652}} | {
        part: {"count": 10, "ns": ns}
        for part, ns in (("compute_input", 704310), ("compute_infer", 49382003), ("compute_output", 790897))
    }
    batch = {"batch_size": 2, "compute_infer": {"count": 10, "ns": 49382003}}
    entry = {"inference_count": 20, "execution_count": 10, "inference_stats": spent, "batch_stats": [batch]}
    other = {**entry, "batch_stats": [batch, {**batch, "batch_size": 1}]}
    seen = parse_statistics({"model_stats": [entry, other]})
    assert seen.batches == ((1, 10), (2, 20))
    assert (seen.inference_count, seen.execution_count) == (40, 20)
    assert seen.queue_s == pytest.approx(2 * 0.004890652)
