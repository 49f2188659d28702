"""Explains an answer with the structured search's models, whatever optimizer made the history."""

from __future__ import annotations

from collections.abc import Sequence

from tuner.domain.agenda import tried
from tuner.domain.explanation import Change, Explanation, Ground, KnobWeight, Neighbour, measured_ground
from tuner.domain.recommendation import Candidate
from tuner.domain.slo import PERCENT, Slo
from tuner.domain.trial import Trial
from tuner.search.one_thread import one_thread
from tuner.search.problem import SearchProblem
from tuner.search.structured import explain
from tuner.search.structured.engine import StructuredSearch
from tuner.search.structured.fitting_times import to_explain
from tuner.search.structured_optimizer import StructuredOptimizer
from tuner.search.untried import index_of

# Below this probability a candidate is said to be hardly able to hold.
SLIM = 0.1


def explanation_of(
    problem: SearchProblem, history: Sequence[Trial], answer: Candidate, *, repeats: int
) -> Explanation | None:
    """None where no latency is bounded, or the answer is none of the problem's candidates.

    The models are fitted to the history afresh, a few times on the way: the same explanation whoever made the history.
    """
    latency = [slo for slo in problem.slos if slo.indicator in PERCENT]
    if not latency or answer.configuration not in problem.space or answer.replicas > problem.max_replicas:
        return None
    with one_thread():
        return _explained(problem, history, answer, max(latency, key=lambda slo: PERCENT[slo.indicator]), repeats)


def _explained(
    problem: SearchProblem, history: Sequence[Trial], answer: Candidate, judged: Slo, repeats: int
) -> Explanation:
    search = StructuredOptimizer(problem, to_explain).replay(history)
    row = index_of(problem.space, answer.configuration) * problem.max_replicas + answer.replicas - 1
    neighbours = [_neighbour(problem, history, one, repeats=repeats) for one in explain.cheaper_neighbours(search, row)]
    return Explanation(
        indicator=judged.indicator,
        limit_ms=judged.max,
        neighbours=tuple(neighbours),
        knobs=tuple(KnobWeight(knob=one.knob, factor=one.factor) for one in explain.knob_importance(search, row)),
        changes=tuple(_change(search, row, one) for one in explain.what_if(search, row)),
        tested_share=len(tried(history)) / len(problem.space),
        trials=len(history),
    )


def _predicted(found: explain.Neighbour) -> Ground:
    if found.reason == "predicted not to start":
        return Ground.WOULD_NOT_START
    return Ground.WOULD_MISS if found.feasible < SLIM else Ground.OPEN


def _candidate(problem: SearchProblem, row: int) -> Candidate:
    index, place = divmod(row, problem.max_replicas)
    configuration = problem.space.at(index)
    return Candidate(
        configuration=configuration,
        replicas=place + 1,
        unit_cost_per_hour=problem.unit_cost_per_hour(configuration),
    )


def _neighbour(
    problem: SearchProblem, history: Sequence[Trial], found: explain.Neighbour, *, repeats: int
) -> Neighbour:
    candidate = _candidate(problem, found.row)
    ground, detail = measured_ground(candidate, history, repeats) or (_predicted(found), "")
    return Neighbour(
        knob=found.knob, value=found.label, candidate=candidate, ground=ground, detail=detail, holds=found.feasible
    )


def _change(search: StructuredSearch, row: int, found: explain.WhatIf) -> Change:
    terrain = search.terrain
    knob = next(column for column in terrain.knobs if column.name == found.knob)
    return Change(
        knob=found.knob,
        before=knob.labels[int(knob.positions[row])],
        after=found.label,
        cost_per_hour=found.cost,
        latency_ms=found.share_of_limit * terrain.limit_ms,
        low_ms=found.low * terrain.limit_ms,
        high_ms=found.high * terrain.limit_ms,
        tested=search.was_tested(found.row),
    )
