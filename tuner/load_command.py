"""`servetune load`: the load engine against a running endpoint; one measurement, or the search for its capacity."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, assert_never

from tuner.assemble import AwaitedWorkers, grpc_model_inputs, open_load_generator
from tuner.capacity_search import FoundCapacity, Level, search_capacity
from tuner.domain.capacity import LOOK_CONFIDENCE, fewest_requests
from tuner.domain.deployment import Deployment, Protocol, Telemetry, TensorSpec, telemetry_between
from tuner.domain.diagnosis import diagnose
from tuner.domain.load import LoadProfile
from tuner.domain.measurement import Measurement, measure
from tuner.domain.slo import CONFIDENCE, Slo, Tally, Verdict, assess, judge
from tuner.domain.space import Configuration
from tuner.load_target import Target, inputs_from, model_inputs
from tuner.load_telemetry import bottleneck_document, nothing_told, telemetry_document, telemetry_text
from tuner.ports import LoadGenerator

EXIT_CODES = {"PASS": 0, None: 0, "FAIL": 3, "UNDECIDED": 4, "INVALID": 7}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    """The last measurement, what it shows, and the capacity where that was asked for.

    `tallies` is the evidence the verdict rests on, at `confidence`: of this measurement, or of all at this load.
    `rate_rps` is the rate that was asked for: the full one, where the arrivals have a shape.
    """

    measurement: Measurement
    tallies: tuple[Tally, ...]
    verdict: str | None
    rate_rps: float
    seed: int
    confidence: float = CONFIDENCE
    found: FoundCapacity | None = None

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.verdict]


def deployment_at(target: Target, *, model: str, protocol: Protocol) -> Deployment:
    """What load is sent to; asks a KServe v2 server which inputs the model has.

    Raises UsageError, InfrastructureError, TargetRefused.
    """
    inputs, batched = _inputs(target, model, protocol)
    return Deployment(
        deployment_id="given",
        endpoint=target.endpoint,
        host=target.host,
        protocol=protocol,
        model_name=model,
        inputs=inputs,
        batched=batched,
        configuration=Configuration.of({}),
        generator_cpus=(),
        ready_after_s=0.0,
    )


def _inputs(target: Target, model: str, protocol: Protocol) -> tuple[tuple[TensorSpec, ...], bool]:
    match protocol:
        case "kserve_http":
            return model_inputs(target, model)
        case "kserve_grpc":
            return inputs_from(grpc_model_inputs(target.authority, host=target.host, model=model))
        case "tensorflow_rest" | "http":
            return (), False
        case _ as unreachable:
            assert_never(unreachable)


def run_load(
    deployment: Deployment,
    profile: LoadProfile,
    slos: Sequence[Slo],
    *,
    workers: int | AwaitedWorkers = 1,
    telemetry: Callable[[], Telemetry] = nothing_told,
) -> LoadResult:
    """One measurement and its verdict; `telemetry` reads the server's counters."""
    with open_load_generator(workers) as generator:
        return _measured(generator, deployment, profile, slos, telemetry)


def find_capacity(
    deployment: Deployment,
    profile: LoadProfile,
    slos: Sequence[Slo],
    *,
    workers: int | AwaitedWorkers = 1,
    telemetry: Callable[[], Telemetry] = nothing_told,
) -> LoadResult:
    """The capacity, with the last measurement at the highest load that passed, or at the one nearest to passing."""
    with open_load_generator(workers) as generator:
        found = search_capacity(generator, deployment, profile, slos, telemetry)
    return LoadResult(
        measurement=found.best.measurement,
        tallies=found.best.tallies,
        confidence=LOOK_CONFIDENCE,
        verdict="INVALID" if found.best.verdict is None else found.best.verdict.value.upper(),
        rate_rps=found.best.offered_rps,
        seed=profile.seed,
        found=found,
    )


def _measured(
    generator: LoadGenerator,
    deployment: Deployment,
    profile: LoadProfile,
    slos: Sequence[Slo],
    telemetry: Callable[[], Telemetry],
) -> LoadResult:
    before = telemetry()
    run = generator.drive(deployment, profile)
    measurement = measure(run, slos, telemetry_between(before, telemetry()))
    verdict: str | None = judge(measurement.tallies).value.upper() if slos else None
    if measurement.spoiled:
        verdict = "INVALID"
    return LoadResult(
        measurement=measurement,
        tallies=measurement.tallies,
        verdict=verdict,
        rate_rps=profile.offered_rps,
        seed=profile.seed,
    )


