"""A study's conclusion as the JSON document and the text that `tune` and `recommend` print."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from pydantic import BaseModel, ConfigDict

from tuner.answer_explanation import (
    BorderlineDocument,
    EarlierDocument,
    ExplanationDocument,
    borderline_document,
    borderline_lines,
    earlier_documents,
    explanation_document,
    explanation_lines,
)
from tuner.domain.agenda import estimate, tried
from tuner.domain.borderline import Borderline, borderline
from tuner.domain.diagnosis import diagnose_all
from tuner.domain.earlier import NOTHING_EARLIER, WarmStart
from tuner.domain.explanation import Explanation
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
from tuner.domain.slo import CONFIDENCE, Verdict, assess
from tuner.domain.space import KnobValue, shown
from tuner.domain.spec import StudySpec
from tuner.domain.trial import Confirmation, Failed, Infeasible, Measured, Trial

EXIT_CODES: dict[type[Conclusion], int] = {Proven: 0, Unproven: 4, NothingFeasible: 5, NoVerdict: 8}
HOURS_PER_MONTH = 730


class Document(BaseModel):
    """Every JSON document is closed, and knows infinity only as null: JSON has no number for it."""

    model_config = ConfigDict(extra="forbid")


class MeasurementDocument(Document):
    """Pooled over `deployments` fresh ones, each percentile from the pooled counts; null means infinite."""

    latency_p50_ms: float | None
    latency_p95_ms: float | None
    latency_p99_ms: float | None
    offered_rps: float
    achieved_rps: float
    requests: int
    errors: int
    deployments: int
    latency_p99_ms_each: list[float | None]
    design_effect: float


class BottleneckDocument(Document):
    """What limits it at this load, and the figures that show it; `unknown` where nothing that was seen is used up."""

    name: str
    evidence: str


class RecommendationDocument(Document):
    """One candidate; `measurement` and `bottleneck` are null where it was never deployed afresh.

    `borderline` is null where no limit is near.
    """

    configuration: dict[str, KnobValue]
    replicas: int
    hourly_cost: float
    hourly_cost_usd: float | None
    currency: str
    verdict: Verdict
    confidence: float
    measurement: MeasurementDocument | None
    borderline: BorderlineDocument | None
    bottleneck: BottleneckDocument | None


class TrialCounts(Document):
    """How many trials came to what; `confirmations` are counted in the others too."""

    measured: int
    infeasible: int
    failed: int
    confirmations: int
    total: int


class ClosestMiss(Document):
    """The measured load level that came nearest to its SLOs."""

    configuration: dict[str, KnobValue]
    replicas: int
    missed: list[str]


class TuneDocument(Document):
    """What `tune --json` prints. `elapsed_s` adds up all trials of the study, those before a resume included."""

    schema_version: int = 1
    study: str
    runner: str
    conclusion: str
    reason: str
    recommendation: RecommendationDocument | None
    closest_miss: ClosestMiss | None
    trials: TrialCounts
    space_size: int
    share_of_space_tested: float
    elapsed_s: float
    explanation: ExplanationDocument | None
    warm_start: list[EarlierDocument]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A conclusion with the study it answers, the earlier studies it learned from, and why it is the answer."""

    spec: StudySpec
    history: tuple[Trial, ...]
    conclusion: Conclusion
    warm: WarmStart = NOTHING_EARLIER
    explanation: Explanation | None = None

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[type(self.conclusion)]


def tune_document(answer: Answer) -> TuneDocument:
    """The conclusion in machine-readable form."""
    kind, reason = _kind_and_reason(answer.conclusion)
    return TuneDocument(
        study=answer.spec.name,
        runner=answer.spec.runner.kind,
        conclusion=kind,
        reason=reason,
        recommendation=_recommendation(answer),
        closest_miss=_closest(answer.conclusion),
        trials=_counts(answer.history),
        space_size=len(answer.spec.space),
        share_of_space_tested=len(tried(answer.history)) / len(answer.spec.space),
        elapsed_s=round(estimate(answer.spec, answer.history).elapsed_s, 3),
        explanation=None if answer.explanation is None else explanation_document(answer.explanation),
        warm_start=earlier_documents(answer.warm),
    )


