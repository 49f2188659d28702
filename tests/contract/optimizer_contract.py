"""What every optimizer must do. A back-end's tests subclass this and say how it is made."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from tests.specs import space_of
from tests.worlds import a_measurement, a_problem, a_trial, always, explore, queue_world
from tuner.domain.space import Configuration, SearchSpace
from tuner.domain.trial import Confirmation, Exhausted, Failed, Infeasible, Level, Measured, Proposal, Trial
from tuner.ports import Optimizer
from tuner.search.problem import SearchProblem

SIXTEEN = space_of(cpu_cores=(1, 2, 4, 8), max_batch_size=(1, 4, 16, 64))
MIXED = space_of(cpu_cores=(1, 2, 4), gpu_type=("T4", "V100"), max_batch_size=(1, 8), instances=(1,))
SIX = space_of(cpu_cores=(1, 2, 4), max_batch_size=(1, 8))
ONE = space_of(cpu_cores=(2,), gpu_type=("T4",))


class OptimizerContract:
    """Subclasses define `make`; tiny spaces, so that slow models are asked a few times only.

    An optimizer ends when everything is tried or pending. One that `stops_early` may also end when it has seen a
    candidate that holds and nothing that would truly be cheaper is left; before that it has to go on.
    """

    stops_early = False

    def make(self, problem: SearchProblem) -> Optimizer:
        raise NotImplementedError

    def assert_may_end(
        self, problem: SearchProblem, history: Sequence[Trial], pending: Sequence[Configuration] = ()
    ) -> None:
        """What it means that nothing more was proposed after this history, in `queue_world`."""
        left = set(problem.space) - {*pending, *(trial.configuration for trial in history)}
        if not self.stops_early:
            assert left == set()
            return
        best = min((trial.total_cost_per_hour for trial in history if trial.total_cost_per_hour), default=math.inf)
        truth = [a_trial(problem, 0, configuration, queue_world(configuration, (1, 2))) for configuration in left]
        assert min((trial.total_cost_per_hour or math.inf for trial in truth), default=math.inf) >= best

    @pytest.mark.parametrize("space", [SIXTEEN, MIXED, SIX, ONE], ids=["ordered", "mixed", "small", "one point"])
    def test_a_walk_stays_in_the_space_repeats_nothing_and_ends(self, space: SearchSpace):
        problem = a_problem(space)
        history = explore(lambda: self.make(problem), problem, queue_world, trials=len(space) + 1)
        tried = [trial.configuration for trial in history]
        assert all(configuration in space for configuration in tried)
        assert len(set(tried)) == len(tried)
        assert isinstance(self.make(problem).suggest(history), Exhausted)

    def test_it_is_not_exhausted_while_anything_is_untried(self):
        problem = a_problem(SIXTEEN)
        history = explore(lambda: self.make(problem), problem, queue_world, trials=17)
        assert isinstance(self.make(problem).suggest(history), Exhausted)
        self.assert_may_end(problem, history)

    def test_the_same_history_gives_the_same_answer(self):
        problem = a_problem(SIXTEEN)
        history = explore(lambda: self.make(problem), problem, queue_world, trials=12)
        optimizer = self.make(problem)
        assert optimizer.suggest(history) == optimizer.suggest(history) == self.make(problem).suggest(history)

    def test_a_resumed_study_goes_on_like_an_uninterrupted_one(self):
        problem = a_problem(SIXTEEN)
        uninterrupted = self.make(problem)
        straight = explore(lambda: uninterrupted, problem, queue_world, trials=14)
        interrupted = explore(lambda: self.make(problem), problem, queue_world, trials=11)
        resumed = self.make(problem)
        assert explore(lambda: resumed, problem, queue_world, trials=3, history=interrupted) == straight

    def test_load_levels_are_whole_replicas_within_the_limit(self):
        problem = a_problem(SIX, max_replicas=3)
        proposal = self.make(problem).suggest(())
        assert isinstance(proposal, Proposal)
        assert proposal.replica_counts
        assert set(proposal.replica_counts) <= {1, 2, 3}

    @pytest.mark.parametrize(
        "outcome",
        [
            Infeasible(reason="out of memory"),
            Measured(
                levels=(Level(replicas=2, measurement=a_measurement(offered_rps=60, latency_ms=900, carried_rps=3)),)
            ),
            Measured(
                levels=(Level(replicas=2, measurement=a_measurement(offered_rps=60, latency_ms=900, carried_rps=0)),)
            ),
        ],
        ids=["infeasible", "far too slow", "nothing answered"],
    )
    def test_it_goes_on_where_nothing_works(self, outcome):
        problem = a_problem(SIXTEEN)
        history = explore(lambda: self.make(problem), problem, always(outcome), trials=13)
        assert len({trial.configuration for trial in history}) == 13

    def test_failures_of_the_machine_teach_nothing_and_exhaust_nothing(self):
        problem = a_problem(SIX)
        failed = [a_trial(problem, k, c, Failed(error="no disk space")) for k, c in enumerate(SIX)]
        proposal = self.make(problem).suggest(failed)
        assert isinstance(proposal, Proposal)
        assert proposal.configuration in SIX

    def test_a_failed_configuration_comes_again_before_the_end(self):
        problem = a_problem(SIX)
        first, *others = SIX
        history = [a_trial(problem, 0, first, Failed(error="no disk space"))]
        history += [a_trial(problem, k + 1, c, queue_world(c, (1, 2))) for k, c in enumerate(others)]
        proposal = self.make(problem).suggest(history)
        assert isinstance(proposal, Proposal)
        assert proposal.configuration == first

    def test_what_is_pending_is_not_proposed(self):
        problem = a_problem(SIXTEEN)
        history = explore(lambda: self.make(problem), problem, queue_world, trials=11)
        pending = []
        while isinstance(proposal := self.make(problem).suggest(history, pending), Proposal):
            assert proposal.configuration not in pending
            pending.append(proposal.configuration)
        self.assert_may_end(problem, history, pending)

    def test_pending_alone_can_fill_the_space(self):
        assert isinstance(self.make(a_problem(SIX)).suggest((), tuple(SIX)), Exhausted)

    def test_confirmations_and_trials_of_another_space_do_no_harm(self):
        problem = a_problem(SIXTEEN)
        history = list(explore(lambda: self.make(problem), problem, queue_world, trials=11))
        best = history[0].configuration
        refuted = Measured(levels=(Level(replicas=1, measurement=a_measurement(offered_rps=120, latency_ms=400)),))
        history.append(a_trial(problem, 11, best, refuted, Confirmation(replicas=1, repeat=0)))
        elsewhere = next(iter(space_of(cpu_cores=(3,), max_batch_size=(1,))))
        history.append(a_trial(problem, 12, elsewhere, queue_world(elsewhere, (1, 2))))
        proposal = self.make(problem).suggest(history)
        if isinstance(proposal, Exhausted):
            self.assert_may_end(problem, history[:11])
            return
        assert proposal.configuration in set(SIXTEEN) - {trial.configuration for trial in history}
