"""Trials as rows of a page: raw values with their text, and one plain word for what came of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from reports.numbers import Quantity, Rounding, duration, rate, seconds, shortened
from tuner.domain.diagnosis import diagnose
from tuner.domain.measurement import Doubt, Measurement
from tuner.domain.slo import PERCENT, Slo, Tally, Verdict
from tuner.domain.space import Configuration, shown
from tuner.domain.spec import StudySpec
from tuner.domain.trial import Confirmation, Failed, Infeasible, Level, Measured, Outcome, Phases, Search, Trial

NOTE_LENGTH = 300
SETTING_LENGTH = 60


class Standing(StrEnum):
    """What came of a trial, in the words of the page. Only a proof can pass: a search trial screens."""

    PASSED = "passed"
    PLAUSIBLE = "plausible"
    UNDECIDED = "undecided"
    TOO_SLOW = "missed the SLO"
    CANNOT_SERVE = "cannot serve"
    FAILED = "machine failed"


DOUBT_TEXT: dict[Doubt, str] = {
    Doubt.SEND_LAG: "requests were sent late",
    Doubt.GENERATOR_CPU: "the load generator was short of CPU",
    Doubt.NOT_SENT: "requests were never sent",
    Doubt.WORKER_LOST: "a load worker was lost",
    Doubt.START_SKEW: "the load workers did not begin together",
    Doubt.SERVER_RESTARTED: "the server restarted",
    Doubt.FEW_REQUESTS: "few requests for this percentile",
    Doubt.DRIFT: "latency was still growing",
    Doubt.OVERSATURATED: "more came in than was finished: the queue grew",
    Doubt.BUSY_MACHINE: "other programs used the machine",
    Doubt.DETOUR: "the load came from outside of the cluster",
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One knob and its value, as text."""

    knob: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelRow:
    """One load level of one trial. `judged` is the percentile the study's main objective looks at.

    `late` requests broke its limit, the `failed` ones among them; None where no latency is limited.
    """

    replicas: int
    cost_per_hour: Quantity
    offered_rps: Quantity
    achieved_rps: Quantity
    p50: Quantity
    p95: Quantity
    p99: Quantity
    judged: Quantity
    requests: int
    late: int | None
    failed: int
    verdict: Verdict
    doubts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRow:
    """One trial. `shown` is its plausible level, else the gentlest one tried; None where nothing was measured.

    `best_so_far` is the lowest plausible total cost of the search up to here.
    """

    number: int
    role: str
    searching: bool
    recommended: bool
    settings: tuple[Setting, ...]
    unit_cost_per_hour: Quantity
    standing: Standing
    shown: LevelRow | None
    levels: tuple[LevelRow, ...]
    notes: tuple[str, ...]
    phases: Phases
    elapsed: Quantity
    started_at: str
    best_so_far: Quantity | None


def main_objective(slos: Sequence[Slo]) -> Slo | None:
    """The latency objective with the highest percentile: the one the figures are drawn against."""
    latency = [slo for slo in slos if slo.indicator in PERCENT]
    return max(latency, key=lambda slo: PERCENT[slo.indicator], default=None)


def settings_of(configuration: Configuration) -> tuple[Setting, ...]:
    return tuple(
        Setting(knob=shortened(knob, SETTING_LENGTH), value=shortened(shown(value), SETTING_LENGTH))
        for knob, value in configuration.settings
    )


def one_line(configuration: Configuration, *, beside: Configuration | None = None) -> str:
    """`cpu_cores 0.5 · max_batch_size 8`; `beside` another configuration only what differs from it."""
    known = set() if beside is None else set(settings_of(beside))
    settings = [setting for setting in settings_of(configuration) if setting not in known]
    return " · ".join(f"{setting.knob} {setting.value}" for setting in settings)


def trial_rows(
    spec: StudySpec, trials: Sequence[Trial], rounding: Rounding, *, bought: tuple[Configuration, int] | None
) -> tuple[TrialRow, ...]:
    """One row per trial in the order given; `bought` is the recommended configuration and its replicas."""
    rows: list[TrialRow] = []
    best: float | None = None
    for trial in trials:
        cost = trial.total_cost_per_hour if isinstance(trial.purpose, Search) else None
        if cost is not None and (best is None or cost < best):
            best = cost
        rows.append(_row(spec, trial, rounding, bought=bought, best=best))
    return tuple(rows)


def _row(
    spec: StudySpec,
    trial: Trial,
    rounding: Rounding,
    *,
    bought: tuple[Configuration, int] | None,
    best: float | None,
) -> TrialRow:
    levels = _levels(spec, trial, rounding)
    shown = shown_level(trial.outcome) if isinstance(trial.outcome, Measured) else None
    return TrialRow(
        number=trial.number,
        role=_role(spec, trial),
        searching=isinstance(trial.purpose, Search),
        recommended=_is_bought(trial, bought),
        settings=settings_of(trial.configuration),
        unit_cost_per_hour=rounding.per_hour(trial.unit_cost_per_hour),
        standing=standing_of(trial),
        shown=None if shown is None else _level_row(spec, shown, trial.unit_cost_per_hour, rounding),
        levels=levels,
        notes=_notes(trial.outcome),
        phases=trial.phases,
        elapsed=seconds(trial.phases.elapsed_s),
        started_at=shortened(trial.started_at, SETTING_LENGTH),
        best_so_far=None if best is None else rounding.per_hour(best),
    )


