"""The loop over fakes: what is proposed, repeated, recorded, proven."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from tests.fakes import FakeLoad, FakeRunner, ListHistory, VirtualClock
from tests.specs import a_spec
from tuner.domain.errors import InfeasibleConfiguration, InfrastructureError, TransientFailure
from tuner.domain.events import Event, Repeated
from tuner.domain.load import LoadProfile
from tuner.domain.recommendation import Conclusion, NothingFeasible, Proven, Unproven
from tuner.domain.space import Configuration
from tuner.domain.spec import Budget, StudySpec
from tuner.domain.trial import Confirmation, Exhausted, Failed, Infeasible, Measured, Proposal, Trial
from tuner.study import Bench, run_study


@dataclass
class InOrder:
    """Proposes the space in its own order, at every replica count allowed."""

    spec: StudySpec

    def suggest(self, history: Sequence[Trial], pending: Sequence[Configuration] = ()) -> Proposal | Exhausted:
        seen = {trial.configuration for trial in history if not isinstance(trial.outcome, Failed)}
        counts = tuple(range(1, self.spec.max_replicas + 1))
        for configuration in self.spec.space:
            if configuration not in seen:
                return Proposal(configuration=configuration, replica_counts=counts)
        return Exhausted(reason="the whole space was tried")


@dataclass
class Setting:
    spec: StudySpec
    runner: FakeRunner
    load: FakeLoad
    history: ListHistory
    events: list[Event]
    optimizer: type = InOrder

    def run(self) -> Conclusion:
        bench = Bench(runner=self.runner, load=self.load, clock=self.runner.clock, wall_clock=lambda: "then")
        return run_study(
            self.spec,
            optimizer=self.optimizer(self.spec),
            bench=bench,
            history=self.history,
            watch=self.events.append,
        )

    def proofs(self) -> list[Trial]:
        return [trial for trial in self.history.trials() if isinstance(trial.purpose, Confirmation)]


def two_cores_suffice(configuration: Configuration, profile: LoadProfile) -> float:
    """Late unless there is a core for every 60 rps."""
    return 0.02 if profile.offered_rps <= 60 * configuration.number("cpu_cores", 1) else 0.3


def setting(spec: StudySpec, latency=two_cores_suffice, refuse=lambda _c: None) -> Setting:
    clock = VirtualClock()
    return Setting(spec, FakeRunner(clock, refuse=refuse), FakeLoad(clock, latency), ListHistory(), [])


def test_the_cheapest_configuration_that_holds_is_proven_on_three_fresh_deployments():
    study = setting(a_spec())
    conclusion = study.run()
    assert isinstance(conclusion, Proven)
    assert conclusion.evidence.candidate.configuration["cpu_cores"] == 2
    assert [trial.purpose.repeat for trial in study.proofs()] == [0, 1, 2]
    assert len(set(study.runner.deployed)) == len(study.history.trials()) == 9
    assert study.runner.served == {}


def test_a_candidate_that_only_looked_good_once_is_refuted_and_the_next_one_tried():
    def lucky(configuration: Configuration, profile: LoadProfile) -> float:
        short = profile.window_s < 20
        return 0.02 if short and configuration["cpu_cores"] == 1 else two_cores_suffice(configuration, profile)

    study = setting(a_spec(), lucky)
    conclusion = study.run()
    assert isinstance(conclusion, Proven)
    assert conclusion.evidence.candidate.configuration["cpu_cores"] == 2
    refuted = [trial for trial in study.proofs() if trial.configuration["cpu_cores"] == 1]
    assert len(refuted) == 2, "each of the two one-core candidates is refuted by its first proof"


def test_whole_replicas_are_counted_when_one_cannot_carry_the_load():
    spec = replace(a_spec(), max_replicas=8)
    study = setting(spec, lambda c, p: 0.02 if p.offered_rps <= 30 else 0.3)
    conclusion = study.run()
    assert isinstance(conclusion, Proven)
    candidate = conclusion.evidence.candidate
    assert (candidate.configuration["cpu_cores"], candidate.replicas) == (1, 4)
    assert candidate.cost_per_hour == pytest.approx(0.2)


def test_replica_counts_that_cannot_beat_the_best_cost_are_not_measured():
    spec = replace(a_spec(), max_replicas=8)
    study = setting(spec, lambda c, p: 0.02 if c["cpu_cores"] == 1 or p.offered_rps <= 15 else 0.3)
    assert isinstance(study.run(), Proven)
    dear = [t for t in study.history.trials() if t.configuration["cpu_cores"] == 4]
    assert all(len(trial.outcome.levels) == 1 for trial in dear)


def test_a_candidate_that_only_just_held_rules_no_replica_count_out():
    """One core just holds in the search and is refuted by its proof: that two cores twice suffice must be known."""
    spec = replace(a_spec(), max_replicas=2)

    def latency(configuration: Configuration, profile: LoadProfile) -> float:
        if configuration["cpu_cores"] == 1 and profile.offered_rps > 60:
            return 0.095 if profile.window_s == spec.load.window_s else 0.3
        return 0.02 if configuration["cpu_cores"] == 4 and profile.offered_rps <= 60 else 0.3

    study = setting(spec, latency)
    conclusion = study.run()
    assert isinstance(conclusion, Proven)
    assert conclusion.evidence.candidate.configuration["cpu_cores"] == 4


def test_nothing_feasible_names_the_closest_miss():
    study = setting(a_spec(), lambda c, _p: 1.0 / c.number("cpu_cores", 1))
    conclusion = study.run()
    assert isinstance(conclusion, NothingFeasible)
    assert conclusion.closest is not None
    assert conclusion.closest[0].configuration["cpu_cores"] == 4


def test_an_infeasible_configuration_is_recorded_and_the_study_goes_on():
    def refuse(configuration: Configuration) -> None:
        if configuration["cpu_cores"] == 2:
            raise InfeasibleConfiguration("out of memory")

    study = setting(a_spec(), refuse=refuse)
    conclusion = study.run()
    assert isinstance(conclusion, Proven)
    assert conclusion.evidence.candidate.configuration["cpu_cores"] == 4
    assert sum(isinstance(trial.outcome, Infeasible) for trial in study.history.trials()) == 2


def test_a_failure_of_the_world_is_tried_again_once_and_then_recorded():
    calls: list[Configuration] = []

    def flaky(configuration: Configuration) -> None:
        calls.append(configuration)
        if len(calls) in (1, 3, 4):
            raise TransientFailure("port taken")

    study = setting(replace(a_spec(), budget=Budget(trials=7, wall_time_s=1e4)), refuse=flaky)
    assert isinstance(study.run(), Proven)
    outcomes = [type(trial.outcome) for trial in study.history.trials()[:3]]
    assert outcomes == [Measured, Failed, Measured]
    assert study.events.count(Repeated(number=0, reason="port taken")) == 1


def test_failures_in_a_row_end_the_study_with_everything_kept():
    def broken(_configuration: Configuration) -> None:
        raise TransientFailure("no such file: tritonserver")

    study = setting(a_spec(), refuse=broken)
    with pytest.raises(InfrastructureError, match="3 trials in a row"):
        study.run()
    assert len(study.history.trials()) == 3


def test_a_measurement_that_spoiled_itself_is_repeated_not_believed():
    study = setting(a_spec(), lambda _c, _p: 0.02)
    spoiled_seeds: list[int] = []

    def lag(profile: LoadProfile) -> float:
        if len(spoiled_seeds) < 2 and profile.seed not in spoiled_seeds:
            spoiled_seeds.append(profile.seed)
            return 0.05
        return 0.0

    study.load.lag_s = lag
    study.run()
    first = study.history.trials()[0]
    assert isinstance(first.outcome, Measured)
    assert first.outcome.levels[0].measurement.doubts == ()
    assert sum(isinstance(event, Repeated) for event in study.events) == 2


def test_a_measurement_that_always_spoils_itself_is_a_failure_never_a_number():
    study = setting(a_spec(), lambda _c, _p: 0.02)
    study.load.lag_s = lambda _profile: 0.05
    with pytest.raises(InfrastructureError, match="send lag p99 50"):
        study.run()
    assert all(isinstance(trial.outcome, Failed) for trial in study.history.trials())


def test_time_is_kept_for_the_proof():
    """Each trial takes 14 s, each proof 24 s: 72 s of proof and three trials fit in 120 s."""
    study = setting(replace(a_spec(), budget=Budget(trials=6, wall_time_s=120.0)))
    study.run()
    assert len(study.history.trials()) - len(study.proofs()) == 3


def test_a_budget_that_ends_during_the_proof_leaves_the_candidate_unproven():
    spec = replace(a_spec(), budget=Budget(trials=6, wall_time_s=150.0))
    slow = replace(spec, space=spec.space)
    study = setting(slow)
    drive = study.load.drive

    def drive_slowly(deployment, profile):
        if profile.window_s == 20:
            study.runner.clock.sleep(30.0)
        return drive(deployment, profile)

    study.load.drive = drive_slowly
    conclusion = study.run()
    assert isinstance(conclusion, Unproven)
    assert 0 < len(study.proofs()) < 3


@pytest.mark.parametrize("cut", range(9))
def test_a_study_cut_after_any_trial_goes_on_to_the_same_history(cut: int):
    whole = setting(a_spec())
    whole.run()
    resumed = setting(a_spec())
    resumed.history = ListHistory(whole.history.trials()[:cut])
    assert isinstance(resumed.run(), Proven)
    assert resumed.history.trials() == whole.history.trials()


def test_a_late_generator_cannot_void_a_failure_that_it_does_not_explain():
    """Requests sent 50 ms late but answered a second after the limit: repeating that would teach nothing new."""
    study = setting(a_spec(), lambda _c, _p: 0.4)
    study.load.lag_s = lambda _profile: 0.05
    assert isinstance(study.run(), NothingFeasible)
    assert not any(isinstance(event, Repeated) for event in study.events)


@dataclass
class StopsEarly:
    """Proposes one core, says it is done, and goes on only where a proof taught it better."""

    spec: StudySpec

    def suggest(self, history: Sequence[Trial], pending: Sequence[Configuration] = ()) -> Proposal | Exhausted:
        if history and not any(isinstance(trial.purpose, Confirmation) for trial in history):
            return Exhausted(reason="one core is enough")
        return InOrder(self.spec).suggest(history, pending)


def test_a_search_that_stopped_early_goes_on_when_its_candidate_is_refuted():
    def lucky(configuration: Configuration, profile: LoadProfile) -> float:
        short = profile.window_s < 20
        return 0.02 if short and configuration["cpu_cores"] == 1 else two_cores_suffice(configuration, profile)

    study = setting(a_spec(), lucky)
    study.optimizer = StopsEarly
    conclusion = study.run()
    assert isinstance(conclusion, Proven)
    assert conclusion.evidence.candidate.configuration["cpu_cores"] == 2
    kinds = [trial.purpose.kind for trial in study.history.trials()]
    assert kinds[:4] == ["search", "confirmation", "search", "confirmation"]
