"""The options of `servetune load`: what they mean, and what is refused."""

from __future__ import annotations

import pytest

from tuner.domain.arrival_kinds import PRESETS, Arrivals, Diurnal, Gamma, Periodic, Ramp, Spike, Steps
from tuner.domain.errors import UsageError
from tuner.load_options import arrivals_of, duration_s, slo_of


@pytest.mark.parametrize(
    ("text", "seconds"), [("20s", 20.0), ("500ms", 0.5), ("2m", 120.0), ("1h", 3600.0), ("3", 3.0)]
)
def test_durations(text: str, seconds: float):
    assert duration_s(text) == seconds


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("latency_p99_ms<=50", "latency_p99_ms <= 50"),
        (" error_ratio <= 1e-2 ", "error_ratio <= 0.01"),
        ("goodput_ratio>=0.99", "goodput_ratio >= 0.99"),
        ("goodput_rps>=190", "goodput_ratio >= 0.95"),
    ],
)
def test_objectives(text: str, shown: str):
    assert str(slo_of(text, offered_rps=200.0)) == shown


@pytest.mark.parametrize(
    "text",
    [
        "p99<=50",
        "latency_p99_ms<50",
        "latency_p99_ms>=50",
        "latency_p99_ms<=0",
        "error_ratio<=0",
        "error_ratio<=1",
        "goodput_ratio<=0.9",
        "goodput_rps>=200",
        "goodput_ratio>=1",
        "latency_p99_ms<=nan",
        "latency_p99_ms<=1e400",
        "latency_p99_ms<=1e9",
        "",
    ],
)
def test_what_is_no_objective_is_refused(text: str):
    with pytest.raises(UsageError):
        slo_of(text, offered_rps=200.0)


def test_arrivals():
    assert arrivals_of("constant") == "constant"
    assert arrivals_of("gamma:4") == Gamma(burstiness=4.0)
    assert arrivals_of("peak_valley") == PRESETS["peak_valley"]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("ramp", Ramp()),
        ("ramp:0.2", Ramp(begin=0.2)),
        ("ramp:1, 0.5", Ramp(begin=1.0, end=0.5)),
        ("steps:0.25,0.5,1", Steps(shares=(0.25, 0.5, 1.0))),
        ("spike:0.1,1,0.2,3", Spike(base=0.1, peak=1.0, length=0.2, spikes=3)),
        ("diurnal:0.1,0.9,2", Diurnal(valley=0.1, peak=0.9, sharpness=2)),
        ("periodic:15m,3m", Periodic(every_s=900.0, work_s=180.0)),
        ("periodic:2s,500ms,0.1", Periodic(every_s=2.0, work_s=0.5, idle=0.1)),
        *PRESETS.items(),
    ],
)
def test_every_kind_of_arrivals_can_be_written(text: str, meant: Arrivals):
    assert arrivals_of(text) == meant


@pytest.mark.parametrize(
    "text",
    [
        *("gamma", "gamma:0", "posson", "gamma:-1", "gamma:1e9", "gamma:1000000000", "gamma:1,2", "poisson:", ""),
        *("ramp:", "ramp:1,2,3", "ramp:-1", "ramp:nan", "steps", "steps:", "steps:1,x", "spike:0,1,2", "spike:0,1,0"),
        *("spike:0,1,0.1,0", "spike:0,1,0.1,1.5", "diurnal:0,1,0", "periodic", "periodic:15m", "periodic:0s,1s"),
        *("periodic:x,y", "peak_valley:3", "replay"),
    ],
)
def test_unknown_arrivals_are_refused(text: str):
    with pytest.raises(UsageError, match="arrivals"):
        arrivals_of(text)


@pytest.mark.parametrize("text", ["", "20 apples", "-1s", "1d"])
def test_what_is_no_duration_is_refused(text: str):
    with pytest.raises(UsageError):
        duration_s(text)
