import math

import pytest

from reports.numbers import count, duration, rate, rounding_for, share, shortened


@pytest.mark.parametrize(
    ("limit_ms", "cost", "latency", "money"),
    [
        (100.0, 0.05, "12.3", "0.0500"),
        (5.0, 2.0, "12.35", "2.00"),
        (0.5, 12.0, "12.346", "12.00"),
        (20.0, 0.7, "12.3", "0.7000"),
        (2000.0, 0.00021, "12.3", "0.000210"),
    ],
)
def test_decimals_follow_the_limit_and_the_smallest_cost(limit_ms: float, cost: float, latency: str, money: str):
    rounding = rounding_for(currency="USD", limits_ms=[limit_ms, 10_000.0], costs_per_hour=[cost, 0.0, 90.0])
    assert rounding.latency(12.3456).text == latency
    assert rounding.per_hour(cost).text == money


def test_a_latency_without_an_end_stays_infinite_beside_its_text():
    rounding = rounding_for(currency="USD", limits_ms=[], costs_per_hour=[])
    assert rounding.latency(math.inf).raw == math.inf
    assert rounding.latency(math.inf).text == "∞"
    assert rounding.latency_text(math.inf) == "no answer"


def test_a_month_has_730_hours():
    assert rounding_for(currency="USD", limits_ms=[], costs_per_hour=[1.0]).per_month(0.05).raw == pytest.approx(36.5)


@pytest.mark.parametrize(
    ("ratio", "text"), [(0.0, "0 %"), (0.1, "10 %"), (0.01, "1 %"), (0.001, "0.1 %"), (0.0123, "1.2 %"), (1.0, "100 %")]
)
def test_small_shares_keep_a_digit(ratio: float, text: str):
    assert share(ratio) == text


@pytest.mark.parametrize(
    ("rps", "text"), [(250.0, "250"), (90.0, "90"), (277.78, "278"), (12.34, "12.3"), (0.5, "0.50")]
)
def test_rates(rps: float, text: str):
    assert rate(rps).text == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(8.44, "8.4 s"), (59.96, "60.0 s"), (192.0, "3 min 12 s"), (7500.0, "2 h 5 min")]
)
def test_durations(seconds: float, text: str):
    assert duration(seconds).replace("\N{NO-BREAK SPACE}", " ") == text


def test_counts_have_a_number():
    assert (count(1, "trial"), count(1204, "trial"), count(2, "proof", "proofs")) == (
        "1 trial",
        "1,204 trials",
        "2 proofs",
    )


def test_shortening_says_how_much_is_left_out():
    assert shortened("x" * 100, 10) == "x" * 10 + "… (90 more characters)"


def test_signs_that_turn_or_hide_text_are_gone():
    assert shortened("ab\N{RIGHT-TO-LEFT OVERRIDE}c\x00\nd", 10) == "ab c  d"
