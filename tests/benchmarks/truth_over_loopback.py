"""The load engine over loopback against servers whose latencies are known: by their own record, or by computation.

`python -m tests.benchmarks.truth_over_loopback [SERVER_CPUS GENERATOR_CPUS]` prints the tables (cores as `0,1`);
results/truth_over_loopback.txt is its last output. It exits with 1 where a figure is out of its bound.

A run counts if the product has no doubt that spoils it, and neither side was late by more than DISTURBED_MS (p99): the
engine with its sends, the server with its own timers. Others are discarded, counted, and repeated at most MOST_RUNS
times: on a machine with other work nothing could be told from them.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection
from time import monotonic

from load_profiles.locust_generator import LocustLoadGenerator
from tests.servers.behaviour import deployment_at
from tests.servers.exact import ExactSettings, ServerRecord, serving_exactly
from tests.servers.kserve_server import end_of_stall_s
from tuner.domain.arrivals import intended_starts_s
from tuner.domain.deployment import Telemetry
from tuner.domain.histogram import nearest_rank
from tuner.domain.load import LoadProfile, Payload
from tuner.domain.measurement import Measurement, measure

SERVICE_S = 0.010
PERCENTS = (50.0, 90.0, 99.0)
MOST_RUNS = 5
DISTURBED_MS = 1.0
STALLS = ExactSettings(law="constant 13 ms", stall_every_s=2.0, stall_s=0.4)
STALL_DELAY_S = 0.013
# Law, requests per second, seconds: so that p99 has ten requests beyond it.
LAWS = (
    ("constant 0.3 ms", 400.0, 8.0),
    ("constant 3 s", 100.0, 12.0),
    ("exponential 20 ms", 200.0, 8.0),
    ("bimodal 1 ms or 300 ms", 200.0, 8.0),
    ("heavy tail (Pareto 1.5) 1 ms to 3 s", 200.0, 8.0),
)


@dataclass(frozen=True)
class Cores:
    """Which cores each side has to itself; none named: all, together."""

    server: tuple[int, ...] = ()
    generator: tuple[int, ...] = ()


@dataclass(frozen=True)
class Seen:
    """What the engine measured in one run, and what the server recorded of the same requests."""

    profile: LoadProfile
    measurement: Measurement
    record: ServerRecord
    warm_up: int

    @property
    def disturbed(self) -> bool:
        late_ms = max(self.measurement.send_lag_p99_ms, self.record.late_ms(self.warm_up))
        return self.measurement.spoiled or not late_ms <= DISTURBED_MS


@dataclass(frozen=True)
class Row:
    """One percentile beside its truth."""

    name: str
    figure: str
    seen_ms: float
    truth_ms: float
    allowed_ratio: float
    allowed_ms: float = 0.0

    @property
    def within(self) -> bool:
        return abs(self.seen_ms - self.truth_ms) <= max(self.allowed_ratio * self.truth_ms, self.allowed_ms)

    def __str__(self) -> str:
        off_ms = self.seen_ms - self.truth_ms
        figures = f"{self.seen_ms:10.2f}{self.truth_ms:10.2f}{off_ms:9.2f}{off_ms / self.truth_ms:9.1%}"
        return f"{self.name:38s}{self.figure:>5s}{figures}{'' if self.within else '  OUT OF BOUND'}"


@dataclass
class Tally:
    """What was discarded, and what was out of its bound, over the whole table."""

    discarded: list[str] = field(default_factory=list)
    out_of_bound: list[str] = field(default_factory=list)

    def show(self, seen: Seen, rows: Sequence[Row]) -> None:
        for row in rows:
            print(row, flush=True)
        self.out_of_bound += [f"{row.name} {row.figure}" for row in rows if not row.within]
        lag_ms, late_ms = seen.measurement.send_lag_p99_ms, seen.record.late_ms(seen.warm_up)
        print(f"{'':38s}  send lag p99 {lag_ms:.2f} ms, server's timers p99 {late_ms:.2f} ms late", flush=True)


def profile(rate_rps: float, window_s: float, seed: int) -> LoadProfile:
    return LoadProfile(
        arrivals="poisson",
        offered_rps=rate_rps,
        warmup_s=0.5,
        window_s=window_s,
        timeout_s=10.0,
        payload=Payload(count=1),
        seed=seed,
    )


def drive(generator: LocustLoadGenerator, settings: ExactSettings, load: LoadProfile, cores: Cores) -> Seen:
    with serving_exactly(replace(settings, seed=load.seed, cpus=cores.server)) as server:
        target = replace(deployment_at(server.port), generator_cpus=cores.generator)
        measurement = measure(generator.drive(target, load), (), Telemetry())
        record = server.record()
    starts_s = intended_starts_s(load)
    assert len(record.arrived_s) == len(starts_s), "the server saw as many requests as were due"
    return Seen(load, measurement, record, sum(start_s < load.warmup_s for start_s in starts_s))


def undisturbed(
    generator: LocustLoadGenerator,
    settings: ExactSettings,
    load: LoadProfile,
    cores: Cores,
    tally: Tally,
    *,
    most_runs: int = MOST_RUNS,
) -> Seen | None:
    """The first run that counts; None where none of so many did."""
    for attempt in range(most_runs):
        seen = drive(generator, settings, replace(load, seed=load.seed + attempt), cores)
        if not seen.disturbed:
            return seen
        lag_ms, late_ms = seen.measurement.send_lag_p99_ms, seen.record.late_ms(seen.warm_up)
        tally.discarded.append(f"{settings.law}: send lag p99 {lag_ms:.2f} ms, server {late_ms:.2f} ms late")
    return None


def against_record(name: str, seen: Seen) -> list[Row]:
    """Within 5 % or 2 ms of what the server itself recorded."""
    return _rows(name, seen, seen.record.latencies_s(seen.warm_up), allowed_ratio=0.05, allowed_ms=2.0)


def against_lindley(name: str, seen: Seen) -> list[Row]:
    """Within 5 % of the queue's recursion on the same arrivals."""
    services_s = [SERVICE_S] * len(seen.record.left_s)
    return _rows(name, seen, sorted(lindley_s(seen.profile, services_s)), allowed_ratio=0.05)


