"""From samples to a measurement: what counts, from when, and which doubts arise."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from tuner.domain.arrival_kinds import Steps
from tuner.domain.arrivals import intended_starts_s
from tuner.domain.deployment import Telemetry
from tuner.domain.errors import InvalidMeasurement
from tuner.domain.load import GeneratorHealth, LoadProfile, LoadRun, Payload, Samples
from tuner.domain.measurement import Doubt, Measurement, measure
from tuner.domain.slo import Slo, goodput_slo

P99 = Slo(indicator="latency_p99_ms", max=100.0)
HEALTHY = GeneratorHealth(cpu_ratio=0.1, cpu_ms_per_request=0.1, workers_lost=0)
PROFILE = LoadProfile(
    arrivals="constant",
    offered_rps=200.0,
    warmup_s=1.0,
    window_s=10.0,
    timeout_s=1.0,
    payload=Payload(),
    seed=0,
)


def a_run(
    latency_s: Callable[[float], float] = lambda _due_s: 0.01,
    *,
    profile: LoadProfile = PROFILE,
    lag_s: Callable[[float], float] = lambda _due_s: 0.0,
    health: GeneratorHealth = HEALTHY,
) -> LoadRun:
    """Latencies counted from when a request was due; an infinite one is a failure, given up at the time limit."""
    due_s = intended_starts_s(profile)
    late_s = [latency_s(due) for due in due_s]
    samples = Samples(
        intended_s=due_s,
        sent_s=tuple(due + lag_s(due) for due in due_s),
        done_s=tuple(due + min(late, profile.timeout_s) for due, late in zip(due_s, late_s, strict=True)),
        ok=tuple(math.isfinite(late) for late in late_s),
    )
    return LoadRun(profile=profile, samples=samples, generator=health)


def measured(run: LoadRun, *slos: Slo, telemetry: Telemetry | None = None) -> Measurement:
    return measure(run, slos or (P99,), telemetry or Telemetry())


def test_the_warm_up_does_not_count():
    measurement = measured(a_run(lambda due_s: math.inf if due_s < 1.0 else 0.01))
    assert measurement.requests == 2000
    assert measurement.errors == 0
    assert measurement.latency_ms.max == pytest.approx(10.0)
    assert measurement.offered_rps == measurement.achieved_rps == 200.0


def test_latency_counts_from_when_a_request_was_due_not_from_when_it_was_sent():
    measurement = measured(a_run(lambda _due_s: 0.05, lag_s=lambda _due_s: 0.04))
    assert measurement.latency_ms.p50 == pytest.approx(50.0)
    assert measurement.send_lag_p99_ms == pytest.approx(40.0)


def test_failures_are_infinitely_late():
    measurement = measured(a_run(lambda due_s: math.inf if round(due_s * 200) % 50 == 0 else 0.01))
    assert measurement.errors == 40
    assert measurement.error_ratio == 0.02
    assert measurement.achieved_rps == 196.0
    assert measurement.latency_ms.p95 == pytest.approx(10.0)
    assert measurement.latency_ms.p99 == math.inf
    assert measurement.latency_ms.mean == math.inf
    assert measurement.counts.failed == 40
    assert measurement.tallies[0].bad == 40


def test_each_slo_counts_what_breaks_its_own_bound():
    slos = (P99, Slo(indicator="latency_p50_ms", max=20.0), Slo(indicator="error_ratio", max=0.01))
    measurement = measured(a_run(lambda due_s: 0.03 if due_s < 3.0 else 0.01), *slos)
    assert [tally.bad for tally in measurement.tallies] == [0, 400, 0]
    assert [tally.observed for tally in measurement.tallies] == pytest.approx([30.0, 10.0, 0.0])


def test_neighbours_that_are_late_together_count_for_less_than_scattered_ones():
    together = measured(a_run(lambda due_s: 0.2 if 5.0 <= due_s < 5.5 else 0.01))
    scattered = measured(a_run(lambda due_s: 0.2 if round(due_s * 200) % 20 == 0 else 0.01))
    assert together.tallies[0].bad == scattered.tallies[0].bad == 100
    assert together.tallies[0].design_effect > 20.0 * scattered.tallies[0].design_effect


def test_a_window_without_requests_is_no_measurement():
    with pytest.raises(InvalidMeasurement, match="no request was due"):
        measured(a_run(profile=replace(PROFILE, offered_rps=0.05, window_s=1.0)))


def test_a_quiet_run_raises_no_doubt():
    assert measured(a_run()).doubts == ()


@pytest.mark.parametrize(
    ("run", "telemetry", "doubt"),
    [
        (a_run(lag_s=lambda due_s: 0.011 if due_s > 10.8 else 0.0), Telemetry(), Doubt.SEND_LAG),
        (a_run(health=replace(HEALTHY, cpu_ratio=0.81)), Telemetry(), Doubt.GENERATOR_CPU),
        (a_run(health=replace(HEALTHY, workers_lost=1)), Telemetry(), Doubt.WORKER_LOST),
        (a_run(health=replace(HEALTHY, start_skew_s=0.011)), Telemetry(), Doubt.START_SKEW),
        (a_run(), Telemetry(restarts=1), Doubt.SERVER_RESTARTED),
    ],
)
def test_what_spoils_a_measurement_is_named(run: LoadRun, telemetry: Telemetry, doubt: Doubt):
    measurement = measured(run, telemetry=telemetry)
    assert measurement.doubts == (doubt,)
    assert measurement.spoiled


def test_requests_never_sent_spoil_a_measurement():
    measurement = measured(a_run(lag_s=lambda due_s: math.inf if due_s > 10.85 else 0.0))
    assert Doubt.NOT_SENT in measurement.doubts
    assert measurement.spoiled


def test_a_send_lag_of_a_tenth_of_the_limit_or_five_milliseconds_is_no_doubt():
    assert measured(a_run(lag_s=lambda _due_s: 0.0099)).doubts == ()
    tight = Slo(indicator="latency_p99_ms", max=20.0)
    assert measured(a_run(lag_s=lambda _due_s: 0.0049), tight).doubts == ()
    assert measured(a_run(lag_s=lambda _due_s: 0.0051), tight).doubts == (Doubt.SEND_LAG,)


@pytest.mark.parametrize(("window_s", "doubts"), [(5.0, ()), (4.9, (Doubt.FEW_REQUESTS,))])
def test_a_p99_of_fewer_than_a_thousand_requests_is_doubted_but_stands(window_s: float, doubts: tuple[Doubt, ...]):
    measurement = measured(a_run(profile=replace(PROFILE, window_s=window_s)))
    assert measurement.doubts == doubts
    assert not measurement.spoiled


def test_a_queue_that_grows_is_named_and_does_not_spoil():
    growing = measured(a_run(lambda due_s: 0.01 + 0.02 * due_s))
    assert growing.doubts == (Doubt.DRIFT,)
    assert not growing.spoiled


def test_a_queue_that_grows_because_more_comes_in_than_is_finished_is_named():
    saturated = measured(a_run(lambda due_s: 0.01 + 0.1 * due_s))
    assert saturated.doubts == (Doubt.OVERSATURATED,)
    assert not saturated.spoiled


def test_a_step_up_that_stays_is_named_and_one_bad_stretch_at_the_end_is_not():
    assert measured(a_run(lambda due_s: 0.01 if due_s < 6.0 else 0.05)).doubts == (Doubt.DRIFT,)
    assert measured(a_run(lambda due_s: 0.01 if due_s < 9.5 else 0.05)).doubts == ()


@pytest.mark.parametrize(("stretch_s", "uneasy"), [(0.02, False), (0.04, True), (0.07, True)])
def test_long_stretches_far_below_the_limit_count_only_from_a_quarter_of_it_on(stretch_s: float, uneasy: bool):
    calm = measured(a_run(lambda due_s: stretch_s - due_s % 0.3 * 0.01 if due_s % 2.0 < 0.3 else 0.01))
    assert calm.tallies[0].bad == 0
    assert (calm.tallies[0].design_effect > 2.0) is uneasy


def test_late_hours_that_the_load_asked_for_are_no_likeness_of_neighbours():
    """Every other request of the middle part is late: by design of a load with a peak, else one long queue."""

    def late_in_the_peak(due_s: float) -> float:
        return 0.2 if 5.0 <= due_s < 7.0 and round(due_s * 200) % 2 else 0.01

    steady = measured(a_run(late_in_the_peak))
    with_peak = measured(a_run(late_in_the_peak, profile=replace(PROFILE, arrivals=Steps(shares=(1.0,)))))
    assert steady.tallies[0].bad > 100
    assert with_peak.tallies[0].bad > 100
    assert steady.tallies[0].design_effect > 5.0 * with_peak.tallies[0].design_effect


def test_no_part_of_a_load_with_a_shape_is_like_the_whole():
    plain = replace(PROFILE, slos=(P99,))
    assert plain.decisive_slos == (P99,)
    assert replace(plain, arrivals=Steps(shares=(1.0, 0.1))).decisive_slos == ()


def test_goodput_counts_what_failed_or_broke_any_limit():
    slos = (P99, Slo(indicator="latency_p50_ms", max=20.0), goodput_slo(0.95))
    latencies = {0: 0.15, 1: 0.03, 2: math.inf}
    measurement = measured(a_run(lambda due_s: latencies.get(round(due_s * 200) % 100, 0.01)), *slos)
    assert [tally.bad for tally in measurement.tallies] == [40, 60, 60]
    assert measurement.tallies[2].observed == 0.03


def test_a_drift_far_below_the_limit_is_none():
    assert measured(a_run(lambda due_s: 0.001 * due_s)).doubts == ()
