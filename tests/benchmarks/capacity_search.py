"""How often the interval of `--find-capacity` holds the true capacity, and the seconds of load it takes.

`python -m tests.benchmarks.capacity_search [SEARCHES]` prints the table, of which results/capacity_search.txt is the
last. Virtual time only: queues whose 99th percentile is known at every load. Beside it, what is usually done: 60 s for
every load, PASS and FAIL by whether the observed p99 is within the limit, bisection to the same precision.
"""

from __future__ import annotations

import math
import statistics
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.queue_laws import batch_server, lognormal, one_server
from tests.benchmarks.truth_over_loopback import waiting_quantile
from tests.servers.behaviour import deployment_at
from tuner.capacity_search import FoundCapacity, search_capacity
from tuner.domain.arrivals import intended_starts_s
from tuner.domain.capacity import PRECISION, STEP, Capacity
from tuner.domain.deployment import Deployment
from tuner.domain.histogram import nearest_rank
from tuner.domain.load import GeneratorHealth, LoadProfile, LoadRun, Payload, Samples
from tuner.domain.sequential import LOOKS, fails_already
from tuner.domain.slo import Slo

Draws = NDArray[np.float64]
FIXED_WINDOW_S = 60.0
SAMPLED = 4_000_000
NOBODY = deployment_at(1)


@dataclass(frozen=True)
class Queue:
    """`latencies_s(gaps, source)`, one row each; the limit on its p99, and the rate at which it is just reached."""

    name: str
    latencies_s: Callable[[Draws, np.random.Generator], Draws]
    limit_s: float
    capacity_rps: float

    @property
    def slo(self) -> Slo:
        return Slo(indicator="latency_p99_ms", max=self.limit_s * 1000.0)


class QueueGenerator:
    """A load generator in virtual time: the profile's arrivals through a queue, ended early as the real one does."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def drive(self, deployment: Deployment, profile: LoadProfile) -> LoadRun:
        due_s = np.asarray(intended_starts_s(profile))
        source = np.random.default_rng((profile.seed, 1))
        gaps = np.diff(due_s, prepend=0.0)[None, :]
        done_s = due_s + self._queue.latencies_s(gaps, source)[0]
        count = self._sent_until_certain(profile, due_s, done_s)
        window_s = profile.window_s if count == len(due_s) else float(due_s[count]) - profile.warmup_s
        samples = Samples(
            intended_s=tuple(due_s[:count].tolist()),
            sent_s=tuple(due_s[:count].tolist()),
            done_s=tuple(done_s[:count].tolist()),
            ok=(True,) * count,
        )
        health = GeneratorHealth(cpu_ratio=0.1, cpu_ms_per_request=0.1, workers_lost=0)
        return LoadRun(profile=replace(profile, window_s=window_s), samples=samples, generator=health)

    def _sent_until_certain(self, profile: LoadProfile, due_s: Draws, done_s: Draws) -> int:
        first = bisect_left(due_s, profile.warmup_s)
        answered_s = np.maximum.accumulate(done_s)
        for look in range(1, LOOKS if profile.slos else 1):
            last = bisect_right(answered_s, profile.warmup_s + profile.window_s * look / LOOKS)
            if last < len(due_s) and fails_already((done_s - due_s)[first:last].tolist(), profile.slos):
                return last
        return len(due_s)


def _rows(queue: Callable[[Draws, Draws], Draws], work: Callable[[np.random.Generator, tuple[int, ...]], Draws]):
    return lambda gaps, source: queue(gaps, work(source, gaps.shape))


def simulated_capacity_rps(latencies_s: Callable[[Draws, np.random.Generator], Draws], limit_s: float) -> float:
    """Where the p99 of four million requests meets the limit; by bisection, with the same draws at every rate."""
    low_rps, high_rps = 1.0, 2000.0
    unit = np.random.default_rng(5).exponential(1.0, (8, SAMPLED // 8))
    while high_rps / low_rps > 1.001:
        middle_rps = math.sqrt(low_rps * high_rps)
        seen_s = latencies_s(unit / middle_rps, np.random.default_rng(6))[:, 10_000:]
        low_rps, high_rps = (middle_rps, high_rps) if np.quantile(seen_s, 0.99) <= limit_s else (low_rps, middle_rps)
    return math.sqrt(low_rps * high_rps)


def deterministic(service_s: float, limit_s: float) -> Queue:
    """M/D/1: the load at which its 99 % quantile is the limit, from Erlang's formula."""
    low, high = 0.01, 0.99
    while high - low > 1e-6:
        middle = (low + high) / 2.0
        held = service_s * (1.0 + waiting_quantile(middle, 0.99)) <= limit_s
        low, high = (middle, high) if held else (low, middle)
    latencies_s = _rows(one_server, lambda _, shape: np.full(shape, service_s))
    return Queue(f"M/D/1, {service_s * 1000:g} ms, p99 <= {limit_s * 1000:g}", latencies_s, limit_s, low / service_s)


def exponential(service_s: float, limit_s: float) -> Queue:
    """M/M/1: the time in it is exponential with rate 1 / service - load, so p99 = ln(100) / (1 / service - load)."""
    latencies_s = _rows(one_server, lambda source, shape: source.exponential(service_s, shape))
    capacity_rps = 1.0 / service_s - math.log(100.0) / limit_s
    return Queue(f"M/M/1, {service_s * 1000:g} ms, p99 <= {limit_s * 1000:g}", latencies_s, limit_s, capacity_rps)


