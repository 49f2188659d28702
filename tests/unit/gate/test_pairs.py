"""What pairs show of a metric: drift that takes both sides along is no noise, and neither is an unsteady candidate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.gate_runs import study_file
from tests.unit.gate.test_lock_file import a_lock
from tuner.assemble import open_bench
from tuner.domain.errors import InfrastructureError
from tuner.gate.pairs import Pair, Reading, Side, lower_bound_note, metric_verdicts
from tuner.gate.result import MetricVerdict
from tuner.gate.sequential import Change
from tuner.gate_pairs import MeasuredSide, PairPlan, measured_pairs, overload_for
from tuner.place import Site
from tuner.spec_file import load_spec


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


def test_drift_leaves_an_open_question_as_noisy_as_it_is():
    drifting = [100.0, 120.0, 140.0, 170.0, 200.0]
    verdict = capacity(drifting, [rps * ratio for rps, ratio in zip(drifting, (0.9, 1.0, 0.9, 1.0, 1.0), strict=True)])
    assert (verdict.change, verdict.erratic) == (Change.INCONCLUSIVE, True)


@pytest.fixture
def sides(tmp_path: Path) -> Iterator[dict[Side, MeasuredSide]]:
    """The same simulated spec twice; the candidate has half as many replicas."""
    spec = load_spec(study_file(tmp_path))
    configuration = next(iter(spec.space))
    with open_bench(spec, lambda _: None, Site()) as bench:
        deployed = MeasuredSide(name="deployed", spec=spec, configuration=configuration, replicas=2, bench=bench)
        yield {"deployed": deployed, "candidate": replace(deployed, name="candidate", replicas=1)}


def test_one_of_fewer_replicas_gets_a_larger_part_of_the_overload(sides):
    plan = PairPlan(saturation_s=1.0, overload_rps=300.0, seed=1)
    deployed = sides["deployed"]
    assert overload_for(deployed, deployed, plan).overload_rps == 300.0
    assert overload_for(sides["candidate"], deployed, plan).overload_rps == 600.0


def test_a_deployed_side_that_carries_its_overload_is_not_measured(sides):
    plan = PairPlan(saturation_s=2.0, overload_rps=20.0, seed=1)
    with pytest.raises(InfrastructureError, match="was not saturated by 20 rps"):
        next(measured_pairs(sides, plan, None, lambda _: None))


def test_a_candidate_that_carries_its_overload_shows_a_lower_bound(sides):
    candidate = replace(sides["candidate"], replicas=100)  # so that one of them gets a fiftieth
    plan = PairPlan(saturation_s=2.0, overload_rps=1000.0, seed=1)
    pair = next(measured_pairs({**sides, "candidate": candidate}, plan, None, lambda _: None))
    assert (pair.deployed.saturated, pair.candidate.saturated) == (True, False)
    (note,) = lower_bound_note([pair])
    assert "at least" in note
    assert lower_bound_note([replace(pair, candidate=pair.deployed)]) == ()
