"""One trial: deploy, load, measure, judge; on a bench, and in any thread. Knows the ports only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tuner.domain.admission import Admitted, Room
from tuner.domain.cost import replicas_at_least
from tuner.domain.deployment import Deployment, telemetry_between
from tuner.domain.errors import InfeasibleConfiguration, InvalidMeasurement, TransientFailure
from tuner.domain.events import Event, Phase, PhaseStarted, Repeated
from tuner.domain.measurement import Measurement, measure
from tuner.domain.recommendation import COMFORTABLE, miss
from tuner.domain.slo import Verdict
from tuner.domain.space import Configuration
from tuner.domain.spec import StudySpec
from tuner.domain.trial import Failed, Infeasible, Level, Measured, Outcome, Phases, Purpose, Trial, trial_seed
from tuner.interruption import heed
from tuner.lanes import OpenLanes, open_lanes
from tuner.ports import Admission, Clock, LoadGenerator, Runner

DEPLOY_ATTEMPTS = 2
MEASURE_ATTEMPTS = 3


class AlwaysRoom:
    """Where nothing limits how many trials run at once but their number."""

    def room(
        self,
        number: int,  # noqa: ARG002
        configuration: Configuration,  # noqa: ARG002
        beside: Sequence[tuple[int, Configuration]],  # noqa: ARG002
    ) -> Room:
        return Admitted()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Where trials are carried out. `wall_clock` gives the date and time as ISO text, for the record only.

    Where trials run at once, everything here is called by several threads.
    """

    runner: Runner
    load: LoadGenerator
    clock: Clock
    wall_clock: Callable[[], str]
    admission: Admission = field(default_factory=AlwaysRoom)
    open_lanes: OpenLanes = open_lanes


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialPlan:
    """One trial about to be carried out. Levels after the first are dropped once they cannot beat `cost_to_beat`.

    `began_s` goes on record with it (see `Trial`).
    """

    number: int
    purpose: Purpose
    configuration: Configuration
    replica_counts: tuple[int, ...]
    window_s: float
    unit_cost_per_hour: float
    cost_to_beat: float | None
    began_s: float | None = None


def refused_trial(spec: StudySpec, plan: TrialPlan, reason: str, *, at: str) -> Trial:
    """A trial that nobody deployed: it is known before that it cannot be."""
    return _trial(spec, plan, at, Phases(deploy_s=0.0, load_s=0.0, teardown_s=0.0), Infeasible(reason=reason))


def _trial(spec: StudySpec, plan: TrialPlan, started_at: str, phases: Phases, outcome: Outcome) -> Trial:
    return Trial(
        number=plan.number,
        purpose=plan.purpose,
        configuration=plan.configuration,
        unit_cost_per_hour=plan.unit_cost_per_hour,
        seed=trial_seed(spec.search.seed, plan.number),
        started_at=started_at,
        phases=phases,
        outcome=outcome,
        began_s=plan.began_s,
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
        heed()
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
    return _trial(spec, plan, started_at, spent, outcome)


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
            heed()
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
