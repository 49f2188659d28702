"""What a person sees while a study runs, on stderr: one line per finished trial, and a live line on a terminal."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import assert_never

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from tuner.domain.agenda import estimate
from tuner.domain.diagnosis import diagnose
from tuner.domain.events import Event, LoadAdvanced, PhaseStarted, Repeated, StudyOpened, TrialFinished
from tuner.domain.measurement import Doubt
from tuner.domain.recommendation import candidates
from tuner.domain.slo import PERCENT, Verdict
from tuner.domain.spec import StudySpec
from tuner.domain.trial import Confirmation, Failed, Infeasible, Level, Measured, Search, Trial

VERDICT_WORDS = {Verdict.PASS: "passes", Verdict.FAIL: "fails", Verdict.UNDECIDED: "plausible"}
Show = Callable[[Event], None]


class Progress:
    """Turns events into lines. Keeps the trials it saw, to say where the study stands."""

    def __init__(self, spec: StudySpec, console: Console, *, verbose: bool) -> None:
        self._spec = spec
        self._console = console
        self._verbose = verbose
        self._trials: tuple[Trial, ...] = ()
        self._now = ""
        self._load = ""
        self._label = ""

    def resume(self, trials: tuple[Trial, ...]) -> None:
        self._trials = trials

    def show(self, event: Event) -> None:
        match event:
            case StudyOpened(study=study, space_size=size, trials_before=before):
                tail = f", going on after {before} trials" if before else ""
                self._line(f"study {study}: {size} configurations{tail}")
            case PhaseStarted(number=number, phase=phase, detail=detail):
                self._label = self._which(event)
                self._now, self._load = f"{self._label}  {phase} {detail}".rstrip(), ""
                if self._verbose:
                    self._line(f"trial={number} step={phase} {detail}".rstrip())
            case LoadAdvanced(sent=sent, due=due, errors=errors, p99_ms=p99_ms):
                failed = f", {errors} failed" if errors else ""
                self._load = f"  {sent} of {due} sent, p99 {p99_ms:.1f} ms{failed}"
            case Repeated(reason=reason):
                self._line(f"{self._label} again: {reason}")
            case TrialFinished(trial=trial):
                self._trials = (*self._trials, trial)
                self._line(f"{self._which_done(trial)}  {trial_line(trial, self._spec)}")
            case _ as unreachable:
                assert_never(unreachable)

    def headline(self) -> str:
        """Where the study stands: best so far, and time left of the budget."""
        best = candidates(self._trials)
        left_s = self._spec.budget.wall_time_s - estimate(self._spec, self._trials).elapsed_s
        price = (
            f"best {best[0].cost_per_hour:.4f} {self._spec.pricing.book.currency}/h" if best else "none plausible yet"
        )
        return f"{self._now}{self._load}  |  {price}  |  {max(0.0, left_s):.0f} s left"

    def _line(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)

    def _which(self, event: PhaseStarted) -> str:
        if isinstance(event.purpose, Confirmation):
            return f"proof {event.purpose.repeat + 1} of {self._spec.confirm.repeats}"
        done = sum(isinstance(trial.purpose, Search) for trial in self._trials)
        return f"trial {done + 1} of {self._spec.budget.trials}"

    def _which_done(self, trial: Trial) -> str:
        if isinstance(trial.purpose, Confirmation):
            return f"proof {trial.purpose.repeat + 1:2d}/{self._spec.confirm.repeats}"
        done = sum(isinstance(seen.purpose, Search) for seen in self._trials)
        return f"trial {done:2d}/{self._spec.budget.trials}"


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

    def live_line() -> Spinner:
        return Spinner("dots", text=Text(f"{time.monotonic() - started_s:4.0f} s  {progress.headline()}"))

    with Live(live_line(), console=console, transient=True, refresh_per_second=4, get_renderable=live_line):
        yield progress.show
