"""What pairs show of a metric: drift that takes both sides along is no noise, and neither is an unsteady candidate."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.unit.gate.test_lock_file import a_lock
from tuner.gate.pairs import Pair, Reading, metric_verdicts
from tuner.gate.result import MetricVerdict
from tuner.gate.sequential import Change


def a_reading(rps: float) -> Reading:
    counts = a_lock().counts
    return Reading(figures=(("saturated_rps", rps),), tallies=(), counts=counts, facts=())


def capacity(deployed: Sequence[float], candidate: Sequence[float]) -> MetricVerdict:
    pairs = [
        Pair(number=k, deployed=a_reading(one), candidate=a_reading(other), elapsed_s=1.0)
        for k, (one, other) in enumerate(zip(deployed, candidate, strict=True))
    ]
    (verdict,) = metric_verdicts(pairs, a_lock(), 5)
    return verdict


def test_a_machine_that_drifts_excuses_no_regression():
    drifting = [100.0, 120.0, 140.0, 170.0, 200.0]
    slower = [0.80 * rps * (1.0 + wobble) for rps, wobble in zip(drifting, (0.0, 0.01, -0.01, 0.0, 0.01), strict=True)]
    verdict = capacity(drifting, slower)
    assert verdict.change is Change.REGRESSION
    assert verdict.cv < 0.01
    assert verdict.blocks


def test_an_unsteady_candidate_is_not_excused_and_an_unsteady_deployed_side_is():
    steady, unsteady = [100.0, 100.5, 99.5, 100.0, 100.2], [100.0, 60.0, 140.0, 70.0, 130.0]
    assert capacity(steady, unsteady).cv == pytest.approx(0.0037, abs=1e-3)
    assert capacity(unsteady, steady).erratic
