"""Why not cheaper, and what comes next: every other thing that could be bought, with the evidence against or for it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from reports.numbers import Quantity, Rounding, count, rate, shortened
from reports.trial_rows import NOTE_LENGTH, broken_text, main_objective, one_line
from tuner.domain import recommendation as domain
from tuner.domain.cost import replicas_at_least
from tuner.domain.measurement import Measurement
from tuner.domain.slo import GOODPUT, PERCENT, Slo, Tally, Verdict, assess
from tuner.domain.space import Configuration
from tuner.domain.spec import StudySpec
from tuner.domain.trial import Failed, Infeasible, Level, Measured, Search, Trial

# Above this many points the page does not price the whole space to count what was left untried.
COUNTED_SPACE = 100_000
DEARER_SHOWN = 3


class Ruling(StrEnum):
    """The kind of reason a candidate is not the answer."""

    REFUTED = "refuted by its proof"
    UNPROVEN = "not proven"
    TOO_SLOW = "too slow in screening"
    CANNOT_SERVE = "cannot serve"
    UNKNOWN = "machine failed"
    PLAUSIBLE = "plausible in screening"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """One configuration at the replica count that says most about it; `line` tells what differs from the answer."""

    trial: int
    line: str
    replicas: int
    cost_per_hour: Quantity
    difference: str
    ruling: Ruling
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cheaper:
    """Everything tried that would cost less: what reached its proof first, then the nearest in cost.

    `untried` is None where it was not counted.
    """

    tried: tuple[Alternative, ...]
    summary: str
    untried: int | None


def percentile_name(slo: Slo) -> str:
    """`p99` for latency_p99_ms, `failed requests` for error_ratio."""
    if slo.indicator == GOODPUT:
        return "good answers"
    if slo.indicator not in PERCENT:
        return "failed requests"
    return f"p{PERCENT[slo.indicator]:g}"


def objective_text(slo: Slo) -> str:
    """`p99 ≤ 100 ms`, `failed requests ≤ 0.1 %`."""
    bound = f"{slo.max:g} ms" if slo.indicator in PERCENT else f"{slo.bound * 100:g} %"
    return f"{percentile_name(slo)} {'≥' if slo.indicator == GOODPUT else '≤'} {bound}"


def cheaper_than(
    spec: StudySpec, trials: Sequence[Trial], bought: domain.Candidate | None, rounding: Rounding
) -> Cheaper:
    """What was tried below the cost of `bought` and why each was not chosen. All of it where nothing was bought."""
    limit = math.inf if bought is None else bought.cost_per_hour
    own = None if bought is None else bought.configuration
    found: dict[Configuration, Alternative] = {}
    for trial in trials:
        if trial.configuration == own or trial.unit_cost_per_hour >= limit:
            continue
        alternative = _judged(spec, trials, trial, bought, rounding)
        known = found.get(trial.configuration)
        if known is None or known.ruling is Ruling.UNKNOWN:
            found[trial.configuration] = alternative
    tried = tuple(sorted(found.values(), key=_prominence))
    return Cheaper(tried=tried, summary=_summary(tried), untried=_untried(spec, trials, limit))


def _prominence(one: Alternative) -> tuple[bool, float, int]:
    """What reached its proof comes first, then the nearest in cost."""
    return one.ruling not in (Ruling.REFUTED, Ruling.UNPROVEN), -one.cost_per_hour.raw, one.trial


def next_dearer(
    trials: Sequence[Trial], bought: domain.Candidate, rounding: Rounding, main: Slo | None
) -> tuple[Alternative, ...]:
    """The next candidates that screening left plausible at the same cost or more."""
    others = [
        candidate
        for candidate in domain.candidates(trials)
        if candidate.configuration != bought.configuration and candidate.cost_per_hour >= bought.cost_per_hour
    ]
    return tuple(
        _screened(trial, level, bought, rounding, main)
        for candidate in others[:DEARER_SHOWN]
        for trial, level in _screening(trials, candidate)[:1]
    )


def _screening(trials: Sequence[Trial], candidate: domain.Candidate) -> list[tuple[Trial, Level]]:
    return [
        (trial, level)
        for trial in trials
        if trial.configuration == candidate.configuration
        and isinstance(trial.purpose, Search)
        and isinstance(trial.outcome, Measured)
        for level in trial.outcome.levels
        if level.replicas == candidate.replicas
    ]


def _screened(
    trial: Trial, level: Level, bought: domain.Candidate, rounding: Rounding, main: Slo | None
) -> Alternative:
    cost = level.replicas * trial.unit_cost_per_hour
    return Alternative(
        trial=trial.number,
        line=one_line(trial.configuration, beside=bought.configuration),
        replicas=level.replicas,
        cost_per_hour=rounding.per_hour(cost),
        difference=difference_text(cost, bought.cost_per_hour),
        ruling=Ruling.PLAUSIBLE,
        why=measured_text(level.measurement, main, rounding),
    )


def difference_text(cost: float, reference: float) -> str:
    """`+12 %`, `-50 %` (with a true minus sign), `same cost`."""
    if reference == 0 or math.isclose(cost, reference, rel_tol=1e-9):
        return "same cost" if math.isclose(cost, reference, rel_tol=1e-9) else ""
    percent = (cost / reference - 1.0) * 100.0
    sign = "+" if percent > 0 else "\N{MINUS SIGN}"
    return f"{sign}{abs(percent):.{0 if abs(percent) >= 10 else 1}f} %"


def measured_text(measurement: Measurement, main: Slo | None, rounding: Rounding) -> str:
    """The objective that decided, seen on one deployment: `p99 412.0 ms at 139 rps, 57 late of 695`."""
    at = f"at {rate(measurement.offered_rps).text} rps"
    tally = _decisive(measurement.tallies, main)
    if tally is None or tally.slo.indicator not in PERCENT:
        return f"{broken_text(measurement.tallies)} {at}"
    seen = f"{percentile_name(tally.slo)} {rounding.latency_text(tally.observed)}"
    return f"{seen} {at}, {broken_text(measurement.tallies)}"


def _decisive(tallies: Sequence[Tally], main: Slo | None) -> Tally | None:
    """The main objective, unless it held and another one failed."""
    failed = [tally for tally in tallies if assess(tally).verdict is Verdict.FAIL]
    looked_at = failed or list(tallies)
    return next((tally for tally in looked_at if tally.slo == main), looked_at[0] if looked_at else None)


def _judged(
    spec: StudySpec, trials: Sequence[Trial], trial: Trial, bought: domain.Candidate | None, rounding: Rounding
) -> Alternative:
    limit = math.inf if bought is None else bought.cost_per_hour
    replicas, ruling, why = _ruling(spec, trials, trial, limit, rounding)
    cost = replicas * trial.unit_cost_per_hour
    return Alternative(
        trial=trial.number,
        line=one_line(trial.configuration, beside=None if bought is None else bought.configuration),
        replicas=replicas,
        cost_per_hour=rounding.per_hour(cost),
        difference="" if bought is None else difference_text(cost, limit),
        ruling=ruling,
        why=why,
    )


def _ruling(
    spec: StudySpec, trials: Sequence[Trial], trial: Trial, limit: float, rounding: Rounding
) -> tuple[int, Ruling, str]:
    match trial.outcome:
        case Failed(error=error):
            return 1, Ruling.UNKNOWN, shortened(error, NOTE_LENGTH)
        case Infeasible(reason=reason):
            return 1, Ruling.CANNOT_SERVE, shortened(reason, NOTE_LENGTH)
        case Measured(levels=levels):
            affordable = [level for level in levels if level.replicas * trial.unit_cost_per_hour < limit]
            if not affordable:
                return _too_few_replicas(spec, trial, levels, limit)
            level = max(affordable, key=lambda one: one.replicas)
            plausible = trial.outcome.plausible
            if plausible is not None and plausible in affordable:
                return _proof(spec, trials, trial, plausible, rounding)
            why = measured_text(level.measurement, main_objective(spec.slos), rounding)
            return level.replicas, Ruling.TOO_SLOW, why + _more_replicas(spec, trial, level, limit)
        case _ as unreachable:
            assert_never(unreachable)


def _too_few_replicas(spec: StudySpec, trial: Trial, levels: Sequence[Level], limit: float) -> tuple[int, Ruling, str]:
    """Only dearer replica counts were measured; fewer would cost less."""
    affordable = _affordable_replicas(spec, trial, limit)
    tried = min(level.replicas for level in levels) if levels else 0
    return affordable, Ruling.UNPROVEN, f"not tried with {count(affordable, 'replica')}, only with {tried}"


def _affordable_replicas(spec: StudySpec, trial: Trial, limit: float) -> int:
    """The most replicas that still cost less than `limit`."""
    if math.isinf(limit) or trial.unit_cost_per_hour <= 0:
        return spec.max_replicas
    return max(1, min(spec.max_replicas, math.ceil(limit / trial.unit_cost_per_hour - 1e-9) - 1))


def _more_replicas(spec: StudySpec, trial: Trial, level: Level, limit: float) -> str:
    """Whether more replicas of it could still have been the answer, by what one was seen to carry."""
    affordable = _affordable_replicas(spec, trial, limit)
    if affordable <= level.replicas:
        return ""
    carried_rps = level.measurement.carried_rps
    needed = replicas_at_least(spec.required_rps, carried_rps)
    if needed > affordable:
        return f"; one replica carried {rate(carried_rps).text} rps, so {needed} would be needed, which cost more"
    return f"; {affordable} replicas would cost less too and were not measured"


def _proof(
    spec: StudySpec, trials: Sequence[Trial], trial: Trial, level: Level, rounding: Rounding
) -> tuple[int, Ruling, str]:
    """A cheaper candidate that screening had left: what its confirmations said."""
    candidate = domain.Candidate(
        configuration=trial.configuration,
        replicas=level.replicas,
        unit_cost_per_hour=trial.unit_cost_per_hour,
    )
    evidence = domain.evidence_for(candidate, trials)
    if evidence.infeasible_reason:
        return level.replicas, Ruling.REFUTED, shortened(evidence.infeasible_reason, NOTE_LENGTH)
    if not evidence.runs:
        return level.replicas, Ruling.UNPROVEN, "plausible in screening, its proof was never made"
    refuted = evidence.standing(spec.confirm.repeats) is domain.Standing.REFUTED
    why = _pooled_text(evidence.tallies, main_objective(spec.slos), rounding, len(evidence.runs))
    return level.replicas, Ruling.REFUTED if refuted else Ruling.UNPROVEN, why


def _pooled_text(tallies: Sequence[Tally], main: Slo | None, rounding: Rounding, deployments: int) -> str:
    worst = next((tally.observed for tally in tallies if tally.slo == main), None)
    over = f"over {count(deployments, 'fresh deployment')}: {broken_text(tallies)}"
    if main is None or worst is None:
        return over
    return f"{over}, worst {percentile_name(main)} {rounding.latency_text(worst)}"


def _summary(tried: Sequence[Alternative]) -> str:
    """`9 too slow in screening, 3 cannot serve`."""
    kinds = Counter(alternative.ruling for alternative in tried)
    return ", ".join(f"{kinds[ruling]:,} {ruling}" for ruling in Ruling if kinds[ruling])


def _untried(spec: StudySpec, trials: Sequence[Trial], limit: float) -> int | None:
    """How many points of the space would cost less with one replica and were never tried."""
    if len(spec.space) > COUNTED_SPACE:
        return None
    tried = {trial.configuration for trial in trials}
    return sum(point not in tried and spec.pricing.unit_cost_per_hour(point) < limit for point in spec.space)
