"""`servetune load`: the load engine against a running endpoint; one measurement, or the search for its capacity."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, assert_never

from tuner.assemble import grpc_model_inputs, open_load_generator
from tuner.domain.capacity import Capacity, Probe, capacity_of, next_load_rps
from tuner.domain.deployment import Deployment, Protocol, Telemetry, TensorSpec
from tuner.domain.load import LoadProfile
from tuner.domain.measurement import Measurement, measure
from tuner.domain.slo import Slo, Tally, Verdict, assess, judge
from tuner.domain.space import Configuration
from tuner.load_target import Target, inputs_from, model_inputs
from tuner.ports import LoadGenerator

EXIT_CODES = {"PASS": 0, None: 0, "FAIL": 3, "UNDECIDED": 4, "INVALID": 7}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    """The last measurement, what it shows, and the capacity where that was asked for."""

    measurement: Measurement
    verdict: str | None
    seed: int
    probes: tuple[Probe, ...] = ()
    capacity: Capacity | None = None

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


def run_load(deployment: Deployment, profile: LoadProfile, slos: Sequence[Slo], *, workers: int = 1) -> LoadResult:
    """One measurement and its verdict."""
    with open_load_generator(workers) as generator:
        return _measured(generator, deployment, profile, slos)


def find_capacity(deployment: Deployment, profile: LoadProfile, slos: Sequence[Slo], *, workers: int = 1) -> LoadResult:
    """Measurements at different loads until the highest load that passes is known; the last is at that load.

    A load that the generator itself could not send is beyond what can be known: nothing higher is tried.
    """
    probes: list[Probe] = []
    best: LoadResult | None = None
    highest_rps = math.inf
    with open_load_generator(workers) as generator:
        while (rate_rps := next_load_rps(probes, profile.offered_rps, highest_rps=highest_rps)) is not None:
            at_rate = replace(profile, offered_rps=rate_rps, seed=profile.seed + len(probes))
            result = _measured(generator, deployment, at_rate, slos)
            if result.verdict == "INVALID":
                if best is None:
                    return result
                break
            probes.append(Probe(offered_rps=rate_rps, verdict=Verdict((result.verdict or "undecided").lower())))
            best = _better(best, result)
    assert best is not None  # noqa: S101 - the first load is always tried
    return replace(best, probes=tuple(probes), capacity=capacity_of(probes))


def _better(best: LoadResult | None, result: LoadResult) -> LoadResult:
    """The highest load that passed; without one, the nearest to passing."""
    order = {"FAIL": 0, "UNDECIDED": 1, "PASS": 2}

    def rank(one: LoadResult) -> tuple[int, float]:
        grade = order[one.verdict or "PASS"]
        return grade, one.measurement.offered_rps if grade == 2 else -one.measurement.offered_rps

    return result if best is None or rank(result) > rank(best) else best


def _measured(
    generator: LoadGenerator, deployment: Deployment, profile: LoadProfile, slos: Sequence[Slo]
) -> LoadResult:
    run = generator.drive(deployment, profile)
    measurement = measure(run, slos, Telemetry())
    verdict: str | None = judge(measurement.tallies).value.upper() if slos else None
    if measurement.spoiled:
        verdict = "INVALID"
    return LoadResult(measurement=measurement, verdict=verdict, seed=profile.seed)


def load_document(result: LoadResult) -> str:
    """The result as one JSON document; null stands for infinite: a percentile that falls on a failed request."""
    seen = result.measurement
    document: dict[str, Any] = {
        "offered_rps": seen.offered_rps,
        "achieved_rps": seen.achieved_rps,
        "sent": seen.requests,
        "errors": seen.errors,
        "first_error": seen.first_error,
        "window_s": seen.window_s,
        "latency_ms": asdict(seen.latency_ms),
        "send_lag_p99_ms": seen.send_lag_p99_ms,
        "generator_cpu_ratio": seen.generator_cpu_ratio,
        "generator_cpu_ms_per_request": seen.generator_cpu_ms_per_request,
        "verdict": result.verdict,
        "slos": [_slo_document(tally) for tally in seen.tallies],
        "doubts": [str(doubt) for doubt in seen.doubts],
        "seed": result.seed,
    }
    if result.capacity is not None:
        document["capacity_rps"] = result.capacity.low_rps
        document["capacity_interval_rps"] = [result.capacity.low_rps, result.capacity.high_rps]
        document["probes"] = [
            {"offered_rps": probe.offered_rps, "verdict": probe.verdict.value.upper()} for probe in result.probes
        ]
    return json.dumps(_finite(document), indent=2, allow_nan=False)


def _slo_document(tally: Tally) -> dict[str, Any]:
    return {
        "slo": str(tally.slo),
        "verdict": assess(tally).verdict.value.upper(),
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
    lines += [f"doubt: {doubt}" for doubt in seen.doubts]
    if result.capacity is not None:
        high = result.capacity.high_rps
        upper = "no load tried failed" if high is None else f"{high:.4g} certainly fails"
        lines.append(f"capacity: {result.capacity.low_rps:.4g} requests/s certainly pass, {upper}")
    return "\n".join([*lines, f"verdict: {result.verdict or 'none asked for'}"])


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
