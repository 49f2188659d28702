"""The loop: propose, deploy, load, measure, judge, record, until a candidate is proven. Knows the ports only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import assert_never

from tuner.domain.agenda import ConfirmNext, Finish, SearchNext, next_step
from tuner.domain.cost import replicas_at_least
from tuner.domain.deployment import Deployment, telemetry_between
from tuner.domain.errors import InfeasibleConfiguration, InfrastructureError, InvalidMeasurement, TransientFailure
from tuner.domain.events import Event, Phase, PhaseStarted, Repeated, StudyOpened, TrialFinished
from tuner.domain.measurement import Measurement, measure
from tuner.domain.recommendation import COMFORTABLE, Conclusion, cost_to_beat, miss
from tuner.domain.slo import Verdict
from tuner.domain.space import Configuration
from tuner.domain.spec import StudySpec
from tuner.domain.trial import (
    Confirmation,
    Exhausted,
    Failed,
    Infeasible,
    Level,
    Measured,
    Outcome,
    Phases,
    Proposal,
    Purpose,
    Search,
    Trial,
    trial_seed,
)
from tuner.ports import Clock, History, LoadGenerator, Optimizer, Runner

DEPLOY_ATTEMPTS = 2
MEASURE_ATTEMPTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Where trials are carried out. `wall_clock` gives the date and time as ISO text, for the record only."""

    runner: Runner
    load: LoadGenerator
    clock: Clock
    wall_clock: Callable[[], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialPlan:
    """One trial about to be carried out. Levels after the first are dropped once they cannot beat `cost_to_beat`."""

    number: int
    purpose: Purpose
    configuration: Configuration
    replica_counts: tuple[int, ...]
    window_s: float
    unit_cost_per_hour: float
    cost_to_beat: float | None


def run_study(
    spec: StudySpec,
    *,
    optimizer: Optimizer,
    bench: Bench,
    history: History,
    watch: Callable[[Event], None],
) -> Conclusion:
    """Carry the study on from its history to a conclusion; every finished trial is on disk before the next starts.

    Raises InfrastructureError after `budget.failed_trials` failures of the machine in a row.
    """
    exhausted, failures_in_a_row = "", 0
    done = history.trials()
    watch(StudyOpened(study=spec.name, space_size=len(spec.space), trials_before=len(done)))
    while True:
        match next_step(spec, done, exhausted=exhausted):
            case Finish(conclusion=conclusion):
                return conclusion
            case ConfirmNext() as step:
                plan = _confirmation_plan(spec, step, done)
            case SearchNext():
                proposal = optimizer.suggest(done)
                if isinstance(proposal, Exhausted):
                    exhausted = proposal.reason
                    continue
                plan = _search_plan(spec, proposal, done)
            case _ as unreachable:
                assert_never(unreachable)
        trial = run_trial(spec, plan, bench=bench, watch=watch)
        watch(_phase(plan, "append"))
        history.append(trial)
        done, exhausted = (*done, trial), ""
        watch(TrialFinished(trial=trial))
        failures_in_a_row = _failures(trial, failures_in_a_row, allowed=spec.budget.failed_trials)


def _failures(trial: Trial, before: int, *, allowed: int) -> int:
    """Failures in a row, this trial included. Raises InfrastructureError once they are too many."""
    if not isinstance(trial.outcome, Failed):
        return 0
    if before + 1 >= allowed:
        raise InfrastructureError(
            f"{before + 1} trials in a row failed for reasons of the machine, the last: {trial.outcome.error}",
            hint="mend the cause and run the same command again: the study goes on where it was",
        )
    return before + 1


def _next_number(done: Sequence[Trial]) -> int:
    return max((trial.number for trial in done), default=-1) + 1


def _search_plan(spec: StudySpec, proposal: Proposal, done: Sequence[Trial]) -> TrialPlan:
    return TrialPlan(
        number=_next_number(done),
        purpose=Search(),
        configuration=proposal.configuration,
        replica_counts=proposal.replica_counts,
        window_s=spec.load.window_s,
        unit_cost_per_hour=spec.pricing.unit_cost_per_hour(proposal.configuration),
        cost_to_beat=cost_to_beat(done),
    )


def _confirmation_plan(spec: StudySpec, step: ConfirmNext, done: Sequence[Trial]) -> TrialPlan:
    return TrialPlan(
        number=_next_number(done),
        purpose=Confirmation(replicas=step.candidate.replicas, repeat=step.repeat),
        configuration=step.candidate.configuration,
        replica_counts=(step.candidate.replicas,),
        window_s=spec.confirm.window_s * step.candidate.replicas,
        unit_cost_per_hour=step.candidate.unit_cost_per_hour,
        cost_to_beat=None,
    )


def _phase(plan: TrialPlan, phase: Phase, detail: str = "") -> PhaseStarted:
    return PhaseStarted(
        number=plan.number, purpose=plan.purpose, configuration=plan.configuration, phase=phase, detail=detail
    )


def run_trial(spec: StudySpec, plan: TrialPlan, *, bench: Bench, watch: Callable[[Event], None]) -> Trial:
    """Deploy and measure once; a failure of the world is tried again once, and then recorded as Failed."""
    started_at = bench.wall_clock()
    spent = Phases(deploy_s=0.0, load_s=0.0, teardown_s=0.0)
    outcome: Outcome = Failed(error="not tried")
    for attempt in range(DEPLOY_ATTEMPTS):
        visit = _Visit(spec=spec, plan=plan, bench=bench, watch=watch, attempt=attempt)
        outcome, phases = visit.carry_out()
        spent = Phases(
            deploy_s=spent.deploy_s + phases.deploy_s,
            load_s=spent.load_s + phases.load_s,
            teardown_s=spent.teardown_s + phases.teardown_s,
        )
        if not isinstance(outcome, Failed):
            break
        if attempt + 1 < DEPLOY_ATTEMPTS:
            watch(Repeated(number=plan.number, reason=outcome.error))
    return Trial(
        number=plan.number,
        purpose=plan.purpose,
        configuration=plan.configuration,
        unit_cost_per_hour=plan.unit_cost_per_hour,
        seed=trial_seed(spec.search.seed, plan.number),
        started_at=started_at,
        phases=spent,
        outcome=outcome,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Visit:
    """One deployment of one trial, from start to teardown."""

    spec: StudySpec
    plan: TrialPlan
    bench: Bench
    watch: Callable[[Event], None]
    attempt: int

    def carry_out(self) -> tuple[Outcome, Phases]:
        clock = self.bench.clock
        marks = [clock.now_s()]
        outcome: Outcome
        self.watch(_phase(self.plan, "deploy"))
        deployment_id = f"{self.spec.fingerprint[:8] or 'study'}-{self.plan.number}-{self.attempt}"
        try:
            with self.bench.runner.deploy(self.plan.configuration, deployment_id=deployment_id) as deployment:
                marks.append(clock.now_s())
                outcome = Measured(levels=self._levels(deployment), facts=deployment.facts)
                marks.append(clock.now_s())
                self.watch(_phase(self.plan, "teardown"))
        except InfeasibleConfiguration as error:
            outcome = Infeasible(reason=error.message)
        except (TransientFailure, InvalidMeasurement) as error:
            outcome = Failed(error=error.message)
        marks.append(clock.now_s())
        return outcome, _phases(marks)

    def _levels(self, deployment: Deployment) -> tuple[Level, ...]:
        """Lighter and lighter, until one holds with room to spare: a borderline one needs another behind it."""
        levels: list[Level] = []
        for replicas in self.plan.replica_counts:
            if levels and self._not_worth_it(replicas, levels[-1]):
                continue
            level = Level(replicas=replicas, measurement=self._measure(deployment, replicas))
            levels.append(level)
            if level.verdict is not Verdict.FAIL and miss(level.measurement) <= COMFORTABLE:
                break
        return tuple(levels)

    def _not_worth_it(self, replicas: int, last: Level) -> bool:
        """More replicas cannot beat the best cost known, or still could not carry the load, by what was just seen."""
        cost = replicas * self.plan.unit_cost_per_hour
        if self.plan.cost_to_beat is not None and cost >= self.plan.cost_to_beat:
            return True
        return replicas < replicas_at_least(self.spec.required_rps, last.measurement.carried_rps)

    def _measure(self, deployment: Deployment, replicas: int) -> Measurement:
        """One level; a measurement that spoiled itself is repeated twice, then Raises InvalidMeasurement."""
        for repeat in range(MEASURE_ATTEMPTS):
            seed = trial_seed(self.spec.search.seed, self.plan.number, MEASURE_ATTEMPTS * self.attempt + repeat)
            profile = self.spec.load_profile(replicas=replicas, window_s=self.plan.window_s, seed=seed)
            detail = f"{profile.offered_rps:.4g} rps for {profile.duration_s:g} s"
            self.watch(_phase(self.plan, "load", detail))
            before = self.bench.runner.telemetry(deployment)
            run = self.bench.load.drive(deployment, profile)
            telemetry = telemetry_between(before, self.bench.runner.telemetry(deployment))
            measurement = measure(run, self.spec.slos, telemetry)
            if not measurement.spoiled:
                return measurement
            doubts = ", ".join(doubt for doubt in measurement.doubts if doubt.spoils)
            self.watch(Repeated(number=self.plan.number, reason=f"the measurement spoiled itself: {doubts}"))
        raise InvalidMeasurement(
            f"{MEASURE_ATTEMPTS} measurements spoiled themselves, the last by {doubts} "
            f"(send lag p99 {measurement.send_lag_p99_ms:.1f} ms, generator CPU {measurement.generator_cpu_ratio:.0%})"
        )


def _phases(marks: list[float]) -> Phases:
    """From up to four marks: start, ready, load done, gone. A deployment that never got ready was all deploy.

    Whole microseconds: the last bits of a difference depend on when the clock started, and a resumed study would
    differ from an uninterrupted one by them.
    """
    gaps_s = [round(late - early, 6) for early, late in pairwise(marks)]
    deploy_s, load_s, teardown_s = (*gaps_s, 0.0, 0.0)[:3]
    return Phases(deploy_s=deploy_s, load_s=load_s, teardown_s=teardown_s)
