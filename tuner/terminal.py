"""What a person sees while a study runs, on stderr: one line per finished trial, and a live line on a terminal."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import assert_never

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from tuner.domain.agenda import estimate
from tuner.domain.diagnosis import diagnose
from tuner.domain.events import Event, LoadAdvanced, PhaseStarted, Repeated, RoomAwaited, StudyOpened, TrialFinished
from tuner.domain.measurement import Doubt
from tuner.domain.recommendation import candidates
from tuner.domain.slo import PERCENT, Verdict
from tuner.domain.spec import StudySpec
from tuner.domain.trial import Confirmation, Failed, Infeasible, Level, Measured, Search, Trial

VERDICT_WORDS = {Verdict.PASS: "passes", Verdict.FAIL: "fails", Verdict.UNDECIDED: "plausible"}
Show = Callable[[Event], None]


@dataclass(slots=True)
class _Running:
    """What a trial does now, and since when (monotonic seconds)."""

    label: str
    since_s: float
    step: str = ""
    load: str = ""


class Progress:
    """Turns events into lines. Keeps the trials it saw, to say where the study stands. Threads may call it."""

    def __init__(self, spec: StudySpec, console: Console, *, verbose: bool) -> None:
        self._spec = spec
        self._console = console
        self._verbose = verbose
        self._turn = threading.RLock()
        self._trials: tuple[Trial, ...] = ()
        self._running: dict[int, _Running] = {}
        self._searches_begun = 0
        self._waits_for = ""

    def resume(self, trials: tuple[Trial, ...]) -> None:
        self._trials = trials
        self._searches_begun = _searched(trials)

    def show(self, event: Event) -> None:
        with self._turn:
            self._show(event)

    def _show(self, event: Event) -> None:
        match event:
            case StudyOpened(study=study, space_size=size, trials_before=before):
                tail = f", going on after {before} trials" if before else ""
                self._line(f"study {study}: {size} configurations{tail}")
            case PhaseStarted(number=number, phase=phase, detail=detail):
                running = self._begun(event)
                running.step, running.load, self._waits_for = f"{phase} {detail}".rstrip(), "", ""
                if self._verbose:
                    self._line(f"trial={number} step={phase} {detail}".rstrip())
            case LoadAdvanced(sent=sent, due=due, errors=errors, p99_ms=p99_ms):
                failed = f", {errors} failed" if errors else ""
                # It does not say whose load it is: with several trials at once, nobody's.
                for running in self._running.values() if len(self._running) == 1 else ():
                    running.load = f"  {sent} of {due} sent, p99 {p99_ms:.1f} ms{failed}"
            case Repeated(number=number, reason=reason):
                label = self._running[number].label if number in self._running else f"trial {number}"
                self._line(f"{label} again: {reason}")
            case RoomAwaited(configuration=configuration, reason=reason):
                self._waits_for = f"waiting for room: {reason}"
                self._line(f"no room yet for {configuration}: {reason}")
            case TrialFinished(trial=trial):
                self._trials = (*self._trials, trial)
                self._running.pop(trial.number, None)
                self._line(f"{self._which_done(trial)}  {trial_line(trial, self._spec)}")
            case _ as unreachable:
                assert_never(unreachable)

    def headline(self) -> str:
        """What runs, best so far, and time left of the budget."""
        with self._turn:
            running = tuple(self._running.values())
            now = f"{running[0].label}  {running[0].step}{running[0].load}" if len(running) == 1 else self._several()
        return f"{now}  |  {self._standing()}"

    def running_lines(self) -> tuple[str, ...]:
        """What each trial does, and for how long it has run; none where the headline says it."""
        with self._turn:
            running = [one for _, one in sorted(self._running.items())]
        if len(running) < 2:
            return ()
        now_s = time.monotonic()
        return tuple(f"{now_s - one.since_s:9.0f} s  {one.label}  {one.step}" for one in running)

    def _several(self) -> str:
        parts = [f"{len(self._running)} trials at once"] if self._running else []
        return ", ".join([*parts, *([self._waits_for] if self._waits_for else [])])

    def _standing(self) -> str:
        best = candidates(self._trials)
        left_s = self._spec.budget.wall_time_s - estimate(self._spec, self._trials).elapsed_s
        price = (
            f"best {best[0].cost_per_hour:.4f} {self._spec.pricing.book.currency}/h" if best else "none plausible yet"
        )
        return f"{price}  |  {max(0.0, left_s):.0f} s left"

    def _line(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)

    def _begun(self, event: PhaseStarted) -> _Running:
        if event.number not in self._running:
            self._searches_begun += isinstance(event.purpose, Search)
            self._running[event.number] = _Running(label=self._which(event), since_s=time.monotonic())
        return self._running[event.number]

    def _which(self, event: PhaseStarted) -> str:
        if isinstance(event.purpose, Confirmation):
            return f"proof {event.purpose.repeat + 1} of {self._spec.confirm.repeats}"
        return f"trial {self._searches_begun} of {self._spec.budget.trials}"

    def _which_done(self, trial: Trial) -> str:
        if isinstance(trial.purpose, Confirmation):
            return f"proof {trial.purpose.repeat + 1:2d}/{self._spec.confirm.repeats}"
        return f"trial {_searched(self._trials):2d}/{self._spec.budget.trials}"


def _searched(trials: Sequence[Trial]) -> int:
    return sum(isinstance(trial.purpose, Search) for trial in trials)


def trial_line(trial: Trial, spec: StudySpec) -> str:
    """One finished trial on one line."""
    return f"{trial.configuration}  {_outcome(trial, spec)}  {trial.phases.elapsed_s:.1f} s"


def _outcome(trial: Trial, spec: StudySpec) -> str:
    match trial.outcome:
        case Measured(levels=levels):
            return "; ".join(_level(level, trial, spec) for level in levels)
        case Infeasible(reason=reason):
            return f"infeasible: {reason}"
        case Failed(error=error):
            return f"failed: {error}"
        case _ as unreachable:
            assert_never(unreachable)


def _level(level: Level, trial: Trial, spec: StudySpec) -> str:
    measurement = level.measurement
    shown = [
        f"{t.slo.indicator} {t.observed:.4g}"
        for t in measurement.tallies
        if t.slo.indicator in PERCENT and math.isfinite(t.observed)
    ]
    if measurement.errors or not shown:
        why = f" ({measurement.first_error})" if measurement.first_error else ""
        shown.append(f"{measurement.error_ratio:.1%} of requests failed{why}")
    replicas = f"x{level.replicas} " if level.replicas > 1 else ""
    cost = f"{trial.unit_cost_per_hour * level.replicas:.4f} {spec.pricing.book.currency}/h"
    # A certain failure is certain however few requests showed it.
    worth_saying = [d for d in measurement.doubts if (d, level.verdict) != (Doubt.FEW_REQUESTS, Verdict.FAIL)]
    doubts = f" ({', '.join(worth_saying)})" if worth_saying else ""
    found = diagnose(measurement)
    cause = f", {found.bottleneck}" if found.known and level.verdict is Verdict.FAIL else ""
    verdict = f"{VERDICT_WORDS[level.verdict]}{cause}{doubts}"
    return f"{replicas}{cost}  {' '.join(shown)} at {measurement.offered_rps:.0f} rps: {verdict}"


@contextmanager
def watching(progress: Progress, console: Console, *, quiet: bool) -> Iterator[Show]:
    """A live line where stderr is a terminal, plain lines elsewhere, nothing when quiet."""
    if quiet:
        yield lambda _event: None
        return
    if not console.is_terminal:
        yield progress.show
        return
    started_s = time.monotonic()

    def live() -> Group:
        spinner.update(text=Text(f"{time.monotonic() - started_s:4.0f} s  {progress.headline()}"))
        return Group(spinner, *(Text(line, no_wrap=True, overflow="ellipsis") for line in progress.running_lines()))

    spinner = Spinner("dots")
    with Live(live(), console=console, transient=True, refresh_per_second=4, get_renderable=live):
        yield progress.show
