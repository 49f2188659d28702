"""The answer card: what to buy, what that rests on, and how far it is from the limit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, assert_never

from reports.alternatives import difference_text, objective_text, percentile_name
from reports.numbers import Quantity, Rounding, count, rate, share, shortened
from reports.trial_rows import NOTE_LENGTH, Setting, one_line, settings_of
from tuner.domain.borderline import borderline
from tuner.domain.diagnosis import NOTHING_TOLD, diagnose_all
from tuner.domain.histogram import LatencyCounts
from tuner.domain.measurement import Measurement
from tuner.domain.recommendation import (
    Candidate,
    Conclusion,
    Evidence,
    NothingFeasible,
    NoVerdict,
    Proven,
    Unproven,
    candidates,
    evidence_for,
)
from tuner.domain.slo import CONFIDENCE, PERCENT, Slo, Tally, Verdict, assess
from tuner.domain.spec import StudySpec
from tuner.domain.trial import Level, Measured, Search, Trial

State = Literal["proven", "unproven", "nothing", "no_verdict", "running"]
# What the page calls the configuration it is about.
MARKED: dict[State, str] = {
    "proven": "recommended",
    "unproven": "candidate",
    "nothing": "closest miss",
    "no_verdict": "candidate",
    "running": "leading",
}
BADGE: dict[State, str] = {
    "proven": f"Proven at {CONFIDENCE:.0%} confidence".replace("%", " %"),
    "unproven": "Not proven",
    "nothing": "Nothing feasible",
    "no_verdict": "No verdict",
    "running": "Still running",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """What would be bought, or came closest."""

    settings: tuple[Setting, ...]
    replicas: int
    unit_cost_per_hour: Quantity
    cost_per_hour: Quantity
    cost_per_month: Quantity
    wanted_rps: Quantity
    tested_rps: Quantity
    tested_rps_per_replica: Quantity
    headroom: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge:
    """One percentile against its limit, if it has one; `filled` and `limit_at` are shares of a common scale."""

    name: str
    value: Quantity
    limit: Quantity | None
    filled: float
    limit_at: float | None
    remark: str
    over: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveRow:
    """The evidence on one objective, and what it says."""

    objective: str
    observed: str
    requests: int
    bad: int
    allowed: str
    design_effect: str
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The first screen. `candidate` is what the figures highlight, and `marked` what they call it.

    `bottleneck` is what limits it at this load, as a sentence; empty where the server told nothing.
    """

    state: State
    badge: str
    marked: str
    headline: str
    explanation: str
    candidate: Candidate | None
    purchase: Purchase | None
    gauges: tuple[Gauge, ...]
    objectives: tuple[ObjectiveRow, ...]
    rests_on: str
    borderline: str = ""
    bottleneck: str = ""


def answer_of(spec: StudySpec, trials: Sequence[Trial], conclusion: Conclusion | None, rounding: Rounding) -> Answer:
    """The card for a conclusion; None is a study that still runs."""
    match conclusion:
        case Proven(evidence=evidence):
            return _from_evidence(spec, trials, evidence, rounding, state="proven", reason="")
        case Unproven(evidence=evidence, reason=reason):
            return _from_evidence(spec, trials, evidence, rounding, state="unproven", reason=reason)
        case NothingFeasible(reason=reason, closest=closest):
            return _nothing(spec, reason, closest, rounding)
        case NoVerdict(reason=reason):
            return _empty("no_verdict", "There is nothing to recommend", shortened(reason, NOTE_LENGTH))
        case None:
            return _running(spec, trials, rounding)
        case _ as unreachable:
            assert_never(unreachable)


def _empty(state: State, headline: str, explanation: str) -> Answer:
    return Answer(
        state=state,
        badge=BADGE[state],
        marked=MARKED[state],
        headline=headline,
        explanation=sentence(explanation),
        candidate=None,
        purchase=None,
        gauges=(),
        objectives=(),
        rests_on="",
    )


def sentence(text: str) -> str:
    """With a capital and a full stop."""
    if not text:
        return ""
    return text[0].upper() + text[1:] + ("" if text[-1] in ".!?…)" else ".")


def _running(spec: StudySpec, trials: Sequence[Trial], rounding: Rounding) -> Answer:
    leading = candidates(trials)
    if not leading:
        done = f"{count(len(trials), 'trial')} finished, and none of them is a candidate yet"
        return _empty("running", "No candidate so far", done)
    evidence = evidence_for(leading[0], trials)
    return _from_evidence(spec, trials, evidence, rounding, state="running", reason="the study has not ended yet")


