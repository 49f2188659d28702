"""Why this answer and no other one, for a page: predictions with probability or interval, not as measurements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from reports.alternatives import difference_text
from reports.numbers import Quantity, Rounding, count, shortened
from reports.trial_rows import NOTE_LENGTH
from tuner.domain.earlier import WarmStart
from tuner.domain.explanation import Change, Explanation, KnobWeight, Neighbour
from tuner.domain.recommendation import Candidate

NAME_LENGTH = 60
# An interval's axis ends here, in times the limit: beyond it a server is overloaded, by how much is no news.
WIDEST = 3.0
LEAST_FACTOR = 1.05


@dataclass(frozen=True, slots=True, kw_only=True)
class NeighbourRow:
    """A cheaper candidate one knob away; `certain` where it was measured."""

    change: str
    cost_per_hour: Quantity
    difference: str
    ground: str
    detail: str
    holds: str
    certain: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRow:
    """One step on one knob; `left`, `middle` and `right` are places of the interval on an axis from 0 to 1."""

    change: str
    cost_per_hour: Quantity
    difference: str
    latency: str
    interval: str
    left: float
    middle: float
    right: float
    over: bool
    tested: bool


@dataclass(frozen=True, slots=True)
class KnobRow:
    """How much a knob matters around the answer; `length` is a share of the largest, on a logarithmic axis."""

    knob: str
    factor: str
    length: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """The section of the page. `limit_at` is the limit's place on the intervals' axis."""

    indicator: str
    limit: Quantity
    limit_at: float
    neighbours: tuple[NeighbourRow, ...]
    changes: tuple[ChangeRow, ...]
    knobs: tuple[KnobRow, ...]
    basis: str


def explained(explanation: Explanation, answer: Candidate, rounding: Rounding) -> Explained:
    """The explanation in a page's numbers."""
    indicator = explanation.indicator.removeprefix("latency_").removesuffix("_ms").replace("_", ".")
    return Explained(
        indicator=indicator,
        limit=Quantity(explanation.limit_ms, f"{explanation.limit_ms:g}"),
        limit_at=1.0 / WIDEST,
        neighbours=tuple(_neighbour(one, answer, rounding) for one in explanation.neighbours),
        changes=tuple(_change(one, explanation, answer, rounding) for one in explanation.changes),
        knobs=_knobs(explanation.knobs),
        basis=f"predicted by models fitted to {count(explanation.trials, 'trial')}",
    )


def warm_text(warm: WarmStart) -> str:
    """Which earlier studies this one learned from; empty for none."""
    told = [
        f"{count(len(study.trials), 'trial')} of study {shortened(study.spec.name, NAME_LENGTH)}"
        + ("" if study.same_model else f", another model ({shortened(study.spec.model.name, NAME_LENGTH)})")
        for study in warm.studies
    ]
    return "; ".join(told)


def chance(share: float) -> str:
    """`12 %`; never a certainty that nobody has."""
    if share < 0.01:
        return "< 1 %"
    return "> 99 %" if share > 0.99 else f"{100 * share:.0f} %"


def _neighbour(one: Neighbour, answer: Candidate, rounding: Rounding) -> NeighbourRow:
    cost = one.candidate.cost_per_hour
    return NeighbourRow(
        change=f"{shortened(one.knob, NAME_LENGTH)} {shortened(one.value, NAME_LENGTH)}",
        cost_per_hour=rounding.per_hour(cost),
        difference=difference_text(cost, answer.cost_per_hour),
        ground=one.ground.value,
        detail=shortened(one.detail, NOTE_LENGTH),
        holds=chance(one.holds) if one.ground.predicted else "",
        certain=not one.ground.predicted,
    )


def _change(one: Change, explanation: Explanation, answer: Candidate, rounding: Rounding) -> ChangeRow:
    widest_ms = WIDEST * explanation.limit_ms
    far = one.latency_ms > widest_ms
    interval = f"{rounding.latency(one.low_ms).text} to {rounding.latency(one.high_ms).text}"
    return ChangeRow(
        change=f"{shortened(one.knob, NAME_LENGTH)} {shortened(one.before, 30)} → {shortened(one.after, 30)}",
        cost_per_hour=rounding.per_hour(one.cost_per_hour),
        difference=difference_text(one.cost_per_hour, answer.cost_per_hour),
        latency=f"over {rounding.latency(widest_ms).text}" if far else rounding.latency(one.latency_ms).text,
        interval="overloaded" if far else interval,
        left=min(one.low_ms / widest_ms, 1.0),
        middle=min(one.latency_ms / widest_ms, 1.0),
        right=min(one.high_ms / widest_ms, 1.0),
        over=one.latency_ms > explanation.limit_ms,
        tested=one.tested,
    )


def _knobs(weights: Sequence[KnobWeight]) -> tuple[KnobRow, ...]:
    told = [one for one in weights if one.factor >= LEAST_FACTOR]
    largest = max((math.log(one.factor) for one in told), default=1.0)
    return tuple(
        KnobRow(shortened(one.knob, NAME_LENGTH), f"{one.factor:.2g}x", math.log(one.factor) / largest) for one in told
    )
