from __future__ import annotations

from dataclasses import replace

import pytest

from tests.deployables import a_deployable
from tuner.domain.arrival_kinds import PRESETS, Arrivals, Diurnal, Periodic, Ramp, Replay, Spike, Steps
from tuner.domain.scaling import load_swing, scaling_plan
from tuner.manifests.exports.autoscaling import rate_quantity


def recording(by_hour: list[int]) -> Replay:
    starts = [hour + k / count for hour, count in enumerate(by_hour) for k in range(count)]
    return Replay(starts_s=tuple(starts))


@pytest.mark.parametrize(
    ("arrivals", "least", "aim_rps"),
    [
        (Diurnal(valley=0.3), 1, 400 / 3),
        (Diurnal(valley=0.5), 2, 400 / 3),
        (Diurnal(valley=0.0), 1, 400 / 3),
        (Ramp(begin=0.7, end=1.0), 3, 400 / 3),
        (PRESETS["low_average"], 1, 0.1 * 400 / 3),
        ("poisson", 3, 400 / 3),
        (None, 3, 400 / 3),
        (Spike(), 3, 400 / 3),
        (Steps(shares=(0.1, 1.0)), 3, 400 / 3),
        (Periodic(every_s=900.0, work_s=180.0), 3, 400 / 3),
    ],
)
def test_bounds_follow_a_load_that_moves_slowly_and_no_other(arrivals: Arrivals, least: int, aim_rps: float):
    plan = scaling_plan(a_deployable(arrivals=arrivals))
    assert (plan.least, plan.most) == (least, 3)
    assert plan.replica_rps == pytest.approx(aim_rps, rel=1e-4)


def test_at_its_own_peak_a_scaler_asks_for_the_proven_replicas():
    of = a_deployable()
    plan = scaling_plan(of)
    assert plan.replica_rps * of.replicas == pytest.approx(of.target_rps, rel=1e-5)
    assert plan.replica_rps == pytest.approx(of.replica_rps * (1 - of.headroom), rel=1e-5)


def test_a_recorded_day_tells_valley_and_peak():
    day = recording([10] * 8 + [40] * 8 + [25] * 8)
    swing = load_swing(day, offered_requests=1000)
    assert swing.valley == pytest.approx(10 / 25, rel=0.15)
    assert swing.peak == pytest.approx(40 / 25, rel=0.15)
    assert swing.gradual


@pytest.mark.parametrize(
    ("by_hour", "offered", "why"), [([5] * 24, 1000, "too short to show a day"), ([20] * 24, 100, "longer than what")]
)
def test_a_recording_that_shows_no_day_is_flat(by_hour: list[int], offered: float, why: str):
    assert why in load_swing(recording(by_hour), offered_requests=offered).flat


@pytest.mark.parametrize(("cold_s", "calm_s", "period_s"), [(3.0, 300, 15), (200.2, 401, 201), (4000.0, 3600, 1800)])
def test_patience_comes_from_the_cold_start(cold_s: float, calm_s: int, period_s: int):
    plan = scaling_plan(a_deployable(cold_start_s=cold_s))
    assert (plan.calm_s, plan.period_s) == (calm_s, period_s)


def test_what_was_not_measured_is_said():
    plan = scaling_plan(a_deployable(arrivals="poisson", cold_start_s=None), most=9)
    assert (plan.calm_s, plan.period_s, plan.most) == (300, 15, 9)
    assert [note.split(":")[0] for note in plan.notes] == [
        "the study's load is the same all the time",
        "the cold start was not measured",
        "more than 3 replicas side by side were not measured",
    ]


def test_stated_bounds_stand():
    plan = scaling_plan(a_deployable(), least=2, most=8)
    assert (plan.least, plan.most) == (2, 8)
    assert scaling_plan(replace(a_deployable(), replicas=1), least=4).most == 4


@pytest.mark.parametrize(("rate_rps", "quantity"), [(200.0, "200"), (400 / 3, "133334m"), (0.0004, "1m")])
def test_rates_are_quantities_rounded_up(rate_rps: float, quantity: str):
    assert rate_quantity(rate_rps) == quantity
