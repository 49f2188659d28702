from __future__ import annotations

import math
import random

import pytest

from tests.contract.optimizer_contract import OptimizerContract
from tests.specs import space_of
from tests.worlds import a_problem, a_trial, explore, queue_world
from tuner.domain.trial import Proposal
from tuner.ports import Optimizer
from tuner.search.grid import Grid
from tuner.search.optuna_tpe import OptunaTpe
from tuner.search.problem import SearchProblem
from tuner.search.random_search import RandomSearch
from tuner.search.skopt_surrogate import SkoptSurrogate
from tuner.search.structured_optimizer import StructuredOptimizer

MILLION = space_of(
    cpu_cores=tuple(range(1, 33)),
    instances=tuple(range(1, 33)),
    max_batch_size=tuple(range(1, 33)),
    queue_delay_ms=tuple(range(32)),
)


class TestRandom(OptimizerContract):
    def make(self, problem: SearchProblem) -> Optimizer:
        return RandomSearch(problem)


class TestGrid(OptimizerContract):
    def make(self, problem: SearchProblem) -> Optimizer:
        return Grid(problem)


class TestTpe(OptimizerContract):
    def make(self, problem: SearchProblem) -> Optimizer:
        return OptunaTpe(problem)


class TestGp(OptimizerContract):
    def make(self, problem: SearchProblem) -> Optimizer:
        return SkoptSurrogate(problem, "GP")


class TestForest(OptimizerContract):
    def make(self, problem: SearchProblem) -> Optimizer:
        return SkoptSurrogate(problem, "ET")


def _forest(problem: SearchProblem) -> Optimizer:
    return SkoptSurrogate(problem, "ET")


@pytest.mark.parametrize("make", [RandomSearch, Grid, OptunaTpe, SkoptSurrogate, _forest, StructuredOptimizer])
def test_a_million_configurations_are_never_written_out(make, monkeypatch):
    def refuse(_space):
        raise AssertionError("the whole space was enumerated")

    problem = a_problem(MILLION)
    source = random.Random(4)
    configurations = [MILLION.at(source.randrange(len(MILLION))) for _ in range(12)]
    history = [a_trial(problem, k, c, queue_world(c, (1, 2))) for k, c in enumerate(configurations)]
    monkeypatch.setattr(type(MILLION), "__iter__", refuse)
    proposal = make(problem).suggest(history)
    assert isinstance(proposal, Proposal)
    assert proposal.configuration in MILLION


@pytest.mark.parametrize("make", [RandomSearch, OptunaTpe, SkoptSurrogate, _forest])
def test_another_seed_is_another_walk(make):
    space = space_of(cpu_cores=tuple(range(1, 33)), max_batch_size=tuple(range(1, 33)))
    firsts = {make(a_problem(space, seed=seed)).suggest(()).configuration for seed in range(5)}
    assert len(firsts) > 1


@pytest.mark.parametrize("make", [OptunaTpe, SkoptSurrogate, _forest])
def test_a_model_learns_where_it_is_cheap_and_holds(make):
    """Of its last 15 proposals in 256 points, more are plausible and cheap than of as many random draws."""
    space = space_of(cpu_cores=tuple(range(1, 17)), max_batch_size=tuple(range(1, 129, 8)))

    def cheap(optimizer_of) -> int:
        problem = a_problem(space, seed=1)
        history = explore(lambda: optimizer_of(problem), problem, queue_world, trials=30)
        costs = [trial.total_cost_per_hour for trial in history[-15:]]
        return sum(cost is not None and cost <= 0.4 for cost in costs)

    assert cheap(make) > cheap(RandomSearch) + 3


class TestStructured(OptimizerContract):
    """It stops by itself once nothing cheaper is plausible, and says so."""

    stops_early = True

    def make(self, problem: SearchProblem) -> Optimizer:
        return StructuredOptimizer(problem)


def test_the_structured_search_is_within_a_tenth_of_the_cheapest_after_a_dozen_trials_and_stops():
    space = space_of(cpu_cores=tuple(range(1, 17)), max_batch_size=tuple(range(1, 129, 8)))
    problem = a_problem(space, seed=1)
    everything = (a_trial(problem, k, c, queue_world(c, (1, 2))) for k, c in enumerate(space))
    cheapest = min(trial.total_cost_per_hour or math.inf for trial in everything)
    history = explore(lambda: StructuredOptimizer(problem), problem, queue_world, trials=40)
    assert min(trial.total_cost_per_hour or math.inf for trial in history[:12]) <= 1.1 * cheapest
    assert len(history) < 40
