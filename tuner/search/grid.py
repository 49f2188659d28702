"""Every configuration, in the order of the study file: for small spaces, and for the truth in benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tuner.domain.space import Configuration
from tuner.domain.trial import Exhausted, Proposal, Trial
from tuner.search.problem import SearchProblem
from tuner.search.untried import all_tried, index_of, taken_indices, untried_index


@dataclass(frozen=True, slots=True)
class Grid:
    """What failed for reasons of the machine comes again at the end, so that one bad point cannot stop the walk."""

    problem: SearchProblem

    def suggest(self, history: Sequence[Trial], pending: Sequence[Configuration] = ()) -> Proposal | Exhausted:
        space = self.problem.space
        taken = taken_indices(space, history, pending)
        if len(taken) >= len(space):
            return Exhausted(reason=all_tried(space))
        failed = {index_of(space, trial.configuration) for trial in history if trial.configuration in space}
        seen = tuple(sorted({*taken, *failed}))
        index = untried_index(seen if len(seen) < len(space) else taken, 0)
        return Proposal(configuration=space.at(index), replica_counts=self.problem.replica_counts)
