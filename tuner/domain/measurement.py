"""From raw samples to a measurement: percentiles from the intended start, counts per SLO, and doubts."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from tuner.domain.arrival_kinds import Shape
from tuner.domain.deployment import Telemetry
from tuner.domain.errors import InvalidMeasurement
from tuner.domain.growth import Growth, growth_of
from tuner.domain.histogram import LatencyCounts, count_latencies, nearest_rank
from tuner.domain.load import LoadRun
from tuner.domain.slo import GOODPUT, PERCENT, Slo, Tally, Verdict, judge
from tuner.domain.statistics import ascending, count_beyond, design_effect

SEND_LAG_FLOOR_MS = 5.0
SEND_LAG_SHARE_OF_LIMIT = 0.1
GENERATOR_CPU_LIMIT = 0.8
SENT_SHARE_LIMIT = 0.99
REQUESTS_BEYOND_PERCENTILE = 10
OTHERS_CORES_LIMIT = 0.3
STEADY_TIMES = 5.0
WIDEST_SHARE = 0.1
NEAR_LIMIT = 0.5
PIECES_OF_A_SHAPE = 10


class Doubt(StrEnum):
    """A measured reason to distrust a measurement."""

    SEND_LAG = "send_lag"
    GENERATOR_CPU = "generator_cpu"
    NOT_SENT = "not_sent"
    WORKER_LOST = "worker_lost"
    START_SKEW = "start_skew"
    SERVER_RESTARTED = "server_restarted"
    FEW_REQUESTS = "few_requests"
    DRIFT = "drift"
    OVERSATURATED = "oversaturated"
    BUSY_MACHINE = "busy_machine"
    DETOUR = "detour"

    @property
    def spoils(self) -> bool:
        """True where the number says nothing about the server, so that the measurement has to be repeated.

        A busy machine, or a longer way to the server, only makes it look worse than it is: what passes all the same
        may be believed.
        """
        return self not in _HARMLESS


_HARMLESS = (Doubt.FEW_REQUESTS, Doubt.DRIFT, Doubt.OVERSATURATED, Doubt.BUSY_MACHINE, Doubt.DETOUR)


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

    `requests` were due in the window (`offered_rps` is what was due, not the rate it was drawn from), all but
    `never_sent` of them left, and `achieved_rps` of them were answered well, however late; `answered_rps` counts the
    good answers that arrived within the window, whenever they were due: what the server can carry.
    `loaded_s` is from the begin of the load, warm-up included, to the last answer: what the server's own counters
    cover.
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
    loaded_s: float | None = None
    never_sent: int = 0

    @property
    def error_ratio(self) -> float:
        return self.errors / self.requests

    @property
    def carried_rps(self) -> float:
        """At most this much the server was seen to finish per second, by our answers or by its own count.

        A server that is late with everything still works: its answers came after we had given up. Its count includes
        warm-up and drain, which makes the figure high: it may only rule out what even that could not carry.
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
    pieces = PIECES_OF_A_SHAPE if isinstance(profile.arrivals, Shape) else 1
    tallies = tuple(tally(slo, latencies_s, slos, pieces) for slo in slos)
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
        doubts=tuple(_doubts(run, tallies, latencies_s, lag_ms, telemetry)),
        telemetry=telemetry,
        loaded_s=_loaded_s(run),
        never_sent=sum(math.isinf(lag_s) for lag_s in lags_s),
    )


def _loaded_s(run: LoadRun) -> float:
    last_answer_s = max((done_s for done_s in run.samples.done_s if math.isfinite(done_s)), default=0.0)
    return max(run.profile.duration_s, last_answer_s)


def _answered_in_window(run: LoadRun) -> int:
    first_s, last_s = run.profile.warmup_s, run.profile.duration_s
    pairs = zip(run.samples.done_s, run.samples.ok, strict=True)
    return sum(ok and first_s <= done_s < last_s for done_s, ok in pairs)


def count_bad(slo: Slo, latencies_s: Sequence[float], slos: Sequence[Slo]) -> int:
    """How many requests break one of the bounds."""
    return count_beyond(latencies_s, _limit_s(slo, slos))


def tally(slo: Slo, latencies_s: Sequence[float], slos: Sequence[Slo], pieces: int = 1) -> Tally:
    """Count the requests that break one of the bounds, and measure how alike neighbours are.

    The design effect is measured where there is something to see: at the observed percentile, and at the threshold
    that five times as many requests exceed, but never beyond the limit, since the same requests wait for each other
    on both sides of it. The first is right but rests on few late requests, the second is steady but low where only
    the longest latencies are alike: the larger of the second and of the geometric mean of both counts, since both are
    wrong by a factor. What happens below half the limit says little about requests that break it, but a calm window
    of an uneasy service shows nowhere else: down to a quarter of the limit, a quarter of what is seen at the p90
    counts, for latencies of finite variance are twice as long at most about a quarter as often. Where the offered
    load has a shape, `pieces` of the window are each compared with themselves.
    """
    limit_s, percentile = _limit_s(slo, slos), PERCENT.get(slo.indicator)
    bad = count_beyond(latencies_s, limit_s)
    sorted_s = ascending(latencies_s) if math.isfinite(limit_s) else []
    thresholds_s = _thresholds_s(sorted_s, limit_s, slo.allowed_share) if sorted_s else (limit_s,) * 3
    near, steady, wide = (design_effect(latencies_s, at_s, pieces) for at_s in thresholds_s)
    return Tally(
        slo=slo,
        requests=len(latencies_s),
        bad=bad,
        observed=nearest_rank(sorted_s, percentile) * 1000.0 if percentile else bad / len(latencies_s),
        design_effect=max(steady, math.sqrt(near * steady), NEAR_LIMIT**2 * wide),
    )


