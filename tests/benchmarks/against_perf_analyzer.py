"""The load engine and perf_analyzer on one running Triton server, open loop: the same arrivals, in turn.

`python -m tests.benchmarks.against_perf_analyzer PERF_ANALYZER --target http://HOST:PORT --model NAME` prints the
table; results/against_perf_analyzer.txt is its last output. PERF_ANALYZER is a command that runs it.

perf_analyzer's Poisson arrivals are the same in every run: its generator (std::mt19937) is never seeded. They are
reproduced here and replayed by the engine, so what differs between two runs is the clients and the machine, and nothing
else. It deals them out to --max-threads connections in turn, and times a request from when a thread sends it: a thread
still waiting for its last answer sends late, and that delay is in no latency of its report. So both clients' latencies
are shown from the send and from when a request was due; what it reports itself is from the send. Its arrivals begin
anew when --max-trials windows of -p are over, and its windows are a fifth longer than -p: both as it does it.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from load_profiles.locust_generator import LocustLoadGenerator
from tuner.domain.arrival_kinds import Replay
from tuner.domain.deployment import Deployment, Telemetry
from tuner.domain.histogram import nearest_rank
from tuner.domain.load import LoadProfile, Payload
from tuner.domain.measurement import measure
from tuner.load_command import deployment_at
from tuner.load_target import find_target

Times = NDArray[np.float64]
SHARES = (0.2, 0.5, 0.8)
TRIALS = 3
STRETCH = 1.2
THREADS = 128
UNSEEDED = 5489
MOST_RUNS = 3


@dataclass(frozen=True)
class Seen:
    """What one client saw of one run, ms; `reported` is what perf_analyzer itself printed."""

    client: str
    requests: int
    sent_p50: float
    sent_p99: float
    due_p50: float
    due_p99: float
    lag_p99: float
    reported: str = ""


@dataclass(frozen=True)
class Bench:
    """Where both clients send, on which cores they run, and for how long."""

    perf_analyzer: list[str]
    target: str
    deployment: Deployment
    cpus: tuple[int, ...]
    window_s: float
    repeats: int

    @property
    def trial_ms(self) -> int:
        return round(self.window_s * 1000.0 / STRETCH / TRIALS)


def its_arrivals_s(rate_rps: float, schedule_s: float, length_s: float) -> Times:
    """When perf_analyzer sends: std::exponential_distribution over an unseeded std::mt19937, begun anew at its end."""
    count = int(2 * rate_rps * schedule_s) + 100
    words = np.random.RandomState(UNSEEDED).randint(0, 1 << 32, size=2 * count, dtype=np.uint64).astype(float)
    gaps_s = -np.log1p(-(words[0::2] + words[1::2] * 2.0**32) / 2.0**64) / rate_rps
    due_s = np.cumsum(np.floor(gaps_s * 1e9)) / 1e9
    last = int(np.searchsorted(due_s, schedule_s)) + 1
    last = -(-last // THREADS) * THREADS
    lap_s = due_s[:last]
    laps = [lap_s + k * lap_s[-1] for k in range(int(length_s / lap_s[-1]) + 1)]
    whole_s = np.concatenate(laps)
    return whole_s[whole_s < length_s]


def theirs(bench: Bench, rate_rps: float) -> Seen:
    """The first run that it does not give up itself ("failed to obtain stable measurement"), of at most MOST_RUNS."""
    for _ in range(MOST_RUNS):
        said, seen = _theirs(bench, rate_rps)
        if seen is not None:
            return seen
        print(f"{'':11s}  perf_analyzer gave up: {said.strip().splitlines()[-1:]}", flush=True)
    raise SystemExit(f"perf_analyzer failed {MOST_RUNS} times:\n{said}")


def _theirs(bench: Bench, rate_rps: float) -> tuple[str, Seen | None]:
    """From its export of every request; `reported` from its own table."""
    with tempfile.TemporaryDirectory() as folder:
        table, export = Path(folder) / "out.csv", Path(folder) / "out.json"
        options = (
            f"-m {bench.deployment.model_name} -u {bench.target.removeprefix('http://')} -i http "
            f"--request-rate-range {rate_rps:g} --request-distribution poisson --max-threads {THREADS} "
            f"-p {bench.trial_ms} --max-trials {TRIALS} -s 999 -f {table} --profile-export-file {export}"
        )
        argv = [*_on(bench.cpus), *bench.perf_analyzer, *shlex.split(options)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode or not export.exists() or not table.exists():
            return done.stdout + done.stderr, None
        row, (experiment,) = next(csv.DictReader(table.open())), json.loads(export.read_text())["experiments"]
    requests = sorted(experiment["requests"], key=lambda request: request["timestamp"])
    sent_s = np.array([request["timestamp"] for request in requests]) / 1e9
    done_s = np.array([request["response_timestamps"][-1] for request in requests]) / 1e9
    due_s = its_arrivals_s(rate_rps, TRIALS * bench.trial_ms / 1000.0, 2.0 * bench.window_s)[: len(sent_s)]
    # Its clock starts an instant that it does not tell: no request left early, and the quickest left at once.
    due_s = due_s + float(np.min(sent_s - due_s))
    reported = f"p50 {float(row['p50 latency']) / 1000:.2f}, p99 {float(row['p99 latency']) / 1000:.2f}"
    return done.stdout, _seen("perf_analyzer", due_s, sent_s, done_s, reported)


def ours(generator: LocustLoadGenerator, bench: Bench, rate_rps: float) -> Seen:
    """The first run that no doubt of the product's own spoils, of at most MOST_RUNS; the last one where all did."""
    for _ in range(MOST_RUNS):
        spoiled, seen = _ours(generator, bench, rate_rps)
        if not spoiled:
            break
        print(f"{'':11s}  servetune: INVALID, {seen.reported}, lag p99 {seen.lag_p99:.2f}", flush=True)
    return seen


