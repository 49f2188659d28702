"""Every optimizer by its name in a study file; what an optimizer computes with is loaded when it is made."""

from __future__ import annotations

from collections.abc import Callable

from tuner.domain.spec import OptimizerName
from tuner.ports import Optimizer
from tuner.search.problem import SearchProblem

OptimizerOf = Callable[[SearchProblem], Optimizer]


def _random(problem: SearchProblem) -> Optimizer:
    from tuner.search.random_search import RandomSearch

    return RandomSearch(problem)


def _grid(problem: SearchProblem) -> Optimizer:
    from tuner.search.grid import Grid

    return Grid(problem)


def _tpe(problem: SearchProblem) -> Optimizer:
    from tuner.search.optuna_tpe import OptunaTpe

    return OptunaTpe(problem)


def _gp(problem: SearchProblem) -> Optimizer:
    from tuner.search.skopt_surrogate import SkoptSurrogate

    return SkoptSurrogate(problem, "GP")


def _forest(problem: SearchProblem) -> Optimizer:
    from tuner.search.skopt_surrogate import SkoptSurrogate

    return SkoptSurrogate(problem, "ET")


def _structured(problem: SearchProblem) -> Optimizer:
    from tuner.search.structured_optimizer import StructuredOptimizer

    return StructuredOptimizer(problem)


OPTIMIZERS: dict[OptimizerName, OptimizerOf] = {
    "random": _random,
    "grid": _grid,
    "tpe": _tpe,
    "gp": _gp,
    "forest": _forest,
    "structured": _structured,
}
