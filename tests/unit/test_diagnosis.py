"""One measurement for each bottleneck, and the figures that are told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.test_measurement import a_run, measured
from tuner.domain.deployment import GpuUse, Telemetry, telemetry_between
from tuner.domain.diagnosis import Bottleneck, diagnose, diagnose_all
from tuner.domain.measurement import Doubt, Measurement

QUIET = Telemetry(
    cpu_s=5.0,
    at_s=12.0,
    cpu_limit_cores=2.0,
    periods=100,
    throttled_periods=0,
    queue_s=1.0,
    compute_s=9.0,
    memory_peak_bytes=100,
    memory_limit_bytes=1000,
    gpu=GpuUse(busy_s=6.0, memory_busy_s=2.0, throttled_s=0.0),
)
NO_GPU = replace(QUIET, gpu=None)


def seen(telemetry: Telemetry, *doubts: Doubt, loaded_s: float | None = 10.0, **changes: float) -> Measurement:
    return replace(measured(a_run(), telemetry=telemetry), doubts=doubts, loaded_s=loaded_s, **changes)


def gpu(**changes: float) -> Telemetry:
    assert QUIET.gpu is not None
    return replace(QUIET, gpu=replace(QUIET.gpu, **changes))


@pytest.mark.parametrize(
    ("measurement", "bottleneck", "told"),
    [
        (seen(replace(QUIET, cpu_s=19.0), Doubt.SEND_LAG), Bottleneck.GENERATOR, "send_lag"),
        (seen(QUIET, Doubt.SEND_LAG, generator_cpu_ratio=0.05), Bottleneck.GENERATOR, "kept it from running"),
        (seen(QUIET, Doubt.GENERATOR_CPU, generator_cpu_ratio=0.95), Bottleneck.GENERATOR, "used 95 % of a core"),
        (seen(replace(QUIET, memory_peak_bytes=960, cpu_s=19.0)), Bottleneck.MEMORY, "96 % of the memory"),
        (seen(gpu(memory_busy_s=8.5, busy_s=10.0)), Bottleneck.MEMORY, "read or written 85 %"),
        (seen(replace(gpu(busy_s=2.0), cpu_s=19.0)), Bottleneck.CPU_STARVED_GPU, "busy 20 %"),
        (seen(replace(NO_GPU, cpu_s=19.0)), Bottleneck.CPU, "95 % of 2 cores"),
        (seen(replace(NO_GPU, cpu_s=22.0), loaded_s=None), Bottleneck.CPU, "92 % of 2 cores"),
        (seen(replace(NO_GPU, throttled_periods=30)), Bottleneck.CPU, "throttled in 30 % of periods, 25 % of 2 cores"),
        (seen(gpu(busy_s=9.7)), Bottleneck.GPU, "97 %"),
        (seen(gpu(busy_s=9.7, throttled_s=4.0)), Bottleneck.GPU, "held down 40 %"),
        (seen(replace(QUIET, queue_s=27.0)), Bottleneck.QUEUEING, "75 %"),
        (seen(Telemetry(), Doubt.OVERSATURATED), Bottleneck.QUEUEING, "queue grew"),
        (seen(QUIET), Bottleneck.UNKNOWN, "25 % of 2 cores busy, the GPU busy 60 % of the time, 10 % of the requests'"),
        (seen(Telemetry(queue_s=1.0, compute_s=9.0)), Bottleneck.UNKNOWN, "its CPU not to be seen"),
        (seen(Telemetry()), Bottleneck.UNKNOWN, "not to be had"),
    ],
)
def test_the_bottleneck_is_named_with_its_evidence(measurement: Measurement, bottleneck: Bottleneck, told: str):
    found = diagnose(measurement)
    assert found.bottleneck is bottleneck
    assert told in found.evidence
    assert found.known is (bottleneck is not Bottleneck.UNKNOWN)


def test_files_that_the_kernel_keeps_for_a_server_do_not_make_it_memory_bound():
    full_of_files = replace(NO_GPU, memory_peak_bytes=1000, working_set_bytes=300)
    assert diagnose(seen(full_of_files)).bottleneck is Bottleneck.UNKNOWN
    assert diagnose(seen(replace(full_of_files, working_set_bytes=970))).bottleneck is Bottleneck.MEMORY


def test_time_before_and_after_the_load_does_not_make_a_busy_server_look_idle():
    """Half of the time between the readings had no load in it."""
    busy = replace(NO_GPU, cpu_s=19.5, at_s=20.0)
    assert diagnose(seen(busy, loaded_s=10.0)).bottleneck is Bottleneck.CPU


def test_several_deployments_are_judged_by_what_most_of_them_show():
    busy, free = seen(replace(NO_GPU, cpu_s=19.0)), seen(NO_GPU)
    found = diagnose_all([free, busy, busy])
    assert found is not None
    assert found.bottleneck is Bottleneck.CPU
    assert "on 2 of 3 deployments" in found.evidence
    assert str(diagnose_all([busy, busy])) == "CPU-bound: 95 % of 2 cores busy"
    assert diagnose_all([]) is None


BEFORE = Telemetry(
    inference_count=100,
    execution_count=60,
    batches=((1, 40), (2, 20)),
    pending_peak=9,
    working_set_bytes=5,
    at_s=1.0,
    gpu=GpuUse(busy_s=1.0, energy_j=100.0, memory_peak_bytes=7, memory_limit_bytes=70),
)


def test_between_two_readings_counters_are_subtracted_and_peaks_are_not():
    after = Telemetry(
        inference_count=180,
        execution_count=90,
        batches=((1, 40), (2, 30), (4, 15)),
        pending_peak=3,
        working_set_bytes=6,
        at_s=5.0,
        gpu=GpuUse(busy_s=3.0, energy_j=400.0, memory_peak_bytes=8, memory_limit_bytes=70, memory_of="server"),
    )
    assert telemetry_between(BEFORE, after) == Telemetry(
        inference_count=80,
        execution_count=30,
        batches=((2, 10), (4, 15)),
        pending_peak=3,
        working_set_bytes=6,
        at_s=4.0,
        gpu=GpuUse(busy_s=2.0, energy_j=300.0, memory_peak_bytes=8, memory_limit_bytes=70, memory_of="server"),
    )
    assert telemetry_between(BEFORE, replace(after, gpu=None)).gpu is None


def test_a_server_that_counts_from_zero_again_was_restarted():
    between = telemetry_between(BEFORE, replace(BEFORE, inference_count=3, at_s=5.0))
    assert between == Telemetry(restarts=1, at_s=4.0)
