"""Answers to export, for tests that need some: proven on cards of a cluster, with a day in its load."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.clusters import DIGEST, IMAGE, cluster
from tests.specs import a_price
from tests.studies import a_proven_study, a_told_spec, search_trials
from tuner.assemble_export import ExportRequest, OwnFiles, Recorded
from tuner.commands import conclusion_now
from tuner.domain.arrival_kinds import Diurnal
from tuner.domain.capacity import Capacity
from tuner.domain.cost import Footprint, PriceBook, Pricing
from tuner.domain.deployable import Deployable, deployable
from tuner.domain.deployment import ModelRef
from tuner.domain.recommendation import Proven, Unproven
from tuner.domain.slo import Slo
from tuner.domain.space import Configuration, KnobValue
from tuner.manifests.exports.place import ExportPlace

BOOK = PriceBook(
    currency="USD",
    term="on_demand",
    prices=(a_price(), a_price("memory_gib", 0.005), a_price("gpu", 0.8, "T4"), a_price("gpu", 2.9, "A100-40")),
)
KNOBS: dict[str, KnobValue] = {"cpu_cores": 4, "gpu_type": "A100-40", "max_batch_size": 8, "queue_delay_ms": 2}
PLACE = ExportPlace(
    name="resnet50",
    namespace="serving",
    container="server",
    repository="s3://models/all",
    model_format="onnx",
    prometheus="http://prometheus.monitoring:9090",
    predictor="green",
)


def a_deployable(knobs: dict[str, KnobValue] | None = None, **changes: Any) -> Deployable:
    """Three replicas on whole cards, measured in a cluster; a third of the load at night."""
    of = Deployable(
        study="resnet50-cards",
        unproven="",
        fingerprint="f" * 64,
        model=ModelRef(name="resnet50", path="resnet50.onnx", digest=DIGEST),
        runner="kubernetes",
        configuration=Configuration.of(KNOBS if knobs is None else knobs),
        replicas=3,
        unit_cost_per_hour=3.12,
        pricing=Pricing(book=BOOK, footprint=Footprint(memory_gib=8.0)),
        slos=(Slo(indicator="latency_p99_ms", max=100.0),),
        arrivals=Diurnal(valley=0.3),
        window_s=60.0,
        target_rps=400.0,
        required_rps=500.0,
        headroom=0.2,
        capacity=Capacity(low_rps=108.3, high_rps=162.5),
        cold_start_s=41.7,
        deployments=3,
        as_of="2026-11-22T12:00:07+00:00",
        cluster=cluster(),
    )
    return replace(of, **changes)


def a_request(of: Deployable | None = None, own: OwnFiles | None = None, **places: Any) -> ExportRequest:
    """Everything stated that a format could need, and no trials."""
    place = replace(PLACE, **places)
    return ExportRequest(of=of or a_deployable(), place=place, recorded=None, own=own or OwnFiles())


def a_recorded_request() -> ExportRequest:
    """A study on this machine, with its trials."""
    spec, trials, conclusion = a_proven_study()
    assert isinstance(conclusion, Proven)
    of = deployable(spec, trials, conclusion)
    return replace(a_request(of), recorded=Recorded(spec=spec, trials=trials))


def an_unproven_answer() -> Deployable:
    spec, trials = a_told_spec(), search_trials()
    conclusion = conclusion_now(spec, trials)
    assert isinstance(conclusion, Unproven)
    return deployable(spec, trials, conclusion)


__all__ = ["BOOK", "IMAGE", "PLACE", "a_deployable", "a_recorded_request", "a_request", "an_unproven_answer"]
