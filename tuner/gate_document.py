"""`gate.json`: everything the gate found, closed and versioned; null stands for what is infinite or not known."""

from __future__ import annotations

import json
import math
from typing import Literal

from tuner.answer import HOURS_PER_MONTH, Document
from tuner.domain.slo import Verdict
from tuner.gate.cost import CostSplit
from tuner.gate.fingerprint import FIELDS, Fingerprint
from tuner.gate.metrics import Level
from tuner.gate.result import GateResult, MetricVerdict, Mode, Outcome, SloVerdict
from tuner.gate.sequential import Change

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class MetricDocument(Document):
    """Changes are relative where `relative`, else differences. `blocks`: this alone makes the gate fail."""

    metric: str
    title: str
    unit: str
    level: Level
    verdict: Change
    deployed: float | None
    candidate: float | None
    relative: bool
    change: float
    change_low: float | None
    change_high: float | None
    margin: float
    pairs: int
    cv: float
    erratic: bool
    waived_by: str
    blocks: bool


class SloDocument(Document):
    """An absolute limit and the upper confidence bound of what was observed."""

    slo: str
    verdict: Verdict
    observed: float | None
    upper_bound: float | None
    limit: float
    requests: int
    bad: int
    confidence: float


class CostDocument(Document):
    """Money per hour; the three effects add up to after - before."""

    currency: str
    before_per_hour: float
    after_per_hour: float
    after_per_month: float
    price_effect: float
    capacity_effect: float
    rounding_effect: float
    newest_price: str


class DifferenceDocument(Document):
    """A field of the fingerprint in which both sides differ, narrowest first."""

    field: str
    deployed: str
    candidate: str


class RunDocument(Document):
    """One deployment of one side."""

    pair: int
    side: Literal["deployed", "candidate"]
    figures: dict[str, float]
    reused: bool


class GateDocument(Document):
    """What `gate --json` prints and `--gate-json FILE` writes."""

    schema_version: int = 1
    mode: Mode
    study: str
    outcome: Outcome
    exit_code: int
    summary: str
    metrics: list[MetricDocument]
    slos: list[SloDocument]
    cost: CostDocument | None
    fingerprint_deployed: dict[str, str]
    fingerprint_candidate: dict[str, str]
    differences: list[DifferenceDocument]
    spec_change: list[str]
    runs: list[RunDocument]
    notes: list[str]
    reproduce: str


def gate_document(result: GateResult) -> GateDocument:
    """The result in machine-readable form."""
    return GateDocument(
        mode=result.mode,
        study=result.study,
        outcome=result.outcome,
        exit_code=result.exit_code,
        summary=result.summary,
        metrics=[_metric(metric) for metric in result.metrics],
        slos=[_slo(slo) for slo in result.slos],
        cost=None if result.cost is None else _cost(result.cost),
        fingerprint_deployed=fields_of(result.deployed),
        fingerprint_candidate=fields_of(result.candidate),
        differences=[
            DifferenceDocument(field=one.field, deployed=one.before, candidate=one.after) for one in result.differences
        ],
        spec_change=list(result.spec_change),
        runs=[
            RunDocument(pair=run.pair, side=run.side, figures=dict(run.readings), reused=run.reused)
            for run in result.runs
        ],
        notes=list(result.notes),
        reproduce=result.reproduce,
    )


def _metric(metric: MetricVerdict) -> MetricDocument:
    return MetricDocument(
        metric=metric.metric,
        title=metric.title,
        unit=metric.unit,
        level=metric.level,
        verdict=metric.change,
        deployed=metric.deployed,
        candidate=metric.candidate,
        relative=metric.relative,
        change=metric.shift,
        change_low=_finite(metric.low),
        change_high=_finite(metric.high),
        margin=metric.margin,
        pairs=metric.pairs,
        cv=metric.cv,
        erratic=metric.erratic,
        waived_by=metric.waived_by,
        blocks=metric.blocks,
    )


def _slo(slo: SloVerdict) -> SloDocument:
    return SloDocument(
        slo=slo.slo,
        verdict=slo.verdict,
        observed=_finite(slo.observed),
        upper_bound=_finite(slo.upper_bound),
        limit=slo.limit,
        requests=slo.requests,
        bad=slo.bad,
        confidence=slo.confidence,
    )


def _cost(cost: CostSplit) -> CostDocument:
    return CostDocument(
        currency=cost.currency,
        before_per_hour=cost.before,
        after_per_hour=cost.after,
        after_per_month=cost.after * HOURS_PER_MONTH,
        price_effect=cost.prices,
        capacity_effect=cost.capacity,
        rounding_effect=cost.rounding,
        newest_price=cost.priced_on,
    )


def fields_of(fingerprint: Fingerprint) -> dict[str, str]:
    return {field: fingerprint.value(field) for field in FIELDS}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def gate_json(result: GateResult) -> str:
    return gate_document(result).model_dump_json(indent=2)


def gate_schema() -> str:
    """JSON Schema (draft 2020-12) of `gate.json`."""
    schema = GateDocument.model_json_schema(mode="serialization")
    return json.dumps({"$schema": DIALECT, **schema}, indent=2, ensure_ascii=False) + "\n"