def load_document(result: LoadResult) -> str:
    """The result as one JSON document; null stands for infinite: a percentile that falls on a failed request.

    `rate_rps` is the rate asked for, and `offered_rps` what its arrivals made of it: requests due in the window per
    second, which for random arrivals is near the rate and for shaped ones below it. Of these `achieved_rps` were
    answered well, however late, and `sent` left at all; `answered_rps` are good answers that came within the window,
    so what an overloaded server carries.
    """
    seen = result.measurement
    document: dict[str, Any] = {
        "rate_rps": result.rate_rps,
        "offered_rps": seen.offered_rps,
        "achieved_rps": seen.achieved_rps,
        "answered_rps": seen.answered_rps,
        "sent": seen.requests - seen.never_sent,
        "errors": seen.errors,
        "first_error": seen.first_error,
        "window_s": seen.window_s,
        "latency_ms": asdict(seen.latency_ms),
        "send_lag_p99_ms": seen.send_lag_p99_ms,
        "generator_cpu_ratio": seen.generator_cpu_ratio,
        "generator_cpu_ms_per_request": seen.generator_cpu_ms_per_request,
        "verdict": result.verdict,
        "confidence": result.confidence,
        "slos": [_slo_document(tally, result.confidence) for tally in result.tallies],
        "doubts": [str(doubt) for doubt in seen.doubts],
        "telemetry": telemetry_document(seen),
        "bottleneck": bottleneck_document(seen),
        "seed": result.seed,
    }
    if result.found is not None:
        capacity = result.found.capacity
        document["capacity_rps"] = capacity.low_rps
        document["capacity_interval_rps"] = [capacity.low_rps, capacity.high_rps]
        document["load_s"] = result.found.load_s
        document["probes"] = [_probe_document(level) for level in result.found.levels]
    return json.dumps(_finite(document), indent=2, allow_nan=False)


def _probe_document(level: Level) -> dict[str, Any]:
    return {
        "offered_rps": level.offered_rps,
        "verdict": _verdict_of(level),
        "load_s": level.load_s,
        "requests": level.tallies[0].requests,
        "latency_p99_ms": level.measurement.latency_ms.p99,
        "doubts": [str(doubt) for doubt in level.measurement.doubts],
    }


def _verdict_of(level: Level) -> str:
    return "INVALID" if level.verdict is None else level.verdict.value.upper()


def _slo_document(tally: Tally, confidence: float) -> dict[str, Any]:
    return {
        "slo": str(tally.slo),
        "verdict": assess(tally, confidence).verdict.value.upper(),
        "observed": tally.slo.shown(tally.observed),
        "requests": tally.requests,
        "bad": tally.bad,
        "design_effect": tally.design_effect,
    }


def load_text(result: LoadResult) -> str:
    """The result for people."""
    seen, at = result.measurement, result.measurement.latency_ms
    lines = [
        f"{seen.offered_rps:.4g} requests/s offered for {seen.window_s:.4g} s, {seen.achieved_rps:.4g} answered well; "
        f"{seen.errors} of {seen.requests} failed{': ' + seen.first_error if seen.first_error else ''}",
        f"latency ms: p50 {at.p50:.2f}, p90 {at.p90:.2f}, p95 {at.p95:.2f}, p99 {at.p99:.2f}, p99.9 {at.p99_9:.2f}, "
        f"max {at.max:.2f}",
        f"send lag p99 {seen.send_lag_p99_ms:.2f} ms, generator {seen.generator_cpu_ms_per_request:.3f} CPU ms/request",
    ]
    told = telemetry_text(seen)
    lines += [told] if told else []
    lines += [f"doubt: {doubt}" for doubt in seen.doubts]
    lines.append(f"bottleneck: {diagnose(seen)}")
    if result.found is not None:
        lines = [*(_probe_line(level) for level in result.found.levels), "", *lines, _capacity_line(result.found)]
    return "\n".join([*lines, f"verdict: {result.verdict or 'none asked for'}"])


def _probe_line(level: Level) -> str:
    doubts = ", ".join(map(str, level.measurement.doubts))
    p99_ms = level.measurement.latency_ms.p99
    figures = f"{level.offered_rps:10.5g} requests/s: {_verdict_of(level):9s}  p99 {p99_ms:.2f} ms"
    return (
        f"{figures}, {level.tallies[0].requests} requests, {level.load_s:.1f} s{'  doubt: ' + doubts if doubts else ''}"
    )


def _capacity_line(found: FoundCapacity) -> str:
    capacity, needed = found.capacity, fewest_requests([tally.slo for tally in found.best.tallies])
    upper = "no load tried failed" if capacity.high_rps is None else f"{capacity.high_rps:.5g} certainly fail"
    took = f"({len(found.levels)} loads, {found.load_s:.0f} s of load)"
    line = f"capacity: {capacity.low_rps:.5g} requests/s certainly pass, {upper} {took}"
    if capacity.low_rps or found.best.verdict is not Verdict.UNDECIDED:
        return line
    return f"{line}; a PASS takes {needed} requests or more at one load, so a longer --duration may show one"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
