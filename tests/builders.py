"""Small builders: everything has a sensible default, a test names only what it is about."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence

from tuner.domain.deployment import Telemetry
from tuner.domain.load import GeneratorHealth, LoadProfile, LoadRun, Payload, Samples
from tuner.domain.measurement import Measurement, measure
from tuner.domain.slo import Slo
from tuner.domain.space import Configuration, KnobValue
from tuner.domain.trial import Level, Measured, Outcome, Phases, Purpose, Search, Trial

P99_100_MS = Slo(indicator="latency_p99_ms", max=100.0)


def a_load_run(latencies_s: Sequence[float], *, offered_rps: float = 100.0) -> LoadRun:
    """One request per latency at a constant rate, sent when due, no warm-up; infinite: a failed request."""
    starts_s = tuple(k / offered_rps for k in range(len(latencies_s)))
    done_s = (start + (1.0 if math.isinf(late) else late) for start, late in zip(starts_s, latencies_s, strict=True))
    return LoadRun(
        profile=LoadProfile(
            arrivals="constant",
            offered_rps=offered_rps,
            warmup_s=0.0,
            window_s=len(latencies_s) / offered_rps,
            timeout_s=1.0,
            payload=Payload(),
            seed=0,
        ),
        samples=Samples(
            intended_s=starts_s,
            sent_s=starts_s,
            done_s=tuple(done_s),
            ok=tuple(math.isfinite(latency) for latency in latencies_s),
        ),
        generator=GeneratorHealth(cpu_ratio=0.2, cpu_ms_per_request=0.3, workers_lost=0),
    )


def a_measurement(
    *,
    median_ms: float = 20.0,
    spread: float = 0.3,
    requests: int = 1000,
    failed: int = 0,
    offered_rps: float = 100.0,
    slos: Sequence[Slo] = (P99_100_MS,),
    telemetry: Telemetry | None = None,
    seed: int = 0,
) -> Measurement:
    """Log-normal latencies around a median; `failed` requests, spread over the window, never get an answer."""
    source = random.Random(seed)
    latencies_s = [median_ms / 1000.0 * math.exp(source.gauss(0.0, spread)) for _ in range(requests)]
    for k in range(failed):
        latencies_s[k * requests // failed] = math.inf
    return measure(a_load_run(latencies_s, offered_rps=offered_rps), slos, telemetry or Telemetry())


def a_level(replicas: int = 1, **changes: object) -> Level:
    """A level that held, or what `a_measurement` is told."""
    return Level(replicas=replicas, measurement=a_measurement(**changes))  # type: ignore[arg-type]


def a_trial(
    number: int = 0,
    *,
    purpose: Purpose | None = None,
    configuration: Mapping[str, KnobValue] | None = None,
    outcome: Outcome | None = None,
    unit_cost_per_hour: float | None = None,
    phases: Phases | None = None,
) -> Trial:
    """A search trial whose one replica held, at 0.05 an hour for each CPU core, unless told otherwise."""
    settings = Configuration.of(configuration or {"cpu_cores": 1, "max_batch_size": 8})
    return Trial(
        number=number,
        purpose=purpose or Search(),
        configuration=settings,
        unit_cost_per_hour=0.05 * settings.number("cpu_cores", 1.0)
        if unit_cost_per_hour is None
        else unit_cost_per_hour,
        seed=number,
        started_at=f"2026-11-22T12:{number // 60 % 60:02d}:{number % 60:02d}+00:00",
        phases=phases or Phases(deploy_s=4.2, load_s=11.1, teardown_s=0.8),
        outcome=outcome or Measured(levels=(a_level(seed=number),)),
    )
