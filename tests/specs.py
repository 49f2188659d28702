"""Study specs for tests that need one without a file."""

from __future__ import annotations

from dataclasses import replace

from tuner.domain.cost import Footprint, Price, PriceBook, Pricing
from tuner.domain.deployment import ModelRef
from tuner.domain.load import Payload
from tuner.domain.slo import Slo
from tuner.domain.space import Knob, KnobValue, SearchSpace
from tuner.domain.spec import Budget, ConfirmSpec, LoadSpec, RunnerSpec, SearchSpec, StudySpec

CORES = Knob("cpu_cores", (1, 2, 4))
BATCH = Knob("max_batch_size", (1, 8))


def a_price(resource: str = "cpu_core", price_per_hour: float = 0.05, sku: str = "") -> Price:
    return Price(
        resource=resource,
        sku=sku,
        term="on_demand",
        price_per_hour=price_per_hour,
        as_of="2026-11-01",
        source="made up for tests",
    )


def a_spec(**changes: object) -> StudySpec:
    """Six configurations, 100 rps at p99 <= 100 ms, 1 + 10 s a trial, proofs of 20 s."""
    spec = StudySpec(
        name="fake",
        model=ModelRef(name="fake", path="fake.onnx", digest="sha256:00"),
        runner=RunnerSpec(kind="local"),
        space=SearchSpace(knobs=(CORES, BATCH)),
        load=LoadSpec(
            arrivals="constant", target_rps=90.0, warmup_s=1.0, window_s=10.0, timeout_s=None, payload=Payload()
        ),
        slos=(Slo(indicator="latency_p99_ms", max=100.0),),
        pricing=Pricing(
            book=PriceBook(currency="USD", term="on_demand", prices=(a_price(),)), footprint=Footprint(cpu_cores=1.0)
        ),
        headroom=0.1,
        max_replicas=1,
        confirm=ConfirmSpec(),
        budget=Budget(trials=6, wall_time_s=10_000.0),
        search=SearchSpec(optimizer="grid", seed=7),
        fingerprint="f" * 64,
    )
    return replace(spec, **changes)


def space_of(**knobs: tuple[KnobValue, ...]) -> SearchSpace:
    return SearchSpace(knobs=tuple(Knob(name, values) for name, values in knobs.items()))