def against_own_queue(name: str, seen: Seen) -> list[Row]:
    """Within 5 % or 2 ms of the recursion on the same arrivals, with the services as long as they were.

    A busy machine wakes the worker late, and a queue makes more of that: it is the server's time, not the engine's.
    """
    truth_s = sorted(lindley_s(seen.profile, seen.record.services_s()))
    return _rows(name, seen, truth_s, allowed_ratio=0.05, allowed_ms=2.0)


def against_theory(name: str, seen: Seen, load: float) -> list[Row]:
    """Within 5 % of the mean (Pollaczek and Khinchine) and of the percentiles (Erlang) of M/D/1 with this load."""
    mean_ms = 1000.0 * SERVICE_S * (1.0 + load / (2.0 * (1.0 - load)))
    rows = [Row(name, "mean", seen.measurement.latency_ms.mean, mean_ms, 0.05)]
    for percent, seen_ms in ((50.0, seen.measurement.latency_ms.p50), (90.0, seen.measurement.latency_ms.p90)):
        truth_ms = 1000.0 * SERVICE_S * (1.0 + waiting_quantile(load, percent / 100.0))
        rows.append(Row(name, f"p{percent:g}", seen_ms, truth_ms, 0.05))
    return rows


def against_stalls(seen: Seen) -> list[Row]:
    """p90 within 10 % of what the stalls alone make of the arrivals: they begin to count with the first request."""
    starts_s = intended_starts_s(seen.profile)
    plan = {"stall_every_s": STALLS.stall_every_s, "stall_s": STALLS.stall_s}
    due_s = [start_s - starts_s[0] for start_s in starts_s if start_s >= seen.profile.warmup_s]
    truth_s = sorted(end_of_stall_s(at_s + STALL_DELAY_S, plan) - at_s for at_s in due_s)
    return _rows("stall, by computation", seen, truth_s, allowed_ratio=0.10)


def _rows(
    name: str, seen: Seen, truth_s: Sequence[float], *, allowed_ratio: float, allowed_ms: float = 0.0
) -> list[Row]:
    at = seen.measurement.latency_ms
    return [
        Row(name, f"p{percent:g}", seen_ms, nearest_rank(truth_s, percent) * 1000.0, allowed_ratio, allowed_ms)
        for percent, seen_ms in zip(PERCENTS, (at.p50, at.p90, at.p99), strict=True)
    ]


