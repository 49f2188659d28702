"""Other programs on a shared machine are seen, and said, without voiding what passed all the same."""

from __future__ import annotations

import pytest

from tuner.domain.deployment import Telemetry, telemetry_between
from tuner.domain.load import GeneratorHealth, LoadProfile, LoadRun, Payload, Samples
from tuner.domain.measurement import Doubt, cores_used_by_others, measure


def a_run(*, cpu_ratio: float, detour: bool = False) -> LoadRun:
    profile = LoadProfile(
        arrivals="constant", offered_rps=10, warmup_s=0, window_s=10, timeout_s=1, payload=Payload(), seed=1
    )
    starts = tuple(k / 10 for k in range(100))
    samples = Samples(
        intended_s=starts, sent_s=starts, done_s=tuple(start + 0.01 for start in starts), ok=(True,) * 100
    )
    health = GeneratorHealth(cpu_ratio=cpu_ratio, cpu_ms_per_request=0.1, workers_lost=0, detour=detour)
    return LoadRun(profile=profile, samples=samples, generator=health)


def between(*, busy_s: float, server_s: float, elapsed_s: float) -> Telemetry:
    before = Telemetry(machine_busy_s=1000.0, cpu_s=3.0, at_s=50.0)
    return telemetry_between(
        before, Telemetry(machine_busy_s=1000.0 + busy_s, cpu_s=3.0 + server_s, at_s=50.0 + elapsed_s)
    )


def test_what_neither_server_nor_generator_used_was_used_by_others():
    telemetry = between(busy_s=12.0, server_s=5.0, elapsed_s=10.0)
    assert cores_used_by_others(a_run(cpu_ratio=0.2), telemetry) == pytest.approx(0.5)


@pytest.mark.parametrize(("busy_s", "doubts"), [(7.5, ()), (11.0, (Doubt.BUSY_MACHINE,))])
def test_a_busy_machine_is_a_doubt_that_spoils_nothing(busy_s: float, doubts: tuple[Doubt, ...]):
    measurement = measure(a_run(cpu_ratio=0.2), (), between(busy_s=busy_s, server_s=5.0, elapsed_s=10.0))
    assert measurement.doubts == doubts
    assert not measurement.spoiled


def test_a_runner_that_sees_no_machine_raises_no_doubt():
    assert cores_used_by_others(a_run(cpu_ratio=0.2), Telemetry()) == 0.0


def test_load_from_outside_of_the_cluster_is_a_doubt_that_spoils_nothing():
    measurement = measure(a_run(cpu_ratio=0.2, detour=True), (), Telemetry())
    assert measurement.doubts == (Doubt.DETOUR,)
    assert not measurement.spoiled
