"""From raw samples to a measurement: percentiles from the intended start, counts per SLO, and doubts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from tuner.domain.deployment import Telemetry
from tuner.domain.errors import InvalidMeasurement
from tuner.domain.histogram import LatencyCounts, count_latencies, nearest_rank
from tuner.domain.load import LoadRun
from tuner.domain.slo import PERCENT, Slo, Tally, Verdict, judge
from tuner.domain.statistics import design_effect

SEND_LAG_FLOOR_MS = 5.0
SEND_LAG_SHARE_OF_LIMIT = 0.1
GENERATOR_CPU_LIMIT = 0.8
SENT_SHARE_LIMIT = 0.99
REQUESTS_BEYOND_PERCENTILE = 10
OTHERS_CORES_LIMIT = 0.3
DRIFT_RATIO = 2.0
DRIFT_SHARE_OF_LIMIT = 0.25


class Doubt(StrEnum):
    """A measured reason to distrust a measurement."""

    SEND_LAG = "send_lag"
    GENERATOR_CPU = "generator_cpu"
    NOT_SENT = "not_sent"
    WORKER_LOST = "worker_lost"
    SERVER_RESTARTED = "server_restarted"
    FEW_REQUESTS = "few_requests"
    DRIFT = "drift"
    BUSY_MACHINE = "busy_machine"

    @property
    def spoils(self) -> bool:
        """True where the number says nothing about the server, so that the measurement has to be repeated.

        A busy machine only makes the server look worse than it is: what passes all the same may be believed.
        """
        return self not in (Doubt.FEW_REQUESTS, Doubt.DRIFT, Doubt.BUSY_MACHINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyMs:
    """Milliseconds from the intended start; a failed request is infinitely late."""

    p50: float
    p90: float
    p95: float
    p99: float
    p99_9: float
    max: float
    mean: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One window of load on one deployment.

    `requests` were due in the window and `achieved_rps` of them were answered well, however late; `answered_rps`
    counts the good answers that arrived within the window, whenever they were due: what the server can carry.
    """

    offered_rps: float
    achieved_rps: float
    answered_rps: float
    window_s: float
    requests: int
    errors: int
    latency_ms: LatencyMs
    counts: LatencyCounts
    tallies: tuple[Tally, ...]
    send_lag_p99_ms: float
    generator_cpu_ratio: float
    generator_cpu_ms_per_request: float
    first_error: str
    doubts: tuple[Doubt, ...]
    telemetry: Telemetry

    @property
    def error_ratio(self) -> float:
        return self.errors / self.requests

    @property
    def carried_rps(self) -> float:
        """What the server was seen to finish per second, by our answers or by its own count, whichever is more.

        A server that is late with everything still works: its answers came after we had given up.
        """
        served = self.telemetry.inference_count or 0
        return max(self.answered_rps, served / self.window_s)

    @property
    def spoiled(self) -> bool:
        return any(doubt.spoils for doubt in self.doubts)


def measure(run: LoadRun, slos: Sequence[Slo], telemetry: Telemetry) -> Measurement:
    """Judge nothing, count everything: requests due in [warm-up, warm-up + window), timed from when they were due.

    Raises InvalidMeasurement if no request was due in the window.
    """
    profile, samples = run.profile, run.samples
    due = [k for k, start in enumerate(samples.intended_s) if start >= profile.warmup_s]
    if not due:
        raise InvalidMeasurement("no request was due in the window", hint="raise load.window_s or load.target_rps")
    latencies_s = [samples.done_s[k] - samples.intended_s[k] if samples.ok[k] else math.inf for k in due]
    lags_s = sorted(samples.sent_s[k] - samples.intended_s[k] for k in due)
    errors = sum(math.isinf(latency) for latency in latencies_s)
    tallies = tuple(tally(slo, latencies_s) for slo in slos)
    lag_ms = nearest_rank(lags_s, 99.0) * 1000.0
    return Measurement(
        offered_rps=len(due) / profile.window_s,
        achieved_rps=(len(due) - errors) / profile.window_s,
        answered_rps=_answered_in_window(run) / profile.window_s,
        window_s=profile.window_s,
        requests=len(due),
        errors=errors,
        latency_ms=_summary(latencies_s),
        counts=count_latencies(latencies_s),
        tallies=tallies,
        send_lag_p99_ms=lag_ms,
        generator_cpu_ratio=run.generator.cpu_ratio,
        generator_cpu_ms_per_request=run.generator.cpu_ms_per_request,
        first_error=run.generator.first_error,
        doubts=tuple(_doubts(run, slos, latencies_s, lag_ms, telemetry)),
        telemetry=telemetry,
    )


def _answered_in_window(run: LoadRun) -> int:
    first_s, last_s = run.profile.warmup_s, run.profile.duration_s
    pairs = zip(run.samples.done_s, run.samples.ok, strict=True)
    return sum(ok and first_s <= done_s < last_s for done_s, ok in pairs)