def _ours(generator: LocustLoadGenerator, bench: Bench, rate_rps: float) -> tuple[bool, Seen]:
    due_s = its_arrivals_s(rate_rps, TRIALS * bench.trial_ms / 1000.0, bench.window_s)
    replay = Replay(starts_s=tuple((due_s - due_s[0]).tolist()))
    load = LoadProfile(
        arrivals=replay,
        offered_rps=replay.mean_rps,
        warmup_s=0.0,
        window_s=float(due_s[-1] - due_s[0]) + 1e-6,
        timeout_s=10.0,
        payload=Payload(),
        seed=0,
    )
    run = generator.drive(bench.deployment, load)
    samples = run.samples
    if not all(samples.ok):
        raise SystemExit(f"a request failed: {run.generator.first_error}")
    measurement = measure(run, (), Telemetry())
    times = (np.array(t) for t in (samples.intended_s, samples.sent_s, samples.done_s))
    return measurement.spoiled, _seen("servetune", *times, ", ".join(measurement.doubts))


def _seen(client: str, due_s: Times, sent_s: Times, done_s: Times, note: str) -> Seen:
    def at(values_s: Times, percent: float) -> float:
        return nearest_rank(np.sort(values_s).tolist(), percent) * 1000.0

    from_send, from_due = done_s - sent_s, done_s - due_s
    figures = (at(from_send, 50), at(from_send, 99), at(from_due, 50), at(from_due, 99), at(sent_s - due_s, 99))
    return Seen(client, len(sent_s), *figures, note)


def compare(generator: LocustLoadGenerator, bench: Bench, share: float, rate_rps: float) -> list[str]:
    """Both in turn, first the one and then the other begins; what is outside perf_analyzer's own spread."""
    rows: list[Seen] = []
    for repeat in range(bench.repeats):
        pair = [lambda: theirs(bench, rate_rps), lambda: ours(generator, bench, rate_rps)]
        for measured in pair if repeat % 2 == 0 else reversed(pair):
            row = measured()
            rows.append(row)
            figures = (row.sent_p50, row.sent_p99, row.due_p50, row.due_p99, row.lag_p99)
            shown = "".join(f"{figure:10.2f}" for figure in figures)
            print(f"{share:4.0%}{rate_rps:7.0f}  {row.client:14s}{row.requests:6d}{shown}  {row.reported}", flush=True)
    return [
        outside
        for figure in ("sent_p50", "sent_p99", "due_p50", "due_p99")
        if (outside := judged(rows, figure, f"{share:4.0%}{rate_rps:7.0f}"))
    ]


