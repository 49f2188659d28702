"""The loop: propose, carry out, record, until a candidate is proven. Knows the ports only."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import assert_never

from tuner.domain.admission import Admitted, Never, Room, Wait
from tuner.domain.agenda import AwaitNext, ConfirmNext, Finish, SearchNext, next_step
from tuner.domain.errors import InfrastructureError, TransientFailure
from tuner.domain.events import Event, PhaseStarted, RoomAwaited, StudyOpened, TrialFinished
from tuner.domain.recommendation import Conclusion, cost_to_beat
from tuner.domain.space import Configuration
from tuner.domain.spec import StudySpec
from tuner.domain.trial import Confirmation, Exhausted, Failed, Proposal, Search, Trial, studied_s
from tuner.domain.underway import Pending, Underway
from tuner.ports import History, Lanes, Optimizer
from tuner.trial_run import Bench, TrialPlan, refused_trial, run_trial

# Where there is no room for a proposal: so many are asked for, and so long until the next look.
ALTERNATIVES = 4
ROOM_POLL_S = 2.0


def run_study(
    spec: StudySpec,
    *,
    optimizer: Optimizer,
    bench: Bench,
    history: History,
    watch: Callable[[Event], None],
) -> Conclusion:
    """Carry the study on from its history to a conclusion; every finished trial is on disk before the next starts.

    With `parallel_trials` so many run at once, in the order of their numbers: the smallest that no trial has, so that
    after a crash they are taken again. Each is on disk before one takes its place. Where one ends the study, or a
    signal does, the others are torn down first. `watch` is never called by two at once.

    Raises InfrastructureError after `budget.failed_trials` failures of the machine in a row, or where for
    `budget.wall_time_s` there was no room for any trial.
    """
    course = _Course(spec, optimizer, bench, history, one_at_a_time(watch))
    with bench.open_lanes(spec.at_once, course.keep) as lanes:
        return course.run(lanes)


def one_at_a_time(watch: Callable[[Event], None]) -> Callable[[Event], None]:
    """The same for callers in several threads."""
    turn = threading.Lock()

    def show(event: Event) -> None:
        with turn:
            watch(event)

    return show


class _Asked:
    """The optimizer, asked once for the same history: it would say the same, after as much thought."""

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        self._trials = -1
        self._answers: dict[tuple[Configuration, ...], Proposal | Exhausted] = {}

    def ask(self, history: Sequence[Trial], pending: tuple[Configuration, ...]) -> Proposal | Exhausted:
        if len(history) != self._trials:
            self._trials, self._answers = len(history), {}
        if pending not in self._answers:
            self._answers[pending] = self._optimizer.suggest(history, pending)
        return self._answers[pending]


class _Course:
    """A study on its way: what is done, what runs, and what time it is on the study's own clock."""

    def __init__(
        self,
        spec: StudySpec,
        optimizer: Optimizer,
        bench: Bench,
        history: History,
        watch: Callable[[Event], None],
    ) -> None:
        self._spec, self._bench, self._history, self._watch = spec, bench, history, watch
        self._asked = _Asked(optimizer)
        self._done = history.trials()
        self._pending: dict[int, Pending] = {}
        self._exhausted, self._failures_in_a_row = "", 0
        # When the first of those that run began, on the study's clock and on the bench's.
        self._begun_s = (0.0, 0.0)
        self._most_seen = spec.surely_at_once
        self._recording, self._awaited = False, ""
        self._waits_since_s: float | None = None

    def run(self, lanes: Lanes) -> Conclusion:
        """To the end."""
        self._watch(StudyOpened(study=self._spec.name, space_size=len(self._spec.space), trials_before=len(self._done)))
        while True:
            if len(self._pending) >= self._spec.at_once:
                self._collect(lanes)
                continue
            match next_step(self._spec, self._done, exhausted=self._exhausted, underway=self._underway()):
                case Finish(conclusion=conclusion):
                    return conclusion
                case AwaitNext():
                    self._collect(lanes)
                case ConfirmNext() as step:
                    self._confirm(step, lanes)
                case SearchNext():
                    self._search(lanes)
                case _ as unreachable:
                    assert_never(unreachable)

    def keep(self, trial: Trial) -> None:
        """Record a trial on the way out, unless recording is what went wrong."""
        if not self._recording:
            self._history.append(trial)

    def _confirm(self, step: ConfirmNext, lanes: Lanes) -> None:
        plan = _confirmation_plan(self._spec, step, self._next_number(), self._began_s())
        room = self._room(plan)
        if isinstance(room, Admitted):
            self._begin(plan, lanes)
        else:
            # It was deployed before: what it lacks now may come back.
            self._await_room(plan, room.reason, lanes)

    def _search(self, lanes: Lanes) -> None:
        """Where there is no room for what the optimizer would like best, something else may have some."""
        passed: list[tuple[TrialPlan, str]] = []
        searching = tuple(one.configuration for one in self._underway().searching)
        for _ in range(ALTERNATIVES if self._spec.at_once > 1 else 1):
            proposal = self._asked.ask(self._done, (*searching, *(plan.configuration for plan, _ in passed)))
            if isinstance(proposal, Exhausted):
                self._exhausted = "" if passed else proposal.reason
                break
            plan = _search_plan(self._spec, proposal, self._done, self._next_number(), self._began_s())
            match self._room(plan):
                case Admitted():
                    self._begin(plan, lanes)
                    return
                case Never(reason=reason):
                    self._record(refused_trial(self._spec, plan, reason, at=self._bench.wall_clock()))
                    return
                case Wait(reason=reason):
                    passed.append((plan, reason))
        if passed:
            self._await_room(*passed[0], lanes)

    def _room(self, plan: TrialPlan) -> Room:
        beside = tuple((one.number, one.configuration) for one in self._pending.values())
        try:
            return self._bench.admission.room(plan.number, plan.configuration, beside)
        except TransientFailure as failure:
            return Wait(failure.message)

    def _begin(self, plan: TrialPlan, lanes: Lanes) -> None:
        if not self._pending:
            self._begun_s = (studied_s(self._done), self._bench.clock.now_s())
        self._pending[plan.number] = Pending(
            number=plan.number,
            purpose=plan.purpose,
            configuration=plan.configuration,
            began_s=self._now_s(),
            least_cost_per_hour=plan.unit_cost_per_hour * min(plan.replica_counts),
        )
        self._most_seen = max(self._most_seen, len(self._pending))
        self._awaited, self._waits_since_s = "", None
        lanes.begin(partial(run_trial, self._spec, plan, bench=self._bench, watch=self._watch))

    def _collect(self, lanes: Lanes, *, within_s: float | None = None) -> None:
        trial = lanes.next_ended(within_s=within_s)
        if trial is not None:
            self._watch(_appending(trial))
            self._record(trial)

    def _record(self, trial: Trial) -> None:
        self._recording = True
        self._history.append(trial)
        self._recording = False
        self._pending.pop(trial.number, None)
        self._done = tuple(sorted((*self._done, trial), key=lambda one: one.number))
        self._exhausted = ""
        self._watch(TrialFinished(trial=trial))
        self._failures_in_a_row = _failures(trial, self._failures_in_a_row, allowed=self._spec.budget.failed_trials)

    def _await_room(self, plan: TrialPlan, reason: str, lanes: Lanes) -> None:
        """Until a trial ends, or for a while: somebody else may make room too."""
        if reason != self._awaited:
            self._watch(RoomAwaited(configuration=plan.configuration, reason=reason))
            self._awaited = reason
        if self._pending:
            self._collect(lanes, within_s=ROOM_POLL_S)
            return
        now_s = self._bench.clock.now_s()
        # By the clock: a cluster that does not answer takes longer to say so than we pause.
        self._waits_since_s = now_s if self._waits_since_s is None else self._waits_since_s
        if now_s - self._waits_since_s >= self._spec.budget.wall_time_s:
            raise InfrastructureError(
                f"no trial found room in {now_s - self._waits_since_s:.0f} s: {reason}",
                hint="make room, and run the same command again: the study goes on where it was",
            )
        self._bench.clock.sleep(ROOM_POLL_S)

    def _underway(self) -> Underway:
        return Underway(pending=tuple(self._pending.values()), now_s=self._now_s(), at_once=self._most_seen)

    def _now_s(self) -> float:
        if not self._pending:
            return studied_s(self._done)
        study_s, bench_s = self._begun_s
        return study_s + self._bench.clock.now_s() - bench_s

    def _began_s(self) -> float | None:
        """None as long as the study's trials come one after the other: then their phases say it."""
        beside = self._spec.at_once > 1 or any(trial.began_s is not None for trial in self._done)
        return self._now_s() if beside else None

    def _next_number(self) -> int:
        taken = {trial.number for trial in self._done} | self._pending.keys()
        return next(number for number in itertools.count() if number not in taken)


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


def _search_plan(
    spec: StudySpec, proposal: Proposal, done: Sequence[Trial], number: int, began_s: float | None
) -> TrialPlan:
    return TrialPlan(
        number=number,
        purpose=Search(),
        configuration=proposal.configuration,
        replica_counts=proposal.replica_counts,
        window_s=spec.load.window_s,
        unit_cost_per_hour=spec.pricing.unit_cost_per_hour(proposal.configuration),
        cost_to_beat=cost_to_beat(done),
        began_s=began_s,
    )


def _confirmation_plan(spec: StudySpec, step: ConfirmNext, number: int, began_s: float | None) -> TrialPlan:
    return TrialPlan(
        number=number,
        purpose=Confirmation(replicas=step.candidate.replicas, repeat=step.repeat),
        configuration=step.candidate.configuration,
        replica_counts=(step.candidate.replicas,),
        window_s=spec.confirm.window_s * step.candidate.replicas,
        unit_cost_per_hour=step.candidate.unit_cost_per_hour,
        cost_to_beat=None,
        began_s=began_s,
    )


def _appending(trial: Trial) -> PhaseStarted:
    return PhaseStarted(number=trial.number, purpose=trial.purpose, configuration=trial.configuration, phase="append")