def _limit_s(slo: Slo, slos: Sequence[Slo]) -> float:
    """What an answer must not be later than to be good; infinite where only failures count."""
    if slo.indicator in PERCENT:
        return slo.max / 1000.0
    limits_ms = [other.max for other in slos if other.indicator in PERCENT]
    return min(limits_ms, default=math.inf) / 1000.0 if slo.indicator == GOODPUT else math.inf


def _thresholds_s(sorted_s: Sequence[float], limit_s: float, allowed_share: float) -> tuple[float, float, float]:
    """What the allowed share and STEADY_TIMES of it exceed, near the limit; what WIDEST_SHARE exceed, farther off."""

    def exceeded_by(share: float, nearness: float) -> float:
        return min(limit_s, max(nearness * limit_s, nearest_rank(sorted_s, 100.0 * (1.0 - share))))

    widest = max(allowed_share, WIDEST_SHARE)
    near_s = exceeded_by(allowed_share, NEAR_LIMIT)
    steady_s = exceeded_by(min(STEADY_TIMES * allowed_share, widest), NEAR_LIMIT)
    return near_s, steady_s, exceeded_by(widest, NEAR_LIMIT**2)


def _summary(latencies_s: Sequence[float]) -> LatencyMs:
    ordered = sorted(latencies_s)

    def at(percent: float) -> float:
        return nearest_rank(ordered, percent) * 1000.0

    mean_ms = math.fsum(ordered) / len(ordered) * 1000.0 if math.isfinite(ordered[-1]) else math.inf
    return LatencyMs(
        p50=at(50), p90=at(90), p95=at(95), p99=at(99), p99_9=at(99.9), max=ordered[-1] * 1000.0, mean=mean_ms
    )


def _doubts(
    run: LoadRun, tallies: Sequence[Tally], latencies_s: Sequence[float], lag_ms: float, telemetry: Telemetry
) -> list[Doubt]:
    slos = [tally.slo for tally in tallies]
    limits_ms = [slo.max for slo in slos if slo.indicator in PERCENT]
    lag_limit_ms = max(SEND_LAG_SHARE_OF_LIMIT * min(limits_ms, default=0.0), SEND_LAG_FLOOR_MS)
    growth = growth_of(latencies_s, min(limits_ms, default=0.0), _answered_in_window(run) / len(latencies_s))
    on_time_s = _served_on_time_s(run, lag_limit_ms / 1000.0)
    only_ours = judge(tallies) is Verdict.FAIL and _holds(slos, on_time_s)
    not_sent = _share_never_sent(run)
    checks = {
        Doubt.SEND_LAG: (lag_ms > lag_limit_ms and not _fails(slos, on_time_s)) or (only_ours and not not_sent),
        Doubt.GENERATOR_CPU: run.generator.cpu_ratio > GENERATOR_CPU_LIMIT,
        Doubt.NOT_SENT: not_sent > 1.0 - SENT_SHARE_LIMIT or (only_ours and not_sent > 0.0),
        Doubt.WORKER_LOST: run.generator.workers_lost > 0,
        # Workers that began apart sent their requests at other times than planned, just as a late sender does.
        Doubt.START_SKEW: run.generator.start_skew_s * 1000.0 > lag_limit_ms,
        Doubt.SERVER_RESTARTED: telemetry.restarts > 0,
        Doubt.FEW_REQUESTS: any(_too_few(len(latencies_s), slo) for slo in slos),
        Doubt.DRIFT: growth is Growth.LATER,
        Doubt.OVERSATURATED: growth is Growth.QUEUE,
        Doubt.BUSY_MACHINE: cores_used_by_others(run, telemetry) > OTHERS_CORES_LIMIT,
        Doubt.DETOUR: run.generator.detour,
    }
    return [doubt for doubt, present in checks.items() if present]


def _share_never_sent(run: LoadRun) -> float:
    """Of all requests or of those due in the window, whichever is more: a long warm-up must not hide any."""
    first = bisect_left(run.samples.intended_s, run.profile.warmup_s)
    gone = [math.isinf(sent_s) for sent_s in run.samples.sent_s]
    return max(sum(gone) / len(gone), sum(gone[first:]) / len(gone[first:]))


def _served_on_time_s(run: LoadRun, lag_limit_s: float) -> list[float]:
    """Latencies from the actual send of what left on time: whatever breaks an SLO here, the generator did not.

    Those that left late say nothing of the server: a burst after a stall of ours makes even their service slow. On
    time is what left at most the limit after the promptest: what is late by the same throughout keeps its pattern.
    """
    samples = run.samples
    due = range(bisect_left(samples.intended_s, run.profile.warmup_s), len(samples))
    lags_s = [samples.sent_s[k] - samples.intended_s[k] for k in due]
    latest_s = min(lags_s) + lag_limit_s
    return [
        samples.done_s[k] - samples.sent_s[k] if samples.ok[k] else math.inf
        for k, lag_s in zip(due, lags_s, strict=True)
        if lag_s <= latest_s and math.isfinite(lag_s)
    ]


def _fails(slos: Sequence[Slo], on_time_s: Sequence[float]) -> bool:
    """Whether an SLO certainly fails by the requests that left on time alone: then lag explains nothing."""
    return bool(on_time_s) and judge(tally(slo, on_time_s, slos) for slo in slos) is Verdict.FAIL


def _holds(slos: Sequence[Slo], on_time_s: Sequence[float]) -> bool:
    """Whether every SLO holds, certain or not, by the requests that left on time: then only lag can break one."""
    return all(count_bad(slo, on_time_s, slos) <= slo.allowed_share * len(on_time_s) for slo in slos)


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
