"""The explanation of an answer as a JSON document and as lines of text."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from tuner.domain.borderline import Borderline
from tuner.domain.earlier import WarmStart
from tuner.domain.explanation import Change, Explanation, Ground, Neighbour
from tuner.domain.recommendation import Candidate
from tuner.domain.slo import CONFIDENCE
from tuner.domain.space import KnobValue, shown

NEIGHBOURS_SHOWN = 4
KNOBS_SHOWN = 4
CHANGES_SHOWN = 6
# Beyond so many times the limit a prediction says only that the server would be overloaded.
FAR = 3.0


class Document(BaseModel):
    """Closed, as every document."""

    model_config = ConfigDict(extra="forbid")


class DearerDocument(Document):
    """The cheapest candidate, at this cost or more, that one screening trial saw well within every limit."""

    configuration: dict[str, KnobValue]
    replicas: int
    hourly_cost: float


class BorderlineDocument(Document):
    """The percentile's interval spans its limit; null means infinite."""

    indicator: str
    limit_ms: float
    low_ms: float | None
    high_ms: float | None
    next_dearer: DearerDocument | None


class NeighbourDocument(Document):
    """A cheaper candidate one knob away. `holds` is a predicted probability, whatever the ground."""

    knob: str
    value: str
    configuration: dict[str, KnobValue]
    replicas: int
    hourly_cost: float
    ground: Ground
    predicted: bool
    detail: str
    holds: float


class KnobDocument(Document):
    """`latency_factor`: predicted latency at the knob's worst value over that at its best, all else as answered."""

    knob: str
    latency_factor: float


class ChangeDocument(Document):
    """What one step on one knob would do; latency is predicted, with a 90 % interval, unless `tested`."""

    knob: str
    before: str
    after: str
    hourly_cost: float
    latency_ms: float
    latency_low_ms: float
    latency_high_ms: float
    tested: bool


class ExplanationDocument(Document):
    """Predictions of models fitted to the study's trials; `indicator` is what they predict."""

    indicator: str
    limit_ms: float
    cheaper_neighbours: list[NeighbourDocument]
    knobs: list[KnobDocument]
    changes: list[ChangeDocument]


class EarlierDocument(Document):
    """A study that this one learned from, as it was when this one began."""

    study: str
    model: str
    same_model: bool
    trials: int


def borderline_document(found: Borderline | None) -> BorderlineDocument | None:
    if found is None:
        return None
    dearer = found.next_dearer
    return BorderlineDocument(
        indicator=found.slo.indicator,
        limit_ms=found.slo.max,
        low_ms=found.low_ms if math.isfinite(found.low_ms) else None,
        high_ms=found.high_ms if math.isfinite(found.high_ms) else None,
        next_dearer=None
        if dearer is None
        else DearerDocument(
            configuration=dearer.configuration.as_dict(),
            replicas=dearer.replicas,
            hourly_cost=dearer.cost_per_hour,
        ),
    )


def borderline_lines(found: Borderline | None, answer: Candidate) -> list[str]:
    """That the answer is borderline, and what has room to spare."""
    if found is None:
        return []
    high = f"{found.high_ms:.1f} ms" if math.isfinite(found.high_ms) else "more than was seen"
    lines = [
        f"  borderline {found.slo}: it lies between {found.low_ms:.1f} ms and {high}"
        f" (bounds at {CONFIDENCE:.0%}, and each deployment's own)"
    ]
    dearer = found.next_dearer
    if dearer is None:
        return [*lines, "  headroom   nothing dearer that was tested has room to spare"]
    settings = ", ".join(f"{name}={shown(value)}" for name, value in dearer.configuration.settings)
    return [
        *lines,
        f"  headroom   {settings}, {dearer.replicas} replicas at {dearer.cost_per_hour:.4f}"
        f" ({_money(dearer.cost_per_hour, answer)}); screened, not proven",
    ]


