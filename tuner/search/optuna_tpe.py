"""The door to Optuna's samplers: a tree-structured Parzen estimator with the SLOs as a constraint."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from tuner.domain.space import Configuration, Knob, SearchSpace
from tuner.domain.trial import Exhausted, Proposal, Trial, trial_seed
from tuner.search.problem import SearchProblem
from tuner.search.scoring import Score, scores
from tuner.search.untried import all_tried, draw_untried, index_of, taken_indices

STARTUP_TRIALS = 10
# An ask that names a known point leaves it marked as running, and the sampler's constant liar moves away from it.
ASKS = 16

optuna.logging.set_verbosity(optuna.logging.ERROR)


@dataclass(frozen=True, slots=True)
class OptunaTpe:
    """Optuna's TPE with its defaults: cost is the objective, a miss the constraint, ordered knobs are integer levels.

    The sampler's study is made anew from the history for each suggestion. Where the sampler keeps asking for what is
    known, the answer is a uniform draw.
    """

    problem: SearchProblem

    def suggest(self, history: Sequence[Trial], pending: Sequence[Configuration] = ()) -> Proposal | Exhausted:
        space = self.problem.space
        taken = taken_indices(space, history, pending)
        if len(taken) >= len(space):
            return Exhausted(reason=all_tried(space))
        seed = trial_seed(self.problem.seed, len(history), len(pending))
        study = self._study(history, pending, seed)
        distributions = _distributions(space)
        for _ in range(ASKS):
            params = study.ask(distributions).params
            configuration = space.from_levels(tuple(params[knob.name] for knob in space.knobs))
            if index_of(space, configuration) not in taken:
                return self._proposal(configuration)
        return self._proposal(draw_untried(space, taken, random.Random(seed)))

    def _proposal(self, configuration: Configuration) -> Proposal:
        return Proposal(configuration=configuration, replica_counts=self.problem.replica_counts)

    def _study(self, history: Sequence[Trial], pending: Sequence[Configuration], seed: int) -> optuna.Study:
        space = self.problem.space
        told = [_told(space, c, score) for c, score in scores(self.problem, history).items() if c in space]
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS))
        study.add_trials([*told, *(_running(space, c) for c in pending if c in space)])
        return study


def _told(space: SearchSpace, configuration: Configuration, score: Score) -> FrozenTrial:
    return create_trial(
        value=score.cost_per_hour,
        params=_params(space, configuration),
        distributions=_distributions(space),
        constraints={"slo": score.violation},
    )


def _running(space: SearchSpace, configuration: Configuration) -> FrozenTrial:
    return create_trial(
        state=TrialState.RUNNING,
        params=_params(space, configuration),
        distributions=_distributions(space),
    )


def _distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    return {knob.name: _distribution(knob) for knob in space.knobs}


def _distribution(knob: Knob) -> BaseDistribution:
    """Over the positions of the knob's values: evenly spaced however the values are."""
    if knob.ordered:
        return IntDistribution(0, len(knob.values) - 1)
    return CategoricalDistribution(range(len(knob.values)))


def _params(space: SearchSpace, configuration: Configuration) -> dict[str, int]:
    return dict(zip((knob.name for knob in space.knobs), space.levels(configuration), strict=True))