def _kind_and_reason(conclusion: Conclusion) -> tuple[str, str]:
    match conclusion:
        case Proven():
            return "proven", ""
        case Unproven(reason=reason):
            return "unproven", reason
        case NothingFeasible(reason=reason):
            return "nothing_feasible", reason
        case NoVerdict(reason=reason):
            return "no_verdict", reason
        case _ as unreachable:
            assert_never(unreachable)


def _recommendation(answer: Answer) -> RecommendationDocument | None:
    if not isinstance(answer.conclusion, Proven | Unproven):
        return None
    evidence = answer.conclusion.evidence
    currency = answer.spec.pricing.book.currency
    cost = evidence.candidate.cost_per_hour
    return RecommendationDocument(
        configuration=evidence.candidate.configuration.as_dict(),
        replicas=evidence.candidate.replicas,
        hourly_cost=cost,
        hourly_cost_usd=cost if currency == "USD" else None,
        currency=currency,
        verdict=Verdict.PASS if isinstance(answer.conclusion, Proven) else Verdict.UNDECIDED,
        confidence=CONFIDENCE,
        measurement=_measurement(evidence) if evidence.runs else None,
        borderline=borderline_document(_borderline(answer, evidence)),
        bottleneck=_bottleneck(evidence),
    )


def _borderline(answer: Answer, evidence: Evidence) -> Borderline | None:
    return borderline(evidence, answer.history, answer.spec.confirm.repeats)


def _bottleneck(evidence: Evidence) -> BottleneckDocument | None:
    found = diagnose_all(evidence.runs)
    return None if found is None else BottleneckDocument(name=str(found.bottleneck), evidence=found.evidence)


