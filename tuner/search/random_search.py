"""Uniform draws without repeats: the baseline that every other optimizer has to beat."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from tuner.domain.space import Configuration
from tuner.domain.trial import Exhausted, Proposal, Trial, trial_seed
from tuner.search.problem import SearchProblem
from tuner.search.untried import all_tried, draw_untried, taken_indices


@dataclass(frozen=True, slots=True)
class RandomSearch:
    """Each untried configuration is equally likely to be the next."""

    problem: SearchProblem

    def suggest(self, history: Sequence[Trial], pending: Sequence[Configuration] = ()) -> Proposal | Exhausted:
        space = self.problem.space
        taken = taken_indices(space, history, pending)
        if len(taken) >= len(space):
            return Exhausted(reason=all_tried(space))
        source = random.Random(trial_seed(self.problem.seed, len(history), len(pending)))
        return Proposal(configuration=draw_untried(space, taken, source), replica_counts=self.problem.replica_counts)