def tally(slo: Slo, latencies_s: Sequence[float]) -> Tally:
    """Count the requests that break one bound.

    The design effect is measured where there is something to see: at the limit, or at the observed percentile if that
    is lower, since the same requests wait for each other on both sides of a limit that is hardly ever reached.
    """
    if slo.indicator == "error_ratio":
        failed = [math.isinf(latency) for latency in latencies_s]
        share = sum(failed) / len(failed)
        return Tally(
            slo=slo, requests=len(failed), bad=sum(failed), observed=share, design_effect=design_effect(failed)
        )
    observed_ms = nearest_rank(sorted(latencies_s), PERCENT[slo.indicator]) * 1000.0
    threshold_s = min(slo.max, observed_ms) / 1000.0
    return Tally(
        slo=slo,
        requests=len(latencies_s),
        bad=sum(latency * 1000.0 > slo.max for latency in latencies_s),
        observed=observed_ms,
        design_effect=design_effect([latency > threshold_s for latency in latencies_s]),
    )


def _summary(latencies_s: Sequence[float]) -> LatencyMs:
    ascending = sorted(latencies_s)

    def at(percent: float) -> float:
        return nearest_rank(ascending, percent) * 1000.0

    mean_ms = math.fsum(ascending) / len(ascending) * 1000.0 if math.isfinite(ascending[-1]) else math.inf
    return LatencyMs(
        p50=at(50), p90=at(90), p95=at(95), p99=at(99), p99_9=at(99.9), max=ascending[-1] * 1000.0, mean=mean_ms
    )


def _doubts(
    run: LoadRun, slos: Sequence[Slo], latencies_s: Sequence[float], lag_ms: float, telemetry: Telemetry
) -> list[Doubt]:
    limits_ms = [slo.max for slo in slos if slo.indicator in PERCENT]
    lag_limit_ms = max(SEND_LAG_SHARE_OF_LIMIT * min(limits_ms, default=0.0), SEND_LAG_FLOOR_MS)
    never_sent = sum(math.isinf(sent) for sent in run.samples.sent_s)
    checks = {
        Doubt.SEND_LAG: lag_ms > lag_limit_ms and not _fails_without_lag(run, slos),
        Doubt.GENERATOR_CPU: run.generator.cpu_ratio > GENERATOR_CPU_LIMIT,
        Doubt.NOT_SENT: never_sent > (1.0 - SENT_SHARE_LIMIT) * len(run.samples),
        Doubt.WORKER_LOST: run.generator.workers_lost > 0,
        Doubt.SERVER_RESTARTED: telemetry.restarts > 0,
        Doubt.FEW_REQUESTS: any(_too_few(len(latencies_s), slo) for slo in slos),
        Doubt.DRIFT: _drifts(latencies_s, min(limits_ms, default=math.inf)),
        Doubt.BUSY_MACHINE: cores_used_by_others(run, telemetry) > OTHERS_CORES_LIMIT,
    }
    return [doubt for doubt, present in checks.items() if present]


def _fails_without_lag(run: LoadRun, slos: Sequence[Slo]) -> bool:
    """True where an SLO certainly fails even when requests are timed from their actual send: lag explains nothing."""
    samples = run.samples
    served_s = [
        samples.done_s[k] - samples.sent_s[k] if samples.ok[k] else math.inf
        for k, start in enumerate(samples.intended_s)
        if start >= run.profile.warmup_s and math.isfinite(samples.sent_s[k])
    ]
    return bool(served_s) and judge(tally(slo, served_s) for slo in slos) is Verdict.FAIL


def _too_few(requests: int, slo: Slo) -> bool:
    """A percentile wants ten requests beyond it (1,000 for a p99), a share of errors one request it could show on."""
    beyond = REQUESTS_BEYOND_PERCENTILE if slo.indicator in PERCENT else 1
    # The small number: 1,000 requests times 0.01 must count as ten.
    return requests * slo.allowed_share < beyond - 1e-9


def cores_used_by_others(run: LoadRun, telemetry: Telemetry) -> float:
    """Cores that neither server nor load generator used while they shared a machine; 0 where nobody could see."""
    busy_s, server_s, elapsed_s = telemetry.machine_busy_s, telemetry.cpu_s, telemetry.at_s
    if busy_s is None or server_s is None or not elapsed_s:
        return 0.0
    generator_s = run.generator.cpu_ratio * run.profile.duration_s
    return max(0.0, busy_s - server_s - generator_s) / elapsed_s


def _drifts(latencies_s: Sequence[float], limit_ms: float) -> bool:
    """A queue that grows: the last fifth's median is twice the first fifth's, and matters against the limit."""
    fifth = len(latencies_s) // 5
    if fifth < 10:
        return False
    early_s = nearest_rank(sorted(latencies_s[:fifth]), 50.0)
    late_s = nearest_rank(sorted(latencies_s[-fifth:]), 50.0)
    grew = late_s > DRIFT_RATIO * early_s
    return grew and (late_s - early_s) * 1000.0 > DRIFT_SHARE_OF_LIMIT * limit_ms
