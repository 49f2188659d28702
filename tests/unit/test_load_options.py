"""The options of `servetune load`: what they mean, and what is refused."""

from __future__ import annotations

import pytest

from tuner.domain.arrival_kinds import PRESETS, Gamma
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


@pytest.mark.parametrize("text", ["gamma", "gamma:0", "posson", "gamma:-1"])
def test_unknown_arrivals_are_refused(text: str):
    with pytest.raises(UsageError, match="arrivals"):
        arrivals_of(text)


@pytest.mark.parametrize("text", ["", "20 apples", "-1s", "1d"])
def test_what_is_no_duration_is_refused(text: str):
    with pytest.raises(UsageError):
        duration_s(text)
