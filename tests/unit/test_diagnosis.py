"""One measurement for each bottleneck, and the figures that are told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.test_measurement import a_run, measured
from tuner.domain.deployment import Telemetry
from tuner.domain.diagnosis import Bottleneck, diagnose
from tuner.domain.measurement import Doubt, Measurement

QUIET = Telemetry(
    cpu_s=5.0,
    at_s=10.0,
    cpu_limit_cores=2.0,
    periods=100,
    throttled_periods=0,
    queue_s=1.0,
    compute_s=9.0,
    memory_peak_bytes=100,
    memory_limit_bytes=1000,
    gpu_busy_ratio=0.6,
)


def seen(telemetry: Telemetry, *doubts: Doubt) -> Measurement:
    return replace(measured(a_run(), telemetry=telemetry), doubts=doubts)


@pytest.mark.parametrize(
    ("measurement", "bottleneck", "told"),
    [
        (seen(replace(QUIET, cpu_s=19.0), Doubt.SEND_LAG), Bottleneck.GENERATOR, "send_lag"),
        (seen(replace(QUIET, memory_peak_bytes=960, cpu_s=19.0)), Bottleneck.MEMORY, "96%"),
        (seen(replace(QUIET, cpu_s=19.0, gpu_busy_ratio=0.2)), Bottleneck.CPU_STARVED_GPU, "busy 20%"),
        (seen(replace(QUIET, cpu_s=19.0, gpu_busy_ratio=None)), Bottleneck.CPU, "95% of 2 cores"),
        (seen(replace(QUIET, throttled_periods=30)), Bottleneck.CPU, "30% of periods"),
        (seen(replace(QUIET, gpu_busy_ratio=0.97)), Bottleneck.GPU, "97%"),
        (seen(replace(QUIET, queue_s=27.0)), Bottleneck.QUEUEING, "75%"),
        (seen(Telemetry(), Doubt.OVERSATURATED), Bottleneck.QUEUEING, "queue grew"),
        (seen(QUIET), Bottleneck.UNKNOWN, "nothing"),
        (seen(Telemetry()), Bottleneck.UNKNOWN, "nothing"),
    ],
)
def test_the_bottleneck_is_named_with_its_evidence(measurement: Measurement, bottleneck: Bottleneck, told: str):
    found = diagnose(measurement)
    assert found.bottleneck is bottleneck
    assert told in found.evidence
