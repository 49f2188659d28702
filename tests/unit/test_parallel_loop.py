"""The loop with several trials at once: in threads that wait for each other, and in lanes that end in any order."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace

import pytest

from runners.simulated_bench import VirtualClock, VirtualLanes
from tests.fakes import FakeLoad, FakeRunner, ListHistory
from tests.specs import a_spec
from tests.unit.test_study_loop import InOrder, two_cores_suffice
from tuner.domain.admission import Admitted, Never, Room, Wait
from tuner.domain.deployment import Deployment
from tuner.domain.errors import CleanupFailed, InfrastructureError, TransientFailure, UsageError
from tuner.domain.events import Event, PhaseStarted, RoomAwaited, TrialFinished
from tuner.domain.recommendation import Conclusion, Proven
from tuner.domain.space import Configuration
from tuner.domain.spec import Budget, RunnerSpec, StudySpec
from tuner.domain.trial import Confirmation, Failed, Infeasible, Search, Trial, studied_s
from tuner.interruption import Interrupted, orderly_stop, pause, undisturbed
from tuner.lanes import OpenLanes, open_lanes
from tuner.study import run_study
from tuner.trial_run import AlwaysRoom, Bench

LONG_S = 60.0


def at_once(count: int, **changes: object) -> StudySpec:
    return a_spec(runner=RunnerSpec(kind="simulated", parallel_trials=count), **changes)


class PendingInOrder(InOrder):
    """Knows what is pending."""

    def suggest(self, history: Sequence[Trial], pending: Sequence[Configuration] = ()):
        told = (*history, *(replace(A_TRIAL, configuration=configuration) for configuration in pending))
        return super().suggest(told)


def first_trial() -> Trial:
    history = ListHistory()
    clock = VirtualClock()
    runner = FakeRunner(clock)
    bench = Bench(runner=runner, load=FakeLoad(clock, lambda _c, _p: 0.02), clock=clock, wall_clock=lambda: "then")
    spec = a_spec(budget=Budget(trials=1, wall_time_s=1e4))
    run_study(spec, optimizer=InOrder(spec), bench=bench, history=history, watch=lambda _event: None)
    return history.trials()[0]


A_TRIAL = first_trial()


class Gated(FakeRunner):
    """Lets a test hold deployments back. `up` are those that run; `most` how many ran at once at most."""

    def __init__(self, gate: Callable[[str], None] = lambda _id: None) -> None:
        super().__init__(VirtualClock())
        self.gate, self.up, self.most, self.turn = gate, set(), 0, threading.Lock()

    def deploy(self, configuration: Configuration, *, deployment_id: str) -> AbstractContextManager[Deployment]:
        return self._gated(configuration, deployment_id)

    @contextmanager
    def _gated(self, configuration: Configuration, deployment_id: str) -> Iterator[Deployment]:
        with self.turn:
            assert deployment_id not in self.up
            self.up.add(deployment_id)
            self.most = max(self.most, len(self.up))
        try:
            self.gate(deployment_id)
            with self._deploy(configuration, deployment_id) as deployment:
                yield deployment
        finally:
            with undisturbed(), self.turn:
                self.up.remove(deployment_id)


def number_of(deployment_id: str) -> int:
    return int(deployment_id.split("-")[-2])


@dataclass
class Course:
    spec: StudySpec
    runner: FakeRunner
    lanes: OpenLanes = open_lanes
    admission: object = field(default_factory=AlwaysRoom)
    history: ListHistory = field(default_factory=ListHistory)
    events: list[Event] = field(default_factory=list)

    def run(self) -> Conclusion:
        bench = Bench(
            runner=self.runner,
            load=FakeLoad(self.runner.clock, two_cores_suffice),
            clock=self.runner.clock,
            wall_clock=lambda: "then",
            admission=self.admission,
            open_lanes=self.lanes,
        )
        optimizer = PendingInOrder(self.spec)
        return run_study(self.spec, optimizer=optimizer, bench=bench, history=self.history, watch=self.events.append)

    def searches(self) -> list[Trial]:
        return [trial for trial in self.history.trials() if isinstance(trial.purpose, Search)]


def virtually(spec: StudySpec, **changes: object) -> Course:
    runner = FakeRunner(VirtualClock())
    return Course(spec, runner, lanes=lambda _most, _keep: as_they_are(VirtualLanes(runner.clock)), **changes)


@contextmanager
def as_they_are(lanes):
    yield lanes


def test_so_many_trials_run_at_once_and_no_more_and_the_answer_is_that_of_one_at_a_time():
    together = threading.Barrier(3)
    gate = lambda name: together.wait(LONG_S) if number_of(name) < 3 else None  # noqa: E731
    course = Course(at_once(3), Gated(gate))
    conclusion = course.run()
    alone = Course(a_spec(), FakeRunner(VirtualClock()))
    assert conclusion.evidence.candidate == alone.run().evidence.candidate
    assert course.runner.most == 3
    assert course.runner.up == set()
    assert [trial.number for trial in course.history.trials()] == list(range(9))
    assert {trial.configuration for trial in course.searches()} == set(course.spec.space)


def test_the_proof_runs_side_by_side():
    together = threading.Barrier(3)
    course = Course(at_once(3), Gated(lambda name: together.wait(LONG_S) if number_of(name) >= 6 else None))
    assert isinstance(course.run(), Proven)
    proofs = [trial.purpose for trial in course.history.trials() if isinstance(trial.purpose, Confirmation)]
    assert sorted(purpose.repeat for purpose in proofs) == [0, 1, 2]


def test_trials_are_recorded_as_they_end_by_the_numbers_they_were_given():
    recorded: list[int] = []
    second_is_recorded = threading.Event()

    class Watched(ListHistory):
        def append(self, trial: Trial) -> None:
            assert threading.current_thread() is threading.main_thread()
            super().append(trial)
            recorded.append(trial.number)
            if trial.number == 1:
                second_is_recorded.set()

    def gate(name: str) -> None:
        if number_of(name) == 0:
            assert second_is_recorded.wait(LONG_S)

    course = Course(at_once(2), Gated(gate), history=Watched())
    assert isinstance(course.run(), Proven)
    assert recorded[0] == 1
    assert sorted(recorded) == list(range(9))


def test_watching_is_never_done_by_two_at_once():
    inside = threading.Lock()
    together = threading.Barrier(3)

    class Watching(list):
        def append(self, event: Event) -> None:
            assert inside.acquire(blocking=False)
            super().append(event)
            inside.release()

    gate = lambda name: together.wait(LONG_S) if number_of(name) < 3 else None  # noqa: E731
    course = Course(at_once(3), Gated(gate), events=Watching())
    course.run()
    for number in range(9):
        phases = [one.phase for one in course.events if isinstance(one, PhaseStarted) and one.number == number]
        assert phases == ["deploy", "load", "teardown", "append"]
    assert sum(isinstance(event, TrialFinished) for event in course.events) == 9


@pytest.mark.parametrize("error", [UsageError("no such image"), InfrastructureError("the disk is full")])
def test_a_trial_that_ends_the_study_does_so_after_the_others_were_torn_down(error: Exception):
    others = threading.Barrier(3)

    def gate(name: str) -> None:
        others.wait(LONG_S)
        if number_of(name) == 1:
            raise error
        pause(LONG_S)

    course = Course(at_once(3), Gated(gate))
    with pytest.raises(type(error), match=error.message):
        course.run()
    assert course.runner.up == set()
    assert course.history.trials() == ()


def test_what_could_not_be_torn_down_is_told_even_where_something_else_ended_the_study():
    others = threading.Barrier(2)

    @contextmanager
    def sticky(name: str) -> Iterator[None]:
        others.wait(LONG_S)
        if number_of(name) == 1:
            raise UsageError("no such image")
        try:
            pause(LONG_S)
        finally:
            raise CleanupFailed("server 0 still runs", hint="end it")

    def gate(name: str) -> None:
        with sticky(name):
            pass

    course = Course(at_once(2), Gated(gate))
    with pytest.raises(CleanupFailed, match="server 0 still runs"):
        course.run()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_tears_down_all_that_run_and_keeps_what_had_ended(number: signal.Signals):
    all_wait = threading.Barrier(3)

    def gate(name: str) -> None:
        if number_of(name) == 0:
            return
        if all_wait.wait(LONG_S) == 0:
            signal.pthread_kill(threading.main_thread().ident, number)
        pause(LONG_S)

    course = Course(at_once(3), Gated(gate))
    with pytest.raises(Interrupted) as stopped, orderly_stop():
        course.run()
    assert stopped.value.exit_code == 128 + number
    assert course.runner.up == set()
    assert [trial.number for trial in course.history.trials()] == [0]
    course.runner.gate = lambda _name: None
    assert isinstance(course.run(), Proven)
    assert [trial.number for trial in course.history.trials()] == list(range(9))


def test_teardown_is_not_cut_short_by_the_stop():
    torn_down: list[str] = []
    begun = threading.Barrier(2)

    class Slow(Gated):
        @contextmanager
        def _gated(self, configuration: Configuration, deployment_id: str) -> Iterator[Deployment]:
            try:
                begun.wait(LONG_S)
                if number_of(deployment_id) == 0:
                    raise UsageError("no such image")
                pause(LONG_S)
                yield A_TRIAL  # never reached
            finally:
                with undisturbed():
                    pause(0.01)
                    torn_down.append(deployment_id)

    course = Course(at_once(2), Slow())
    with pytest.raises(UsageError):
        course.run()
    assert len(torn_down) == 2


def test_failures_in_a_row_end_the_study():
    def broken(_name: str) -> None:
        raise TransientFailure("no such file")

    course = Course(at_once(3), Gated(broken))
    with pytest.raises(InfrastructureError, match="3 trials in a row"):
        course.run()
    assert course.runner.up == set()
    assert all(isinstance(trial.outcome, Failed) for trial in course.history.trials())


def test_time_side_by_side_is_counted_once():
    alone, beside = virtually(at_once(1)), virtually(at_once(3))
    assert alone.run().evidence.candidate == beside.run().evidence.candidate
    long_s, short_s = studied_s(alone.history.trials()), studied_s(beside.history.trials())
    assert short_s == pytest.approx(long_s / 3, rel=0.01)
    assert sum(trial.phases.elapsed_s for trial in beside.history.trials()) == pytest.approx(long_s)


def test_time_is_kept_for_a_proof_side_by_side():
    """A trial takes 14 s, a proof 24 s: two rounds of trials and two of proofs fit in 85 s, a third round does not."""
    course = virtually(at_once(2, budget=Budget(trials=6, wall_time_s=85.0)))
    assert isinstance(course.run(), Proven)
    assert len(course.searches()) == 4
    assert studied_s(course.history.trials()) <= 85.0


def test_a_study_begun_alone_goes_on_side_by_side_and_the_time_before_counts():
    begun = virtually(a_spec(budget=Budget(trials=2, wall_time_s=1e4)))
    begun.run()
    before = [trial for trial in begun.history.trials() if isinstance(trial.purpose, Search)]
    course = virtually(at_once(3), history=ListHistory(before))
    course.run()
    spent_s = sum(trial.phases.elapsed_s for trial in before)
    assert [trial.began_s for trial in course.history.trials()][:3] == [None, None, spent_s]
    assert studied_s(course.history.trials()) == pytest.approx(spent_s + 2 * 14.0 + 24.0)


@dataclass
class Cramped:
    """So many trials at once; a configuration with four cores never fits; `asked` counts the looks."""

    most: int
    opens_after: int = 0
    asked: int = 0
    beside: list[int] = field(default_factory=list)

    def room(self, number: int, configuration: Configuration, beside: Sequence[tuple[int, Configuration]]) -> Room:
        self.asked += 1
        assert number not in {other for other, _ in beside}
        if configuration["cpu_cores"] == 4:
            return Never("no node has four cores")
        if self.asked <= self.opens_after or len(beside) >= self.most:
            return Wait(f"{len(beside)} run, and no node is free")
        self.beside.append(len(beside))
        return Admitted()


def test_no_more_trials_than_there_is_room_for_and_waiting_is_told_and_not_charged():
    course = virtually(at_once(4), admission=Cramped(most=2, opens_after=5))
    assert isinstance(course.run(), Proven)
    assert max(course.admission.beside) == 1
    assert course.events[1] == RoomAwaited(configuration=course.spec.space.at(0), reason="0 run, and no node is free")
    deployed = [trial for trial in course.history.trials() if not isinstance(trial.outcome, Infeasible)]
    assert {trial.phases.elapsed_s for trial in deployed} == {14.0, 24.0}
    assert min(trial.began_s for trial in course.history.trials()) == 0.0


def test_what_never_fits_is_recorded_and_not_deployed():
    course = virtually(at_once(2), admission=Cramped(most=2))
    assert isinstance(course.run(), Proven)
    never = [trial for trial in course.history.trials() if trial.configuration["cpu_cores"] == 4]
    assert [trial.outcome for trial in never] == [Infeasible(reason="no node has four cores")] * 2
    assert not {number_of(name) for name in course.runner.deployed} & {trial.number for trial in never}


def test_another_configuration_goes_first_where_only_that_has_room():
    @dataclass
    class OnlyLarge:
        def room(self, number: int, configuration: Configuration, beside: Sequence) -> Room:
            small = configuration["cpu_cores"] == 1
            busy = small and len(course.history.trials()) < 2
            return Wait("the small node is taken") if busy else Admitted()

    course = virtually(at_once(2), admission=OnlyLarge())
    assert isinstance(course.run(), Proven)
    assert [trial.configuration["cpu_cores"] for trial in course.history.trials()][:2] == [2, 2]
    assert len(course.searches()) == 6


def test_a_study_without_room_for_any_trial_does_not_wait_for_ever():
    course = virtually(at_once(2, budget=Budget(trials=6, wall_time_s=200.0)), admission=Cramped(most=0))
    with pytest.raises(InfrastructureError, match="no trial found room in 200 s: 0 run, and no node is free"):
        course.run()
    assert sum(isinstance(event, RoomAwaited) for event in course.events) == 1


def test_trouble_while_looking_for_room_is_no_failure_of_a_trial():
    @dataclass
    class Flaky:
        asked: int = 0

        def room(self, number: int, configuration: Configuration, beside: Sequence) -> Room:
            self.asked += 1
            if self.asked % 2:
                raise TransientFailure("the cluster does not answer")
            return Admitted()

    course = virtually(at_once(2), admission=Flaky())
    assert isinstance(course.run(), Proven)
    assert not any(isinstance(trial.outcome, Failed) for trial in course.history.trials())