def batches(limit_s: float) -> Queue:
    """Up to eight at a time in 4 ms + 1 ms for each; its capacity is simulated."""

    def latencies_s(gaps: Draws, _: np.random.Generator) -> Draws:
        return batch_server(gaps * 1000.0) / 1000.0

    name = f"batches of 8, 4 + n ms, p99 <= {limit_s * 1000:g}"
    return Queue(name, latencies_s, limit_s, simulated_capacity_rps(latencies_s, limit_s))


def heavy(service_s: float, limit_s: float) -> Queue:
    """M/G/1 with a lognormal service of cv 1.5; its capacity is simulated."""
    latencies_s = _rows(one_server, lambda source, shape: service_s * lognormal(source, *shape, cv=1.5))
    name = f"M/G/1 lognormal, {service_s * 1000:g} ms, p99 <= {limit_s * 1000:g}"
    return Queue(name, latencies_s, limit_s, simulated_capacity_rps(latencies_s, limit_s))


def profile(queue: Queue, first_rps: float, window_s: float, seed: int) -> LoadProfile:
    return LoadProfile(
        arrivals="poisson",
        offered_rps=first_rps,
        warmup_s=2.0,
        window_s=window_s,
        timeout_s=5.0,
        payload=Payload(),
        seed=seed,
        slos=(queue.slo,),
    )


def found(queue: Queue, seed: int, window_s: float = FIXED_WINDOW_S) -> FoundCapacity:
    """One search, from a rate between a quarter of the capacity and four times it. No two share arrivals."""
    first_rps = queue.capacity_rps * 4.0 ** np.random.default_rng((seed, 2)).uniform(-1.0, 1.0)
    load = profile(queue, float(first_rps), window_s, seed * 1000)
    return search_capacity(QueueGenerator(queue), NOBODY, load, (queue.slo,))


def by_fixed_windows(queue: Queue, seed: int) -> FoundByWindows:
    """From the same first rate: 60 s for each load, judged by the observed p99 alone; doubled, halved, bisected."""
    rate_rps = queue.capacity_rps * 4.0 ** np.random.default_rng((seed, 2)).uniform(-1.0, 1.0)
    low_rps, high_rps, loads = 0.0, math.inf, 0
    while high_rps > (1.0 + PRECISION) * low_rps:
        load = replace(profile(queue, rate_rps, FIXED_WINDOW_S, seed * 1000 + loads), slos=())
        samples = QueueGenerator(queue).drive(NOBODY, load).samples
        pairs = zip(samples.intended_s, samples.done_s, strict=True)
        ascending = sorted(done_s - due_s for due_s, done_s in pairs if due_s >= load.warmup_s)
        loads += 1
        if nearest_rank(ascending, 99.0) <= queue.limit_s:
            low_rps = rate_rps
        else:
            high_rps = rate_rps
        bracketed = low_rps > 0.0 and high_rps < math.inf
        rate_rps = math.sqrt(low_rps * high_rps) if bracketed else low_rps * STEP or high_rps / STEP
    return FoundByWindows(Capacity(low_rps=low_rps, high_rps=high_rps), loads * (FIXED_WINDOW_S + 2.0))


@dataclass(frozen=True)
class FoundByWindows:
    capacity: Capacity
    load_s: float


def holds(capacity: Capacity, truth_rps: float) -> bool:
    return capacity.low_rps <= truth_rps and (capacity.high_rps is None or truth_rps <= capacity.high_rps)


def line(name: str, ran: list[FoundCapacity] | list[FoundByWindows], truth_rps: float) -> str:
    held = sum(holds(one.capacity, truth_rps) for one in ran) / len(ran)
    low = statistics.median(one.capacity.low_rps for one in ran) / truth_rps
    high = statistics.median(one.capacity.high_rps or math.inf for one in ran) / truth_rps
    open_ended = sum(not one.capacity.low_rps or one.capacity.high_rps is None for one in ran) / len(ran)
    load_s = statistics.median(one.load_s for one in ran)
    return f"  {name:28s}{held:8.1%}{low:9.2f}{high:7.2f}{open_ended:12.1%}{load_s:10.0f}"


def queues() -> list[Queue]:
    return [
        deterministic(0.005, 0.025),
        deterministic(0.002, 0.020),
        exponential(0.005, 0.050),
        batches(0.030),
        heavy(0.004, 0.060),
    ]


def main(searches: int) -> None:
    print(f"{searches} searches each; bounds of the interval as shares of the true capacity, medians")
    print(f"  {'':28s}{'holds':>8s}{'low':>9s}{'high':>7s}{'one-sided':>12s}{'load s':>10s}")
    for queue in queues():
        print(f"{queue.name}: {queue.capacity_rps:.1f} requests/s")
        for window_s in (20.0, FIXED_WINDOW_S):
            ran = [found(queue, seed, window_s) for seed in range(searches)]
            print(line(f"at most {window_s:g} s for each load", ran, queue.capacity_rps), flush=True)
        fixed = [by_fixed_windows(queue, seed) for seed in range(max(10, searches // 2))]
        print(line("fixed 60 s, observed p99", fixed, queue.capacity_rps), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