def _from_evidence(
    spec: StudySpec, trials: Sequence[Trial], evidence: Evidence, rounding: Rounding, *, state: State, reason: str
) -> Answer:
    candidate = evidence.candidate
    runs = evidence.runs or _screening(trials, candidate)
    tallies = evidence.tallies or (runs[0].tallies if runs else ())
    counts = evidence.counts if evidence.runs else runs[0].counts if runs else LatencyCounts(counts=())
    return Answer(
        state=state,
        badge=_badge(spec, state),
        marked=MARKED[state],
        headline=_headline(spec, candidate, rounding, state),
        explanation=sentence(reason),
        candidate=candidate,
        purchase=purchase_of(spec, candidate, rounding),
        gauges=_gauges(spec, counts, rounding),
        objectives=tuple(_objective(tally, rounding) for tally in tallies),
        rests_on=_rests_on(spec, runs, proofs=len(evidence.runs)),
        borderline=_borderline(spec, trials, evidence, rounding),
        bottleneck=_bottleneck(runs),
    )


def _borderline(spec: StudySpec, trials: Sequence[Trial], evidence: Evidence, rounding: Rounding) -> str:
    """That the interval of a percentile spans its limit, and what dearer candidate has room to spare."""
    found = borderline(evidence, trials, spec.confirm.repeats)
    if found is None:
        return ""
    between = f"{rounding.latency_text(found.low_ms)} and {rounding.latency_text(found.high_ms)}"
    if math.isinf(found.high_ms):
        between = f"{rounding.latency_text(found.low_ms)} and more than was seen"
    text = (
        f"Borderline: {percentile_name(found.slo)} lies between {between}, on both sides of its limit of "
        f"{found.slo.max:g} ms."
    )
    dearer = found.next_dearer
    if dearer is None:
        return f"{text} Nothing dearer that was tested has room to spare."
    differs = one_line(dearer.configuration, beside=evidence.candidate.configuration) or "the same configuration"
    change = difference_text(dearer.cost_per_hour, evidence.candidate.cost_per_hour)
    replicas = count(dearer.replicas, "replica")
    return f"{text} The next with room to spare: {differs}, {replicas} ({change}), screened but not proven."


def _badge(spec: StudySpec, state: State) -> str:
    return BADGE[state] + (", in simulation: no server was started" if spec.runner.kind == "simulated" else "")


def _headline(spec: StudySpec, candidate: Candidate, rounding: Rounding, state: State) -> str:
    replicas = count(candidate.replicas, "replica")
    load = f"{rate(spec.load.target_rps).text} requests per second"
    cost = f"{rounding.per_hour(candidate.cost_per_hour).text} {rounding.currency} an hour"
    match state:
        case "proven":
            verb = "carries" if candidate.replicas == 1 else "carry"
            return f"{replicas} {verb} {load} for {cost}"
        case "running":
            return f"Leading: {replicas} for {load} at {cost}"
        case _:
            return f"{replicas} may carry {load} for {cost}"


def purchase_of(spec: StudySpec, candidate: Candidate, rounding: Rounding) -> Purchase:
    return Purchase(
        settings=settings_of(candidate.configuration),
        replicas=candidate.replicas,
        unit_cost_per_hour=rounding.per_hour(candidate.unit_cost_per_hour),
        cost_per_hour=rounding.per_hour(candidate.cost_per_hour),
        cost_per_month=rounding.per_month(candidate.cost_per_hour),
        wanted_rps=rate(spec.load.target_rps),
        tested_rps=rate(spec.required_rps),
        tested_rps_per_replica=rate(spec.required_rps / candidate.replicas),
        headroom=share(spec.headroom),
    )


def _screening(trials: Sequence[Trial], candidate: Candidate) -> tuple[Measurement, ...]:
    """What the search saw of a candidate before any proof."""
    return tuple(
        level.measurement
        for trial in trials
        if isinstance(trial.purpose, Search) and trial.configuration == candidate.configuration
        if isinstance(trial.outcome, Measured)
        for level in trial.outcome.levels
        if level.replicas == candidate.replicas
    )[:1]