def _role(spec: StudySpec, trial: Trial) -> str:
    match trial.purpose:
        case Search():
            return "search"
        case Confirmation(repeat=repeat):
            return f"proof {repeat + 1} of {spec.confirm.repeats}"
        case _ as unreachable:
            assert_never(unreachable)


def _is_bought(trial: Trial, bought: tuple[Configuration, int] | None) -> bool:
    """The trial measured the recommended configuration with the recommended number of replicas."""
    if bought is None or trial.configuration != bought[0] or not isinstance(trial.outcome, Measured):
        return False
    return any(level.replicas == bought[1] for level in trial.outcome.levels)


def standing_of(trial: Trial) -> Standing:
    match trial.outcome:
        case Failed():
            return Standing.FAILED
        case Infeasible():
            return Standing.CANNOT_SERVE
        case Measured():
            level = trial.outcome.plausible
            if level is None:
                return Standing.TOO_SLOW
            if isinstance(trial.purpose, Search):
                return Standing.PLAUSIBLE
            return Standing.PASSED if level.verdict is Verdict.PASS else Standing.UNDECIDED
        case _ as unreachable:
            assert_never(unreachable)


def shown_level(outcome: Measured) -> Level | None:
    """The plausible level, else the one with the least load on each replica."""
    return outcome.plausible or max(outcome.levels, key=lambda level: level.replicas, default=None)


def _levels(spec: StudySpec, trial: Trial, rounding: Rounding) -> tuple[LevelRow, ...]:
    if not isinstance(trial.outcome, Measured):
        return ()
    return tuple(_level_row(spec, level, trial.unit_cost_per_hour, rounding) for level in trial.outcome.levels)


def _level_row(spec: StudySpec, level: Level, unit_cost: float, rounding: Rounding) -> LevelRow:
    measurement = level.measurement
    return LevelRow(
        replicas=level.replicas,
        cost_per_hour=rounding.per_hour(level.replicas * unit_cost),
        offered_rps=rate(measurement.offered_rps),
        achieved_rps=rate(measurement.achieved_rps),
        p50=rounding.latency(measurement.latency_ms.p50),
        p95=rounding.latency(measurement.latency_ms.p95),
        p99=rounding.latency(measurement.latency_ms.p99),
        judged=rounding.latency(_judged_ms(spec, measurement)),
        requests=measurement.requests,
        late=_late(spec, measurement),
        failed=measurement.errors,
        verdict=level.verdict,
        doubts=tuple(DOUBT_TEXT[doubt] for doubt in measurement.doubts),
    )


def _judged_ms(spec: StudySpec, measurement: Measurement) -> float:
    main = main_objective(spec.slos)
    for tally in measurement.tallies:
        if main is not None and tally.slo == main:
            return tally.observed
    return measurement.latency_ms.p99


def _late(spec: StudySpec, measurement: Measurement) -> int | None:
    """Requests over the main limit, failed ones included; None where no latency is limited."""
    main = main_objective(spec.slos)
    return next((tally.bad for tally in measurement.tallies if tally.slo == main), None)


def broken_text(tallies: Sequence[Tally]) -> str:
    """How many requests broke which bound: `12 late of 1,250`, `12 late, 3 failed of 1,250`."""
    late = max((tally.bad for tally in tallies if tally.slo.indicator in PERCENT), default=0)
    failed = max((tally.bad for tally in tallies if tally.slo.indicator not in PERCENT), default=0)
    requests = max((tally.requests for tally in tallies), default=0)
    parts = [f"{late:,} late"] + ([f"{failed:,} failed"] if failed else [])
    return f"{', '.join(parts)} of {requests:,}"


def _notes(outcome: Outcome) -> tuple[str, ...]:
    """Why, in the words of whoever reported it; of a measured trial, what to know about the level shown."""
    match outcome:
        case Infeasible(reason=text) | Failed(error=text):
            return (shortened(text, NOTE_LENGTH),)
        case Measured():
            level = shown_level(outcome)
            return () if level is None else tuple(_level_notes(level))
        case _ as unreachable:
            assert_never(unreachable)


def _level_notes(level: Level) -> list[str]:
    """What limited it, then what to know of the measurement; a certain miss is certain however few requests showed."""
    measurement, found = level.measurement, diagnose(level.measurement)
    certain = level.verdict is Verdict.FAIL
    doubts = [doubt for doubt in measurement.doubts if not (certain and doubt is Doubt.FEW_REQUESTS)]
    notes = [DOUBT_TEXT[doubt] for doubt in doubts]
    if measurement.first_error:
        notes.append(shortened(f"first failure: {measurement.first_error}", NOTE_LENGTH))
    # A queue that only the doubt shows is told by it.
    return ([str(found)] if found.known and found.evidence not in notes else []) + notes


def time_spent(phases: Sequence[Phases]) -> tuple[tuple[str, str], ...]:
    """Starting servers, under load, stopping them: the sums, as text."""
    return (
        ("starting servers", duration(sum(phase.deploy_s for phase in phases))),
        ("under load", duration(sum(phase.load_s for phase in phases))),
        ("stopping servers", duration(sum(phase.teardown_s for phase in phases))),
    )
