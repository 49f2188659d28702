"""What a person sees of several trials at once."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from tests.builders import a_trial
from tests.specs import a_spec
from tuner.domain.events import Event, LoadAdvanced, PhaseStarted, Repeated, RoomAwaited, TrialFinished
from tuner.domain.spec import RunnerSpec
from tuner.domain.trial import Confirmation, Search
from tuner.terminal import Progress, watching

SPEC = a_spec(runner=RunnerSpec(kind="simulated", parallel_trials=3))


def begun(number: int, phase: str = "deploy", detail: str = "") -> PhaseStarted:
    configuration = SPEC.space.at(number)
    return PhaseStarted(number=number, purpose=Search(), configuration=configuration, phase=phase, detail=detail)


def progress() -> tuple[Progress, io.StringIO]:
    text = io.StringIO()
    return Progress(SPEC, Console(file=text, width=200), verbose=False), text


def test_one_trial_is_told_in_the_headline():
    shown, _ = progress()
    shown.show(begun(0, "load", "100 rps for 10 s"))
    shown.show(LoadAdvanced(sent=10, due=100, errors=0, p99_ms=12.0))
    assert shown.headline().startswith("trial 1 of 6  load 100 rps for 10 s  10 of 100 sent, p99 12.0 ms  |  ")
    assert shown.running_lines() == ()


def test_several_trials_have_a_line_each_and_keep_their_names():
    shown, text = progress()
    for number in range(3):
        shown.show(begun(number))
    shown.show(begun(1, "load", "100 rps for 10 s"))
    shown.show(LoadAdvanced(sent=10, due=100, errors=0, p99_ms=12.0))
    assert shown.headline().startswith("3 trials at once  |  none plausible yet  |  10000 s left")
    lines = [line.split(" s  ", 1)[1] for line in shown.running_lines()]
    assert lines == ["trial 1 of 6  deploy", "trial 2 of 6  load 100 rps for 10 s", "trial 3 of 6  deploy"]
    shown.show(Repeated(number=2, reason="port taken"))
    shown.show(TrialFinished(trial=a_trial(1)))
    assert [line.split(" s  ", 1)[1] for line in shown.running_lines()] == [lines[0], lines[2]]
    assert "trial 3 of 6 again: port taken" in text.getvalue()
    assert "trial  1/6  " in text.getvalue()


def test_proofs_side_by_side_are_told_apart():
    shown, _ = progress()
    for repeat in (0, 2):
        shown.show(replace(begun(repeat), purpose=Confirmation(replicas=1, repeat=repeat)))
    assert [line.split(" s  ", 1)[1] for line in shown.running_lines()] == [
        "proof 1 of 3  deploy",
        "proof 3 of 3  deploy",
    ]


def test_waiting_for_room_is_told_until_something_begins():
    shown, text = progress()
    waits = RoomAwaited(configuration=SPEC.space.at(0), reason="no node has cpu 4 free for it")
    shown.show(waits)
    assert shown.headline().startswith("waiting for room: no node has cpu 4 free for it  |  ")
    assert "no room yet for cpu_cores=1" in text.getvalue()
    shown.show(begun(0))
    assert shown.headline().startswith("trial 1 of 6  deploy")


def test_on_a_terminal_the_lines_are_live():
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    shown = Progress(SPEC, console, verbose=False)
    events: list[Event] = [begun(0), begun(1), TrialFinished(trial=a_trial(0))]
    with watching(shown, console, quiet=False) as show:
        for event in events:
            show(event)
    assert "trial  1/6" in console.file.getvalue()