def _rests_on(spec: StudySpec, runs: Sequence[Measurement], *, proofs: int) -> str:
    if not runs:
        return ""
    where = (
        f"{count(proofs, 'fresh deployment')} of {spec.confirm.repeats}" if proofs else "one screening trial, no proof"
    )
    if proofs == spec.confirm.repeats:
        where = count(proofs, "fresh deployment")
    requests = sum(run.requests for run in runs)
    offered = rate(requests / sum(run.window_s for run in runs)).text
    return f"{where}, {requests:,} requests at {offered} rps on each replica"


def _bottleneck(runs: Sequence[Measurement]) -> str:
    found = diagnose_all(runs)
    if found is None or found.evidence == NOTHING_TOLD:
        return ""
    return sentence(
        f"bottleneck at this load: {found.bottleneck}, {found.evidence}"
        if found.known
        else f"of the server at this load {found.evidence}"
    )


def _nothing(spec: StudySpec, reason: str, closest: tuple[Trial, Level] | None, rounding: Rounding) -> Answer:
    if closest is None:
        return _empty("nothing", "No configuration tried can serve this load", reason)
    trial, level = closest
    candidate = Candidate(
        configuration=trial.configuration, replicas=level.replicas, unit_cost_per_hour=trial.unit_cost_per_hour
    )
    measurement = level.measurement
    return Answer(
        state="nothing",
        badge=_badge(spec, "nothing"),
        marked=MARKED["nothing"],
        headline="No configuration tried meets the objectives",
        explanation=sentence(f"{reason}; the closest miss, trial {trial.number}, is shown here"),
        candidate=candidate,
        purchase=purchase_of(spec, candidate, rounding),
        gauges=_gauges(spec, measurement.counts, rounding),
        objectives=tuple(_objective(tally, rounding) for tally in measurement.tallies),
        rests_on=f"trial {trial.number}, {measurement.requests:,} requests "
        f"at {rate(measurement.offered_rps).text} rps on one replica",
        bottleneck=_bottleneck([measurement]),
    )


def _gauges(spec: StudySpec, counts: LatencyCounts, rounding: Rounding) -> tuple[Gauge, ...]:
    """p50, p95, p99 and every percentile with a limit, on one scale that ends a quarter beyond the widest limit."""
    if not counts.total:
        return ()
    limits = {PERCENT[slo.indicator]: slo for slo in spec.slos if slo.indicator in PERCENT}
    percents = sorted({50.0, 95.0, 99.0} | set(limits))
    values_ms = {percent: counts.percentile_ms(percent) for percent in percents}
    finite = [value for value in values_ms.values() if math.isfinite(value)]
    widest_ms = max((slo.max for slo in limits.values()), default=0.0)
    scale_ms = max(1.25 * widest_ms, max(finite, default=0.0), 1e-9)
    if widest_ms:
        scale_ms = min(scale_ms, 4.0 * widest_ms)
    return tuple(_gauge(p, values_ms[p], limits.get(p), scale_ms, rounding) for p in percents)


def _gauge(percent: float, value_ms: float, slo: Slo | None, scale_ms: float, rounding: Rounding) -> Gauge:
    return Gauge(
        name=f"p{percent:g}" if slo is None else percentile_name(slo),
        value=rounding.latency(value_ms),
        limit=None if slo is None else Quantity(slo.max, f"{slo.max:g}"),
        filled=min(1.0, value_ms / scale_ms),
        limit_at=None if slo is None else slo.max / scale_ms,
        remark="" if slo is None else _distance(value_ms, slo.max),
        over=slo is not None and value_ms > slo.max,
    )


def _distance(value_ms: float, limit_ms: float) -> str:
    """`66 % below the limit`, `2.3 times the limit`."""
    if math.isinf(value_ms):
        return "too many requests got no answer"
    if limit_ms <= 0:
        return ""
    ratio = value_ms / limit_ms
    if ratio <= 1:
        return f"{(1 - ratio) * 100:.0f} % below the limit"
    return f"{ratio:,.{1 if ratio < 10 else 0}f} times the limit" if ratio >= 1.05 else "just above the limit"


def _objective(tally: Tally, rounding: Rounding) -> ObjectiveRow:
    latency = tally.slo.indicator in PERCENT
    return ObjectiveRow(
        objective=objective_text(tally.slo),
        observed=rounding.latency_text(tally.observed) if latency else share(tally.slo.shown(tally.observed)),
        requests=tally.requests,
        bad=tally.bad,
        allowed=share(tally.slo.allowed_share),
        design_effect=f"{tally.design_effect:.1f}",
        verdict=assess(tally).verdict,
    )