def explanation_document(explanation: Explanation) -> ExplanationDocument:
    return ExplanationDocument(
        indicator=explanation.indicator,
        limit_ms=explanation.limit_ms,
        cheaper_neighbours=[_neighbour(one) for one in explanation.neighbours],
        knobs=[KnobDocument(knob=one.knob, latency_factor=one.factor) for one in explanation.knobs],
        changes=[_change(one) for one in explanation.changes],
    )


def _neighbour(one: Neighbour) -> NeighbourDocument:
    return NeighbourDocument(
        knob=one.knob,
        value=one.value,
        configuration=one.candidate.configuration.as_dict(),
        replicas=one.candidate.replicas,
        hourly_cost=one.candidate.cost_per_hour,
        ground=one.ground,
        predicted=one.ground.predicted,
        detail=one.detail,
        holds=one.holds,
    )


def _change(one: Change) -> ChangeDocument:
    return ChangeDocument(
        knob=one.knob,
        before=one.before,
        after=one.after,
        hourly_cost=one.cost_per_hour,
        latency_ms=one.latency_ms,
        latency_low_ms=one.low_ms,
        latency_high_ms=one.high_ms,
        tested=one.tested,
    )


def earlier_documents(warm: WarmStart) -> list[EarlierDocument]:
    return [
        EarlierDocument(
            study=study.spec.name,
            model=study.spec.model.name,
            same_model=study.same_model,
            trials=len(study.trials),
        )
        for study in warm.studies
    ]


def explanation_lines(explanation: Explanation, answer: Candidate) -> list[str]:
    """Why not cheaper, one knob away; what a step would do; which knobs matter."""
    name = explanation.indicator.removeprefix("latency_").removesuffix("_ms").replace("_", ".")
    first = {one.knob: one for one in reversed(explanation.neighbours)}
    told = [one for one in explanation.neighbours if first[one.knob] is one][:NEIGHBOURS_SHOWN]
    lines = [f"  why not    {_why_not(one, answer)}" for one in told]
    left = [one for one in explanation.neighbours if one not in told]
    if left:
        lines.append(f"             and {len(left)} more, {_likeliest(left)}")
    changes = [one for one in explanation.changes if one.latency_ms <= FAR * explanation.limit_ms]
    lines += [
        f"  what if    {one.knob} {one.before} -> {one.after}: {name} {one.latency_ms:.3g} ms"
        f" ({one.low_ms:.3g} to {one.high_ms:.3g}), {_money(one.cost_per_hour, answer)}"
        for one in changes[:CHANGES_SHOWN]
    ]
    knobs = ", ".join(f"{one.knob} x{one.factor:.2g}" for one in explanation.knobs[:KNOBS_SHOWN] if one.factor >= 1.05)
    if knobs:
        lines.append(f"  knobs      {knobs} between worst and best value of each, for {name}")
    if lines:
        lines.append(
            f"             (what was not measured is predicted, by models fitted to {explanation.trials} trials)"
        )
    return lines


def _why_not(one: Neighbour, answer: Candidate) -> str:
    settings = f"{one.knob}={one.value} ({_money(one.candidate.cost_per_hour, answer)})"
    if one.ground.predicted:
        return f"{settings}: {one.ground}, {probability(one.holds)} likely to hold"
    return f"{settings}: {one.ground}: {one.detail}"


def _likeliest(left: Sequence[Neighbour]) -> str:
    return f"the likeliest of them to hold at {probability(max(one.holds for one in left))}"


def probability(share: float) -> str:
    """`12 %`; never a certainty that nobody has."""
    if share < 0.01:
        return "under 1 %"
    return "over 99 %" if share > 0.99 else f"{100 * share:.0f} %"


def _money(cost_per_hour: float, answer: Candidate) -> str:
    change = cost_per_hour / answer.cost_per_hour - 1.0 if answer.cost_per_hour else 0.0
    return f"{change:+.0%}" if abs(change) >= 0.005 else "same cost"
