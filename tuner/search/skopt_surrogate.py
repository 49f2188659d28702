"""The door to scikit-optimize: a surrogate of the penalised objective, and its expected improvement."""

from __future__ import annotations

import random
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from skopt.acquisition import gaussian_ei
from skopt.space import Categorical, Integer, Space
from skopt.utils import cook_estimator, normalize_dimensions

from tuner.domain.space import Configuration, Knob, SearchSpace
from tuner.domain.trial import Exhausted, Proposal, Trial, trial_seed
from tuner.search.one_thread import one_thread
from tuner.search.problem import SearchProblem
from tuner.search.scoring import penalised, scores
from tuner.search.untried import all_tried, draw_untried, taken_indices, untried_index

STARTUP_TRIALS = 10
# Expected improvement is compared over so many untried points: all of a small space, a sample of a large one.
POINTS = 1000
# What differs from scikit-optimize's own defaults: they are for hundreds of points, or for many cores.
SETTINGS: dict[str, dict[str, int]] = {"GP": {"n_restarts_optimizer": 1}, "ET": {"n_estimators": 100, "n_jobs": 1}}


Surrogate = Literal["GP", "ET"]


@dataclass(frozen=True, slots=True)
class SkoptSurrogate:
    """scikit-optimize's Gaussian process (GP) or extra trees (ET), fitted anew to the history for each suggestion.

    Cost and misses become one number (`scoring.penalised`); what is pending counts as average, so that its
    neighbourhood is no more uncertain. The first trials are uniform draws.
    """

    problem: SearchProblem
    surrogate: Surrogate = "GP"

    def suggest(self, history: Sequence[Trial], pending: Sequence[Configuration] = ()) -> Proposal | Exhausted:
        space = self.problem.space
        taken = taken_indices(space, history, pending)
        if len(taken) >= len(space):
            return Exhausted(reason=all_tried(space))
        source = random.Random(trial_seed(self.problem.seed, len(history), len(pending)))
        told = {c: y for c, y in penalised(scores(self.problem, history)).items() if c in space}
        if len(told) < STARTUP_TRIALS:
            configuration = draw_untried(space, taken, source)
        else:
            average = sum(told.values()) / len(told)
            believed = {**{c: average for c in pending if c in space}, **told}
            points = _points(space, taken, source)
            chosen = _most_promising(space, believed, points, surrogate=self.surrogate, seed=source.randrange(2**32))
            configuration = points[chosen]
        return Proposal(configuration=configuration, replica_counts=self.problem.replica_counts)


def _points(space: SearchSpace, taken: Sequence[int], source: random.Random) -> list[Configuration]:
    """Untried points, all different."""
    free = len(space) - len(taken)
    ranks = range(free) if free <= POINTS else sorted(source.sample(range(free), POINTS))
    return [space.at(untried_index(taken, rank)) for rank in ranks]


def _most_promising(
    space: SearchSpace,
    told: dict[Configuration, float],
    points: Sequence[Configuration],
    *,
    surrogate: Surrogate,
    seed: int,
) -> int:
    """The position of the point with the greatest expected improvement, under a surrogate of what was told."""
    knobs = [knob for knob in space.knobs if len(knob.values) > 1]
    box = Space(normalize_dimensions([_dimension(knob) for knob in knobs]))

    def located(configurations: Sequence[Configuration]) -> object:
        return box.transform([[knob.values.index(c[knob.name]) for knob in knobs] for c in configurations])

    model = cook_estimator(surrogate, space=box.dimensions, random_state=seed, **SETTINGS[surrogate])
    with one_thread(), warnings.catch_warnings():
        # scikit-learn warns where a length scale ends at its bound: a knob that does not matter, no fault.
        warnings.simplefilter("ignore")
        model.fit(located(list(told)), list(told.values()))
        return int(gaussian_ei(located(points), model, y_opt=min(told.values())).argmax())


def _dimension(knob: Knob) -> Integer | Categorical:
    """Over the positions of the knob's values: evenly spaced however the values are."""
    if knob.ordered:
        return Integer(0, len(knob.values) - 1, name=knob.name)
    return Categorical(list(range(len(knob.values))), name=knob.name)