def judged(rows: Sequence[Seen], figure: str, name: str) -> str:
    """Our median against its median and the spread of its repeats; empty where it is within."""
    found = {c: [getattr(r, figure) for r in rows if r.client == c] for c in ("perf_analyzer", "servetune")}
    its, own = statistics.median(found["perf_analyzer"]), statistics.median(found["servetune"])
    spread = max(found["perf_analyzer"]) - min(found["perf_analyzer"])
    within = abs(own - its) <= spread
    text = f"{name}  {figure}: ours {own:.2f}, its {its:.2f}, off {own - its:+.2f}, spread of its repeats {spread:.2f}"
    print(f"{text}{'' if within else '  OUTSIDE'}", flush=True)
    return "" if within else text


def capacity_rps(bench: Bench, slo: str, duration: str) -> float:
    """By our own command, run as a user would."""
    argv = [*_on(bench.cpus), sys.executable, "-m", "tuner", "load", "--target", bench.target, "--rate", "100"]
    argv += ["--model", bench.deployment.model_name, "--slo", slo, "--duration", duration, "--find-capacity", "--json"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=400)
    if not done.stdout:
        raise SystemExit(f"no capacity: {done.stderr}")
    found = json.loads(done.stdout)
    low_rps, high_rps = found["capacity_interval_rps"]
    print(
        f"capacity for {slo}: {low_rps:.1f} to {high_rps or math.inf:.1f} requests/s, {found['load_s']:.0f} s of load"
    )
    for probe in found["probes"]:
        print(f"  {probe}")
    if not low_rps:
        raise SystemExit("no load certainly held: nothing to take shares of")
    return float(low_rps)


def _on(cpus: tuple[int, ...]) -> list[str]:
    return ["taskset", "-c", ",".join(map(str, cpus))] if cpus else []


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("perf_analyzer")
    parser.add_argument("--target", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--slo", default="latency_p99_ms<=25")
    parser.add_argument("--duration", default="20s", help="the longest one load is measured to find the capacity")
    parser.add_argument("--capacity", type=float, help="taken as given, not measured")
    parser.add_argument("--cpus", default="", help="cores of both clients, as 4,5")
    parser.add_argument("--window", type=float, default=7.2, help="seconds of one run")
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args()
    cpus = tuple(map(int, chosen.cpus.split(","))) if chosen.cpus else ()
    deployment = deployment_at(find_target(chosen.target, ()), model=chosen.model, protocol="kserve_http")
    bench = Bench(
        perf_analyzer=shlex.split(chosen.perf_analyzer),
        target=chosen.target,
        deployment=replace(deployment, generator_cpus=cpus),
        cpus=cpus,
        window_s=chosen.window,
        repeats=chosen.repeats,
    )
    print(f"{os.cpu_count()} cores, clients on {cpus or 'any'}; load average {_load()}")
    whole_rps = chosen.capacity or capacity_rps(bench, chosen.slo, chosen.duration)
    head = "".join(f"{name:>10s}" for name in ("sent p50", "sent p99", "due p50", "due p99", "lag p99"))
    print(f"{'load':>4s}{'rps':>7s}  {'client':14s}{'n':>6s}{head}  its own report, or our doubts; ms")
    outside: list[str] = []
    with LocustLoadGenerator() as generator:
        for share in SHARES:
            outside += compare(generator, bench, share, round(share * whole_rps))
    print(f"load average {_load()}; {len(outside)} medians outside the spread", *outside, sep="\n  ")
    return 1 if outside else 0


def _load() -> str:
    return " ".join(f"{load:.2f}" for load in os.getloadavg())


if __name__ == "__main__":
    sys.exit(main())