def lindley_s(load: LoadProfile, services_s: Sequence[float]) -> list[float]:
    """Latencies of the window's requests in a queue before one worker, on the very same arrivals."""
    free_s, latencies_s = 0.0, []
    for start_s, service_s in zip(intended_starts_s(load), services_s, strict=True):
        free_s = max(free_s, start_s) + service_s
        if start_s >= load.warmup_s:
            latencies_s.append(free_s - start_s)
    return latencies_s


def waiting_quantile(load: float, share: float) -> float:
    """The wait that this share of requests does not exceed in M/D/1, in service times; by bisection.

    P[wait <= t] = (1 - load) * sum over k <= t of (load * (k - t))^k / k! * exp(load * (t - k)) (Erlang 1909).
    """

    def reached(wait: float) -> float:
        terms = (
            (load * (k - wait)) ** k / math.factorial(k) * math.exp(load * (wait - k)) for k in range(int(wait) + 1)
        )
        return (1.0 - load) * math.fsum(terms)

    if share <= 1.0 - load:
        return 0.0
    low, high = 0.0, 20.0
    while high - low > 1e-9:
        middle = (low + high) / 2.0
        low, high = (middle, high) if reached(middle) < share else (low, middle)
    return high


def closed_loop(settings: ExactSettings, *, users: int, seconds: float) -> tuple[list[float], ServerRecord]:
    """Latencies in ms as a closed loop sees them: each user waits for its answer before it asks again. Ascending.

    And what the server recorded of it.
    """

    def user(port: int) -> Iterator[float]:
        with closing(HTTPConnection("127.0.0.1", port)) as connection:
            end_s = monotonic() + seconds
            while (start_s := monotonic()) < end_s:
                connection.request("POST", "/v2/models/identity/infer", body=b"0" * 64)
                connection.getresponse().read()
                yield (monotonic() - start_s) * 1000.0

    with serving_exactly(settings) as server, ThreadPoolExecutor(users) as pool:
        found = list(pool.map(lambda port: list(user(port)), [server.port] * users))
        return sorted(latency_ms for latencies_ms in found for latency_ms in latencies_ms), server.record()


def main(cores: Cores) -> int:
    tally = Tally()
    print(f"{os.cpu_count()} cores, server on {cores.server or 'any'}, generator on {cores.generator or 'any'}")
    print(f"load average {' '.join(f'{load:.2f}' for load in os.getloadavg())}")
    print(f"{'truth: the record of the server itself':43s}{'seen ms':>10s}{'truth ms':>10s}{'off ms':>9s}{'off':>9s}")
    with LocustLoadGenerator() as generator:
        for law, rate_rps, window_s in LAWS:
            seen = undisturbed(generator, ExactSettings(law=law), profile(rate_rps, window_s, 1), cores, tally)
            if seen is not None:
                tally.show(seen, against_record(law, seen))
        queue = ExactSettings(law="constant 10 ms", one_at_a_time=True)
        for load in (0.3, 0.6, 0.85):
            seen = undisturbed(
                generator, queue, profile(load / SERVICE_S, 40.0 if load == 0.3 else 20.0, 3), cores, tally
            )
            if seen is not None:
                tally.show(seen, against_record(f"M/D/1 at {load:.0%}, own record", seen))
                tally.show(seen, against_lindley(f"M/D/1 at {load:.0%}, Lindley", seen))
                if load == 0.3:
                    tally.show(seen, against_theory("M/D/1 at 30%, theory", seen, load))
        seen = undisturbed(generator, STALLS, profile(100.0, 20.0, 1), cores, tally)
        if seen is not None:
            tally.show(seen, against_record("400 ms stall every 2 s, own record", seen))
            tally.show(seen, against_stalls(seen))
    closed_ms, _ = closed_loop(replace(STALLS, cpus=cores.server), users=4, seconds=8.0)
    figures = ", ".join(f"p{percent:g} {nearest_rank(closed_ms, percent):.1f}" for percent in PERCENTS)
    print(f"the same stalls seen by a closed loop of 4 users, ms: {figures} ({len(closed_ms) / 8.0:.0f} requests/s)")
    print(f"load average {' '.join(f'{load:.2f}' for load in os.getloadavg())}")
    print(f"{len(tally.discarded)} runs were disturbed and discarded", *tally.discarded, sep="\n  ")
    print(f"{len(tally.out_of_bound)} figures out of bound", *tally.out_of_bound, sep="\n  ")
    return 1 if tally.out_of_bound else 0


def _cores(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


if __name__ == "__main__":
    sys.exit(main(Cores(*map(_cores, sys.argv[1:3]))))
