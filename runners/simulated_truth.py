"""What a simulated configuration is really like: long runs on the average node. For tests and benchmarks only."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from runners.queue_simulation import serve
from runners.simulated_service import VirtualModel, service_plan, virtual_model
from tuner.domain.arrivals import intended_starts_s
from tuner.domain.errors import InfeasibleConfiguration
from tuner.domain.histogram import nearest_rank
from tuner.domain.load import LoadProfile
from tuner.domain.measurement import tally
from tuner.domain.slo import Tally
from tuner.domain.space import Configuration
from tuner.domain.spec import StudySpec

TRUTH_SEEDS = (101, 102, 103)
TRUTH_REQUESTS = 10_000
# A short look decides what is far from its limits either way.
GLANCE_REQUESTS = 1_500
FAR_BELOW, FAR_ABOVE = 0.6, 1.6


def true_p99_ms(spec: StudySpec, configuration: Configuration, replicas: int) -> float:
    """The 99th percentile in milliseconds over 30,000 requests; infinite where it does not fit into memory."""
    latencies_s = true_latencies_s(spec, configuration, replicas, requests=TRUTH_REQUESTS, seeds=TRUTH_SEEDS)
    return nearest_rank(sorted(latencies_s), 99.0) * 1000.0 if latencies_s else math.inf


def truly_feasible(spec: StudySpec, configuration: Configuration, replicas: int) -> bool:
    """Whether so many replicas meet every SLO in the long run, on nodes that are neither fast nor slow."""
    glance = true_latencies_s(spec, configuration, replicas, requests=GLANCE_REQUESTS, seeds=TRUTH_SEEDS[:1])
    missed = _miss(spec, glance)
    if FAR_BELOW < missed < FAR_ABOVE:
        long = true_latencies_s(spec, configuration, replicas, requests=TRUTH_REQUESTS, seeds=TRUTH_SEEDS)
        missed = _miss(spec, long)
    return missed <= 1.0


def true_latencies_s(
    spec: StudySpec, configuration: Configuration, replicas: int, *, requests: int, seeds: Sequence[int]
) -> list[float]:
    """Latencies in one run of about so many requests a seed, timeouts infinite; empty where memory is short."""
    model = virtual_model(spec.runner.options)
    window_s = requests * replicas / spec.required_rps
    profiles = [spec.load_profile(replicas=replicas, window_s=window_s, seed=seed) for seed in seeds]
    try:
        return [late for profile in profiles for late in _latencies_s(spec, model, configuration, profile)]
    except InfeasibleConfiguration:
        return []


def _latencies_s(
    spec: StudySpec, model: VirtualModel, configuration: Configuration, profile: LoadProfile
) -> list[float]:
    plan = service_plan(model, spec.pricing.footprint, configuration)
    starts_s = intended_starts_s(profile)
    done_s = serve(plan, starts_s, random.Random(profile.seed)).done_s
    due = zip(starts_s, done_s, strict=True)
    latencies_s = [done - start for start, done in due if start >= profile.warmup_s]
    return [late_s if late_s <= profile.timeout_s else math.inf for late_s in latencies_s]


def _miss(spec: StudySpec, latencies_s: Sequence[float]) -> float:
    """The worst SLO's observed value over its limit; infinite where nothing is served."""
    if not latencies_s:
        return math.inf
    return max(_miss_one(tally(slo, latencies_s, spec.slos)) for slo in spec.slos)


def _miss_one(found: Tally) -> float:
    if found.slo.max > 0:
        return found.observed / found.slo.max
    return math.inf if found.observed > 0 else 0.0
