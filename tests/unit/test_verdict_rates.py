"""How often verdicts are wrong on queues of known p99: the short version of tests/benchmarks/verdicts.py, seeded.

300 windows for each ratio: with a true error rate of 1 % nine or more errors would come in 0.4 % of all seeds.
"""

from __future__ import annotations

import pytest

from tests.benchmarks.queue_laws import SERVICES
from tests.benchmarks.verdicts import judged_windows
from tuner.domain.slo import Verdict

LIGHT = SERVICES[1]
MOST_WRONG = 8
RUNS = 300


@pytest.fixture(scope="module")
def found() -> dict[float, list[Verdict]]:
    """An M/D/1 queue at 60 % load, windows of about 500 effective requests: the fewest that can pass at all."""
    tests = judged_windows(LIGHT, 5_000, (0.7, 0.98, 1.02, 1.3), RUNS, seed=11)
    return {ratio: [test.verdict for test in these] for ratio, these in tests.items()}


@pytest.mark.parametrize("ratio", [1.02, 1.3])
def test_beyond_the_limit_hardly_any_window_passes(found: dict[float, list[Verdict]], ratio: float):
    assert found[ratio].count(Verdict.PASS) <= MOST_WRONG


@pytest.mark.parametrize("ratio", [0.7, 0.98])
def test_below_the_limit_hardly_any_window_fails(found: dict[float, list[Verdict]], ratio: float):
    assert found[ratio].count(Verdict.FAIL) <= MOST_WRONG


def test_far_from_the_limit_most_windows_are_decided(found: dict[float, list[Verdict]]):
    assert found[0.7].count(Verdict.PASS) > RUNS // 5
    assert found[1.3].count(Verdict.FAIL) > RUNS // 4
