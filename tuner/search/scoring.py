"""From outcomes to numbers that a generic optimizer minimises: the only place where a missed SLO becomes a penalty."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tuner.domain.cost import replicas_at_least
from tuner.domain.recommendation import miss
from tuner.domain.space import Configuration
from tuner.domain.trial import Failed, Infeasible, Level, Measured, Trial
from tuner.search.problem import SearchProblem

# Natural logarithms of factors, so that "20 times too late" is where all further lateness looks alike.
LATE_CAP = 3.0
OVERLOAD_CAP = 3.0
CANNOT_SERVE = LATE_CAP + OVERLOAD_CAP
# Hardware that is owned may cost nothing an hour.
LEAST_COST_PER_HOUR = 1e-6


@dataclass(frozen=True, slots=True)
class Score:
    """Money per hour for the whole load, and by how much (a logarithm, 0 = not at all) even the most replicas miss."""

    cost_per_hour: float
    violation: float


def scores(problem: SearchProblem, history: Sequence[Trial]) -> dict[Configuration, Score]:
    """One score per configuration tried, in the order of first appearance. Failed trials are left out.

    Confirmations teach too: a level that missed in any trial has missed, however well the search saw it.
    """
    told: dict[Configuration, list[Trial]] = {}
    for trial in history:
        if not isinstance(trial.outcome, Failed):
            told.setdefault(trial.configuration, []).append(trial)
    return {configuration: _score(problem, trials) for configuration, trials in told.items()}


def penalised(scored: Mapping[Configuration, Score]) -> dict[Configuration, float]:
    """One number each, lower is better: the logarithm of cost, and for a miss the dearest one seen plus the miss."""
    logs = {c: math.log(max(score.cost_per_hour, LEAST_COST_PER_HOUR)) for c, score in scored.items()}
    ceiling = max(logs.values(), default=0.0)
    return {c: ceiling + score.violation if score.violation > 0 else logs[c] for c, score in scored.items()}


def _score(problem: SearchProblem, trials: Sequence[Trial]) -> Score:
    unit_cost = trials[0].unit_cost_per_hour
    if any(isinstance(trial.outcome, Infeasible) for trial in trials):
        return Score(problem.max_replicas * unit_cost, CANNOT_SERVE)
    levels = [level for trial in trials if isinstance(trial.outcome, Measured) for level in trial.outcome.levels]
    replicas = _fewest_left(problem, levels)
    if replicas <= problem.max_replicas:
        return Score(replicas * unit_cost, 0.0)
    lightest = max(levels, key=lambda level: level.replicas)
    return Score(problem.max_replicas * unit_cost, _violation(problem, lightest))


def _fewest_left(problem: SearchProblem, levels: Sequence[Level]) -> int:
    """The fewest replicas that were seen to hold, else the fewest that the capacity seen could ever allow.

    What missed a limit counts as missed, certain or not: an optimizer that is drawn to what is merely undecided
    collects borderline cases. The loop skips levels that cannot beat the best cost known: such a configuration costs at
    least this, and may hold.
    """
    missed = [level for level in levels if miss(level.measurement) > 1.0]
    most_missed = max((level.replicas for level in missed), default=0)
    held = [level.replicas for level in levels if level.replicas > most_missed]
    if held:
        return min(held)
    carried_rps = max((level.measurement.carried_rps for level in missed), default=0.0)
    return max(most_missed + 1, replicas_at_least(problem.required_rps, carried_rps))


def _violation(problem: SearchProblem, lightest: Level) -> float:
    """How late the lightest load was, and by how much the load exceeds what all replicas would carry."""
    measurement = lightest.measurement
    missed = miss(measurement)
    late = min(LATE_CAP, math.log(missed)) if missed > 1.0 else 0.0
    carried_rps = problem.max_replicas * measurement.carried_rps
    overload = math.log(problem.required_rps / carried_rps) if carried_rps > 0 else OVERLOAD_CAP
    return max(late + min(OVERLOAD_CAP, max(0.0, overload)), math.ulp(1.0))
