"""Small builders: everything has a sensible default, a test names only what it is about."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence

from tuner.domain.cost import Footprint, Price, PriceBook, Pricing
from tuner.domain.deployment import ModelRef, Telemetry
from tuner.domain.load import GeneratorHealth, LoadProfile, LoadRun, Payload, Samples
from tuner.domain.measurement import Measurement, measure
from tuner.domain.slo import Slo
from tuner.domain.space import Configuration, Knob, KnobValue, SearchSpace
from tuner.domain.spec import Budget, ConfirmSpec, LoadSpec, RunnerSpec, SearchSpec, StudySpec
from tuner.domain.trial import Level, Measured, Outcome, Phases, Purpose, Search, Trial

P99_100_MS = Slo(indicator="latency_p99_ms", max=100.0)


def a_price_book(**prices_per_hour: float) -> PriceBook:
    """CPU cores at 0.04 an hour, and GPU types by name."""
    rows = [("cpu_core", "", 0.04), *(("gpu", sku, price) for sku, price in prices_per_hour.items())]
    return PriceBook(
        currency="USD",
        term="on_demand",
        prices=tuple(
            Price(
                resource=resource,
                sku=sku,
                term="on_demand",
                price_per_hour=price,
                as_of="2026-11-01",
                source="list price",
            )
            for resource, sku, price in rows
        ),
    )


def a_space(knobs: Mapping[str, Sequence[KnobValue]] | None = None) -> SearchSpace:
    wanted = knobs or {"cpu_cores": (0.25, 0.5, 1.0), "max_batch_size": (1, 4, 8)}
    return SearchSpace(knobs=tuple(Knob(name=name, values=tuple(values)) for name, values in wanted.items()))


def a_study_spec(
    *,
    name: str = "a-study",
    space: SearchSpace | None = None,
    slos: tuple[Slo, ...] = (P99_100_MS, Slo(indicator="error_ratio", max=0.001)),
    target_rps: float = 250.0,
    headroom: float = 0.1,
    max_replicas: int = 4,
    trials: int = 12,
    pricing: Pricing | None = None,
    model: str = "a-model",
    seed: int = 42,
) -> StudySpec:
    return StudySpec(
        name=name,
        model=ModelRef(name=model, path="a.onnx", digest="sha256:" + "0" * 64),
        runner=RunnerSpec(kind="simulated"),
        space=space or a_space(),
        load=LoadSpec(
            arrivals="poisson", target_rps=target_rps, warmup_s=1.0, window_s=5.0, timeout_s=None, payload=Payload()
        ),
        slos=slos,
        pricing=pricing or Pricing(book=a_price_book(), footprint=Footprint()),
        headroom=headroom,
        max_replicas=max_replicas,
        confirm=ConfirmSpec(),
        budget=Budget(trials=trials, wall_time_s=300.0),
        search=SearchSpec(optimizer="tpe", seed=seed),
        fingerprint="sha256:" + "f" * 64,
    )


def a_load_run(*, latencies_s: Sequence[float], offered_rps: float, warmup_s: float = 0.0, seed: int = 0) -> LoadRun:
    """One request per latency at a constant rate, sent when due; an infinite latency is a failed request."""
    starts_s = tuple(k / offered_rps for k in range(len(latencies_s)))
    done_s = (start + (1.0 if math.isinf(late) else late) for start, late in zip(starts_s, latencies_s, strict=True))
    profile = LoadProfile(
        arrivals="constant",
        offered_rps=offered_rps,
        warmup_s=warmup_s,
        window_s=len(latencies_s) / offered_rps - warmup_s,
        timeout_s=1.0,
        payload=Payload(),
        seed=seed,
    )
    samples = Samples(
        intended_s=starts_s,
        sent_s=starts_s,
        done_s=tuple(done_s),
        ok=tuple(math.isfinite(latency) for latency in latencies_s),
    )
    health = GeneratorHealth(cpu_ratio=0.2, cpu_ms_per_request=0.3, workers_lost=0)
    return LoadRun(profile=profile, samples=samples, generator=health)


def a_measurement(
    *,
    median_ms: float = 20.0,
    spread: float = 0.3,
    requests: int = 1000,
    failed: int = 0,
    offered_rps: float = 250.0,
    slos: Sequence[Slo] = (P99_100_MS, Slo(indicator="error_ratio", max=0.001)),
    telemetry: Telemetry | None = None,
    seed: int = 0,
) -> Measurement:
    """Log-normal latencies around a median; `failed` requests spread over the window never get an answer."""
    source = random.Random(seed)
    latencies_s = [median_ms / 1000.0 * math.exp(source.gauss(0.0, spread)) for _ in range(requests)]
    for k in range(failed):
        latencies_s[k * requests // failed] = math.inf
    run = a_load_run(latencies_s=latencies_s, offered_rps=offered_rps)
    return measure(run, slos, telemetry or Telemetry())


def a_trial(
    number: int = 0,
    *,
    purpose: Purpose | None = None,
    configuration: Mapping[str, KnobValue] | None = None,
    outcome: Outcome | None = None,
    unit_cost_per_hour: float | None = None,
    phases: Phases | None = None,
) -> Trial:
    """A search trial that served one replica well, at 0.04 an hour for each CPU core, unless told otherwise."""
    settings = Configuration.of(configuration or {"cpu_cores": 0.5, "max_batch_size": 4})
    cores = settings.number("cpu_cores", 1.0)
    return Trial(
        number=number,
        purpose=purpose or Search(),
        configuration=settings,
        unit_cost_per_hour=0.04 * cores if unit_cost_per_hour is None else unit_cost_per_hour,
        seed=number,
        started_at=f"2026-11-22T12:{number // 60 % 60:02d}:{number % 60:02d}+00:00",
        phases=phases or Phases(deploy_s=4.2, load_s=6.1, teardown_s=0.8),
        outcome=outcome or Measured(levels=(Level(replicas=1, measurement=a_measurement(seed=number)),)),
    )
