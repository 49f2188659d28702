from __future__ import annotations

import math

import pytest

from tests.specs import space_of
from tests.worlds import a_measurement, a_problem, a_trial
from tuner.domain.slo import Verdict
from tuner.domain.space import Configuration
from tuner.domain.trial import Confirmation, Failed, Infeasible, Level, Measured, Outcome
from tuner.search.scoring import CANNOT_SERVE, Score, penalised, scores

PROBLEM = a_problem(space_of(cpu_cores=(1, 2, 4)), max_replicas=3)
ONE, TWO, FOUR = PROBLEM.space
UNIT = PROBLEM.unit_cost_per_hour(TWO)


def level(replicas: int, latency_ms: float, carried_rps: float = math.inf) -> Level:
    measurement = a_measurement(offered_rps=120.0 / replicas, latency_ms=latency_ms, carried_rps=carried_rps)
    return Level(replicas=replicas, measurement=measurement)


def measured(*levels: Level) -> Outcome:
    return Measured(levels=levels)


def score_of(*outcomes: Outcome, configuration: Configuration = TWO) -> Score:
    trials = [a_trial(PROBLEM, k, configuration, outcome) for k, outcome in enumerate(outcomes)]
    return scores(PROBLEM, trials)[configuration]


def test_a_plausible_level_scores_what_its_replicas_cost():
    assert score_of(measured(level(1, 300.0), level(2, 50.0))) == Score(2 * UNIT, 0.0)


def test_a_missed_limit_is_a_violation_that_grows_with_lateness():
    slow, slower = (score_of(measured(level(3, latency_ms))) for latency_ms in (110.0, 300.0))
    assert slow == Score(3 * UNIT, pytest.approx(math.log(1.1), abs=0.02))
    assert slower.violation > slow.violation


def test_overload_beyond_all_replicas_adds_to_the_violation_and_is_finite():
    light, heavy, dead = (score_of(measured(level(3, 900.0, carried))) for carried in (20.0, 5.0, 0.0))
    assert 0 < light.violation < heavy.violation < dead.violation < math.inf
    assert dead.violation == CANNOT_SERVE


def test_what_was_not_worth_more_replicas_costs_at_least_the_next_step_and_is_not_held_against_it():
    assert score_of(measured(level(1, 300.0))) == Score(2 * UNIT, 0.0)
    assert score_of(measured(level(1, 900.0, carried_rps=50.0))) == Score(3 * UNIT, 0.0)


def test_what_cannot_serve_is_worst():
    assert score_of(Infeasible(reason="out of memory")).violation == CANNOT_SERVE


def test_a_level_that_missed_counts_as_missed_even_if_undecided():
    undecided = a_measurement(offered_rps=60.0, latency_ms=50.0, late=8)
    assert Level(replicas=2, measurement=undecided).verdict is Verdict.UNDECIDED
    assert score_of(measured(Level(replicas=2, measurement=undecided))) == Score(3 * UNIT, 0.0)


def test_a_confirmation_that_fails_refutes_what_the_search_believed():
    trials = [
        a_trial(PROBLEM, 0, TWO, measured(level(1, 300.0), level(2, 90.0))),
        a_trial(PROBLEM, 1, TWO, measured(level(2, 130.0)), Confirmation(replicas=2, repeat=0)),
    ]
    assert scores(PROBLEM, trials) == {TWO: Score(3 * UNIT, 0.0)}


def test_failures_of_the_machine_score_nothing():
    trials = [
        a_trial(PROBLEM, 0, ONE, Failed(error="no disk space")),
        a_trial(PROBLEM, 1, TWO, Failed(error="no disk space")),
        a_trial(PROBLEM, 2, TWO, measured(level(1, 50.0))),
    ]
    assert scores(PROBLEM, trials) == {TWO: Score(UNIT, 0.0)}


def test_a_penalty_is_worse_than_any_cost_that_was_seen():
    numbers = penalised({ONE: Score(9.0, 0.0), TWO: Score(2.0, 0.0), FOUR: Score(1.0, 0.01)})
    assert numbers[TWO] < numbers[ONE] < numbers[FOUR]


def test_hardware_that_costs_nothing_still_has_a_number():
    assert math.isfinite(penalised({ONE: Score(0.0, 0.0)})[ONE])
