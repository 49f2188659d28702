"""How often verdicts are wrong on laws that are known: the short version of tests/benchmarks/verdicts.py, seeded.

200 windows for each ratio: with a true error rate of 1 % seven or more errors would come in 0.4 % of all seeds. Of 100
windows of a test that passes 90 % of them fewer than 82 would pass in 0.5 % of all seeds.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.benchmarks.growing_queues import Case, named_growth
from tests.benchmarks.held_out_laws import HELD_OUT
from tests.benchmarks.judged_windows import Cell, judged
from tests.benchmarks.law_truths import truth_of
from tests.benchmarks.other_slos import Case as SloCase
from tests.benchmarks.other_slos import judged_verdicts
from tests.benchmarks.queue_laws import SERVICES, Service
from tuner.domain.growth import Growth
from tuner.domain.slo import Indicator, Verdict

QUEUE = next(service for service in SERVICES if service.name == "M/D/1 at 60 %")
REPLICAS = next(service for service in HELD_OUT if service.name.startswith("two replicas"))
DAY = next(service for service in HELD_OUT if service.name.startswith("one day"))
MOST_WRONG = 6
RUNS = 200
FEWEST_PASSED = 82


def verdicts_of(
    service: Service, effective: int, ratios: tuple[float, ...], runs: int
) -> Mapping[float, list[Verdict]]:
    """Windows that are worth so many independent requests; the fewest that can pass at all are 459."""
    requests = int(effective * truth_of(service).design_effect)
    tests = judged(Cell(service, requests, ratios, runs, (11,)))
    return {ratio: [test.verdict for test in these] for ratio, these in tests.items()}


@pytest.fixture(scope="module", params=[QUEUE, REPLICAS], ids=["tuned on", "held out"])
def short_windows(request: pytest.FixtureRequest) -> Mapping[float, list[Verdict]]:
    return verdicts_of(request.param, 550, (0.7, 0.98, 1.02, 1.3), RUNS)


def test_beyond_the_limit_hardly_any_window_passes(short_windows: Mapping[float, list[Verdict]]):
    assert short_windows[1.02].count(Verdict.PASS) <= MOST_WRONG
    assert short_windows[1.3].count(Verdict.PASS) == 0


def test_below_the_limit_hardly_any_window_fails(short_windows: Mapping[float, list[Verdict]]):
    assert short_windows[0.98].count(Verdict.FAIL) <= MOST_WRONG
    assert short_windows[0.7].count(Verdict.FAIL) == 0


def test_far_from_the_limit_short_windows_are_decided(short_windows: Mapping[float, list[Verdict]]):
    assert short_windows[0.7].count(Verdict.PASS) > RUNS // 5
    assert short_windows[1.3].count(Verdict.FAIL) > RUNS // 4


@pytest.mark.parametrize("service", [QUEUE, REPLICAS], ids=["tuned on", "held out"])
def test_at_four_fifths_of_the_limit_2500_effective_requests_pass(service: Service):
    found = verdicts_of(service, 2_500, (0.8, 1.02), 100)
    assert found[0.8].count(Verdict.PASS) >= FEWEST_PASSED
    assert found[1.02].count(Verdict.PASS) <= 4, "5 of 100 at a true 1 % come in 0.3 % of all seeds"


def test_a_load_with_a_shape_can_pass_and_is_not_failed_for_its_peak():
    found = verdicts_of(DAY, 700, (0.6, 0.98, 1.02), 100)
    assert found[0.6].count(Verdict.PASS) > 50
    assert found[0.98].count(Verdict.FAIL) <= 4
    assert found[1.02].count(Verdict.PASS) <= 4


@pytest.mark.parametrize("indicator", ["latency_p90_ms", "error_ratio", "goodput_ratio"])
def test_other_slos_are_judged_as_certainly(indicator: Indicator):
    found = judged_verdicts(SloCase(indicator, QUEUE.name, False, 40, 3), (0.6, 0.95, 1.05, 1.6))
    assert found[0.6].count(Verdict.PASS) >= 36
    assert found[1.6].count(Verdict.FAIL) >= 36
    assert found[0.95].count(Verdict.FAIL) + found[1.05].count(Verdict.PASS) <= 4


@pytest.mark.parametrize(("load", "requests", "fewest", "most"), [(0.85, 3_000, 0.0, 0.02), (1.05, 3_000, 0.7, 1.0)])
def test_a_growing_queue_is_named_and_a_steady_one_is_not(load: float, requests: int, fewest: float, most: float):
    """Of 200 windows; with false alarms in 0.5 % of them more than four would come in 0.4 % of all seeds."""
    named = named_growth(Case("M/M/1", load, requests, 200, 5), (1.0,))[1.0]
    assert fewest <= (named[Growth.LATER] + named[Growth.QUEUE]) / 200 <= most