def _measurement(evidence: Evidence) -> MeasurementDocument:
    runs, counts = evidence.runs, evidence.counts
    window_s = sum(run.window_s for run in runs)
    requests, errors = sum(run.requests for run in runs), sum(run.errors for run in runs)
    return MeasurementDocument(
        latency_p50_ms=_finite(counts.percentile_ms(50)),
        latency_p95_ms=_finite(counts.percentile_ms(95)),
        latency_p99_ms=_finite(counts.percentile_ms(99)),
        offered_rps=requests / window_s,
        achieved_rps=(requests - errors) / window_s,
        requests=requests,
        errors=errors,
        deployments=len(runs),
        latency_p99_ms_each=[_finite(run.latency_ms.p99) for run in runs],
        design_effect=max(tally.design_effect for tally in evidence.tallies),
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _counts(history: Sequence[Trial]) -> TrialCounts:
    def having(kind: type[Measured | Infeasible | Failed]) -> int:
        return sum(isinstance(trial.outcome, kind) for trial in history)

    return TrialCounts(
        measured=having(Measured),
        infeasible=having(Infeasible),
        failed=having(Failed),
        confirmations=sum(isinstance(trial.purpose, Confirmation) for trial in history),
        total=len(history),
    )


def _closest(conclusion: Conclusion) -> ClosestMiss | None:
    if not isinstance(conclusion, NothingFeasible) or conclusion.closest is None:
        return None
    trial, level = conclusion.closest
    missed = [
        f"{tally.slo.indicator} {tally.slo.shown(tally.observed):.4g} (limit {tally.slo.bound:g})"
        for tally in level.measurement.tallies
        if tally.observed > tally.slo.max
    ]
    return ClosestMiss(configuration=trial.configuration.as_dict(), replicas=level.replicas, missed=missed)


def answer_text(answer: Answer) -> str:
    """The conclusion for people: what to buy, on what evidence, and why not cheaper."""
    lines: list[str]
    match answer.conclusion:
        case Proven(evidence=evidence):
            lines = [f"{answer.spec.name}: proven{_where(answer.spec)}", *_candidate_lines(answer, evidence)]
        case Unproven(evidence=evidence, reason=reason):
            lines = [f"{answer.spec.name}: unproven: {reason}", *_candidate_lines(answer, evidence)]
        case NothingFeasible(reason=reason):
            lines = [f"{answer.spec.name}: nothing feasible: {reason}", *_closest_lines(answer.conclusion)]
        case NoVerdict(reason=reason):
            lines = [f"{answer.spec.name}: no verdict: {reason}"]
        case _ as unreachable:
            assert_never(unreachable)
    return "\n".join(
        [*lines, *_cheaper_lines(answer), *_explanation(answer), *_warm_lines(answer), _search_line(answer)]
    )


def _explanation(answer: Answer) -> list[str]:
    if answer.explanation is None or not isinstance(answer.conclusion, Proven | Unproven):
        return []
    return explanation_lines(answer.explanation, answer.conclusion.evidence.candidate)


def _warm_lines(answer: Answer) -> list[str]:
    return [
        f"  learned    from study {one.study}: {one.trials} trials"
        f"{'' if one.same_model else f' of another model, {one.model}'}"
        for one in earlier_documents(answer.warm)
    ]


def _where(spec: StudySpec) -> str:
    return " in simulation, on no real server" if spec.runner.kind == "simulated" else ""


def _candidate_lines(answer: Answer, evidence: Evidence) -> list[str]:
    candidate, currency = evidence.candidate, answer.spec.pricing.book.currency
    term = answer.spec.pricing.book.term.replace("_", " ")
    cost = candidate.cost_per_hour
    settings = ", ".join(f"{name}={shown(value)}" for name, value in candidate.configuration.settings)
    lines = [
        f"  spec       {settings}",
        f"  replicas   {candidate.replicas} for {answer.spec.load.target_rps:g} rps"
        f" with {answer.spec.headroom:.0%} headroom",
        f"  cost       {cost:.4f} {currency} per hour, {cost * HOURS_PER_MONTH:.2f} per month ({term})",
    ]
    if not evidence.runs:
        return [*lines, "  evidence   none from fresh deployments yet"]
    pooled = _measurement(evidence)
    lines.append(
        f"  evidence   {pooled.requests} requests at {pooled.offered_rps:.1f} rps on {len(evidence.runs)}"
        f" fresh deployment{'s' if len(evidence.runs) > 1 else ''}, {pooled.errors} failed"
    )
    counts = evidence.counts
    lines.append("  latency    " + ", ".join(f"p{p:g} {counts.percentile_ms(p):.1f} ms" for p in (50, 95, 99)))
    for tally in evidence.tallies:
        bad = "failed" if tally.slo.indicator == "error_ratio" else "late"
        verdict = assess(tally).verdict
        effect = f", design effect {tally.design_effect:.1f}" if tally.design_effect > 1.05 else ""
        lines.append(
            f"  SLO        {tally.slo}: {verdict} at {CONFIDENCE:.0%} ({tally.bad} of {tally.requests} {bad}{effect})"
        )
    lines.append(f"  bottleneck {diagnose_all(evidence.runs)}")
    return [*lines, *borderline_lines(_borderline(answer, evidence), candidate)]


def _closest_lines(conclusion: NothingFeasible) -> list[str]:
    closest = _closest(conclusion)
    if closest is None:
        return []
    settings = ", ".join(f"{name}={shown(value)}" for name, value in closest.configuration.items())
    missed = "; ".join(closest.missed) or "its SLOs, on fresh deployments"
    return [f"  closest    {settings} with {closest.replicas} replicas missed {missed}"]


def _cheaper_lines(answer: Answer) -> list[str]:
    """Why not each cheaper candidate."""
    if not isinstance(answer.conclusion, Proven | Unproven):
        return []
    winner = answer.conclusion.evidence.candidate
    cheaper = [c for c in candidates(answer.history) if c.cost_per_hour < winner.cost_per_hour]
    return [f"  cheaper    {_why_not(c, answer)}" for c in cheaper]


def _why_not(candidate: Candidate, answer: Answer) -> str:
    evidence = evidence_for(candidate, answer.history)
    standing = evidence.standing(answer.spec.confirm.repeats)
    settings = ", ".join(f"{name}={shown(value)}" for name, value in candidate.configuration.settings)
    tail = f": {evidence.infeasible_reason}" if evidence.infeasible_reason else ""
    if evidence.runs:
        tail = f": p99 {evidence.counts.percentile_ms(99):.1f} ms on {len(evidence.runs)} fresh deployments"
    return f"{settings} at {candidate.cost_per_hour:.4f}: {standing}{tail}"


def _search_line(answer: Answer) -> str:
    document = tune_document(answer)
    trials = document.trials
    return (
        f"  search     {trials.total} trials ({trials.confirmations} of them proofs, {trials.infeasible} infeasible, "
        f"{trials.failed} failed), {document.share_of_space_tested:.1%} of {document.space_size} configurations, "
        f"{document.elapsed_s:.0f} s"
    )
