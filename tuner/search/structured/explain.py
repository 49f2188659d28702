"""What the search knows, said in values: why not cheaper, which knobs matter, and what a small change would do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tuner.search.structured.engine import StructuredSearch
from tuner.search.structured.observation import Ints, KnobColumn

LIKELY_REFUSED = 0.5
Reason = Literal["measured over the limit", "refused", "predicted not to start", "predicted over the limit", "untested"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """A candidate one step away on one knob: what it costs, why it is not the answer, and P[it would hold]."""

    row: int
    knob: str
    label: str
    cost: float
    reason: Reason
    feasible: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Importance:
    """By which factor latency changes between the best and the worst value of a knob, all else as recommended."""

    knob: str
    factor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    """Latency relative to the limit, median and 90 % interval, if one knob had another value."""

    row: int
    knob: str
    label: str
    cost: float
    share_of_limit: float
    low: float
    high: float


def cheaper_neighbours(search: StructuredSearch, row: int) -> tuple[Neighbour, ...]:
    """Every cheaper candidate that differs from `row` in one knob, the likeliest to hold first."""
    found = [
        _neighbour(search, other, knob)
        for knob in search.terrain.knobs
        for other in along(search, row, knob).tolist()
        if search.terrain.cost[other] < search.terrain.cost[row]
    ]
    return tuple(sorted(found, key=lambda one: (-one.feasible, one.cost)))


def knob_importance(search: StructuredSearch, row: int) -> tuple[Importance, ...]:
    """The knobs in order of what they do to latency around `row`."""
    found = []
    for knob in search.terrain.knobs:
        rows = along(search, row, knob)
        if len(rows) > 1:
            middle = search.severity(rows)[1]
            found.append(Importance(knob=knob.name, factor=float(np.exp(middle.max() - middle.min()))))
    return tuple(sorted(found, key=lambda one: -one.factor))


def what_if(search: StructuredSearch, row: int) -> tuple[WhatIf, ...]:
    """One step up and one step down on each ordered knob, and each other label of the rest."""
    found = []
    for knob in search.terrain.knobs:
        rows = along(search, row, knob)
        if knob.numbers is not None:
            rows = rows[np.abs(knob.positions[rows].astype(int) - int(knob.positions[row])) <= 1]
        rows = rows[rows != row]
        if not len(rows):
            continue
        low, middle, high = np.exp(search.severity(rows))
        found += [
            WhatIf(
                row=int(other),
                knob=knob.name,
                label=knob.labels[int(knob.positions[other])],
                cost=float(search.terrain.cost[other]),
                share_of_limit=float(middle[k]),
                low=float(low[k]),
                high=float(high[k]),
            )
            for k, other in enumerate(rows)
        ]
    return tuple(found)


def along(search: StructuredSearch, row: int, knob: KnobColumn) -> Ints:
    """The rows that differ from `row` in this knob only, itself among them."""
    same = np.ones(search.terrain.size, dtype=bool)
    for other in search.terrain.knobs:
        if other.name != knob.name:
            same &= other.positions == other.positions[row]
    return np.flatnonzero(same)


def _neighbour(search: StructuredSearch, row: int, knob: KnobColumn) -> Neighbour:
    one = np.array([row])
    feasible, starts = float(search.feasible(one)[0]), float(search.starts(one)[0])
    return Neighbour(
        row=row,
        knob=knob.name,
        label=knob.labels[int(knob.positions[row])],
        cost=float(search.terrain.cost[row]),
        reason=_reason(search, row, starts, feasible),
        feasible=feasible,
    )


def _reason(search: StructuredSearch, row: int, starts: float, feasible: float) -> Reason:
    if search.was_refused(row):
        return "refused"
    if search.was_tested(row):
        return "measured over the limit"
    if starts < LIKELY_REFUSED:
        return "predicted not to start"
    return "predicted over the limit" if feasible < LIKELY_REFUSED else "untested"
