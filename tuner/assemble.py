"""The only module that knows back-ends by name: one plain dict per port, heavy imports inside the factories."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from tuner.clock import wall_clock_text
from tuner.domain.errors import UsageError
from tuner.domain.spec import OptimizerName, RunnerKind, StudySpec
from tuner.ports import Optimizer
from tuner.search.problem import SearchProblem
from tuner.study import Bench


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
    from tuner.search.skopt_gp import SkoptGp

    return SkoptGp(problem)


OPTIMIZERS: dict[OptimizerName, Callable[[SearchProblem], Optimizer]] = {
    "random": _random,
    "grid": _grid,
    "tpe": _tpe,
    "gp": _gp,
}


def make_optimizer(spec: StudySpec) -> Optimizer:
    return OPTIMIZERS[spec.search.optimizer](search_problem(spec))


def search_problem(spec: StudySpec) -> SearchProblem:
    """What the study asks, as an optimizer needs it."""
    return SearchProblem(
        space=spec.space,
        pricing=spec.pricing,
        slos=spec.slos,
        required_rps=spec.required_rps,
        max_replicas=spec.max_replicas,
        seed=spec.search.seed,
    )


@contextmanager
def _simulated(spec: StudySpec) -> Iterator[Bench]:
    from runners.simulated_bench import SimulatedBench, VirtualClock
    from runners.simulated_service import virtual_model

    bench = SimulatedBench(
        model=virtual_model(spec.runner.options),
        footprint=spec.pricing.footprint,
        model_name=spec.model.name,
        clock=VirtualClock(),
    )
    yield Bench(runner=bench, load=bench, clock=bench.clock, wall_clock=wall_clock_text)


BENCHES: dict[RunnerKind, Callable[[StudySpec], AbstractContextManager[Bench]]] = {
    "simulated": _simulated,
}


def open_bench(spec: StudySpec) -> AbstractContextManager[Bench]:
    """Where the study's trials are carried out. Raises UsageError for a runner that is not built yet."""
    if spec.runner.kind not in BENCHES:
        raise UsageError(f"runner {spec.runner.kind!r} is not built yet", hint=f"one of {', '.join(BENCHES)}")
    return BENCHES[spec.runner.kind](spec)
