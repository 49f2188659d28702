"""A deployable as the JSON document of `export --format json`."""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict

from tuner.domain.cost import Price
from tuner.domain.deployable import Deployable
from tuner.domain.scaling import ScalingPlan
from tuner.domain.slo import CONFIDENCE
from tuner.domain.space import KnobValue

Cell = str | int | float | bool | None


class Document(BaseModel):
    """Closed, and without infinities: null where a number is not finite."""

    model_config = ConfigDict(extra="forbid")


class ModelDocument(Document):
    name: str
    digest: str


class SloDocument(Document):
    """`bound` is a maximum, for goodput a minimum."""

    indicator: str
    bound: float


class PriceDocument(Document):
    """One price that the cost rests on."""

    resource: str
    sku: str
    term: str
    price_per_hour: float
    as_of: str
    source: str


class CapacityDocument(Document):
    """Mean rates of one replica: certain to hold, and certain not to (null: no such load was tried)."""

    holds_rps: float
    breaks_rps: float | None
    confidence: float


class ScalingDocument(Document):
    """What `hpa` and `keda` write: the rate to aim at for each replica, bounds, and patience in seconds."""

    target_rps_per_replica: float
    min_replicas: int
    max_replicas: int
    scale_down_after_s: int
    scale_up_period_s: int


class ExportDocument(Document):
    """What is to be deployed, what it costs and rests on, and every trial as a row of the CSV and Parquet tables.

    `trials` is null where the source keeps none (a lock file).
    """

    schema_version: int = 1
    study: str
    status: str
    unproven_because: str
    model: ModelDocument
    runner: str
    fingerprint: str
    configuration: dict[str, KnobValue]
    replicas: int
    target_rps: float
    required_rps: float
    headroom: float
    slos: list[SloDocument]
    hourly_cost: float
    monthly_cost: float
    currency: str
    term: str
    prices: list[PriceDocument]
    capacity_per_replica: CapacityDocument
    cold_start_s: float | None
    deployments: int
    measured_at: str
    scaling: ScalingDocument
    notes: list[str]
    trials: list[dict[str, Cell]] | None


def export_document(
    of: Deployable,
    prices: tuple[Price, ...],
    plan: ScalingPlan,
    notes: tuple[str, ...],
    trials: list[dict[str, Cell]] | None,
) -> ExportDocument:
    """The document; `notes` say what is not known."""
    return ExportDocument(
        study=of.study,
        status="unproven" if of.unproven else "proven",
        unproven_because=of.unproven,
        model=ModelDocument(name=of.model.name, digest=of.model.digest),
        runner=of.runner,
        fingerprint=of.fingerprint,
        configuration=of.configuration.as_dict(),
        replicas=of.replicas,
        target_rps=of.target_rps,
        required_rps=of.required_rps,
        headroom=of.headroom,
        slos=[SloDocument(indicator=slo.indicator, bound=slo.bound) for slo in of.slos],
        hourly_cost=of.cost_per_hour,
        monthly_cost=of.cost_per_month,
        currency=of.pricing.book.currency,
        term=of.pricing.book.term,
        prices=[_price(price) for price in prices],
        capacity_per_replica=CapacityDocument(
            holds_rps=of.capacity.low_rps, breaks_rps=of.capacity.high_rps, confidence=CONFIDENCE
        ),
        cold_start_s=of.cold_start_s,
        deployments=of.deployments,
        measured_at=of.as_of,
        scaling=ScalingDocument(
            target_rps_per_replica=plan.replica_rps,
            min_replicas=plan.least,
            max_replicas=plan.most,
            scale_down_after_s=plan.calm_s,
            scale_up_period_s=plan.period_s,
        ),
        notes=list(notes),
        trials=trials,
    )


def finite(rows: list[dict[str, Cell]]) -> list[dict[str, Cell]]:
    """The rows with null for what is infinite: JSON has no number for it."""
    return [
        {key: None if isinstance(cell, float) and not math.isfinite(cell) else cell for key, cell in row.items()}
        for row in rows
    ]


def _price(price: Price) -> PriceDocument:
    return PriceDocument(
        resource=price.resource,
        sku=price.sku,
        term=price.term,
        price_per_hour=price.price_per_hour,
        as_of=price.as_of,
        source=price.source,
    )
