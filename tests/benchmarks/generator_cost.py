"""What the load engine costs: requests per second of one core, and CPU per request beside perf_analyzer's.

`python -m tests.benchmarks.generator_cost [--perf-analyzer COMMAND] [--triton]` prints both tables. The server is
`tests.servers.fast_server`, which answers perf_analyzer as well; with --triton a second comparison runs on
examples/quickstart/cls.onnx. COMMAND runs perf_analyzer (Debian 12: through the loader of a newer C library).
The engine has the first core to itself, the servers have the others.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from load_profiles.locust_generator import LocustLoadGenerator
from runners.process_table import cpu_model
from tests.local_triton import IMAGE_SHAPE, local_runner
from tests.servers.behaviour import deployment_at
from tuner.domain.deployment import Deployment, KserveProtocol, Telemetry
from tuner.domain.load import LoadProfile, Payload
from tuner.domain.measurement import Measurement, measure
from tuner.domain.space import Configuration

SMALL_FLOATS, LARGE_FLOATS = 2_000, 25_000  # 8 kB and 100 kB
LADDER_RPS = (1_000, 2_500, 5_000, 7_500, 10_000, 12_500, 15_000, 20_000, 25_000)
FAST_RATES_RPS = (100, 300, 1_000, 2_500, 5_000)
TRITON_RATES_RPS = (40, 100, 160)
FLOOR_RPS, GOAL_RPS = 5_000, 10_000
LADDER_WINDOW_S = 5.0
REPEATS = 3
WINDOW_S = 8.0
SMALL_SHAPE = (3, 48, 16)
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
BODIES = ((SMALL_SHAPE, 9.2), (IMAGE_SHAPE, 110.6))
COST = f"{'CPU ms/request':>16s}"
CLIENTS = f"{'body':>7s}{'rate':>8s}  {'client':14s}{'answered':>10s}{COST}{'p50 ms':>9s}{'p99 ms':>9s}  doubts"


@dataclass(frozen=True)
class Row:
    """What one client saw at one rate, and what it cost."""

    answered_rps: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    doubts: str = ""


def ours(deployment: Deployment, shape: tuple[int, ...], rate_rps: float, seed: int) -> Row:
    profile = LoadProfile(
        arrivals="poisson",
        offered_rps=rate_rps,
        warmup_s=1.0,
        window_s=WINDOW_S,
        timeout_s=5.0,
        payload=Payload(shape=shape),
        seed=seed,
    )
    with LocustLoadGenerator() as generator:
        seen = measure(generator.drive(deployment, profile), (), Telemetry())
    doubts = ", ".join(seen.doubts)
    return Row(seen.achieved_rps, seen.latency_ms.p50, seen.latency_ms.p99, seen.generator_cpu_ms_per_request, doubts)


def theirs(command: str, deployment: Deployment, shape: tuple[int, ...], rate_rps: float) -> Row:
    """CPU is read from the process while it sends, so that its start does not count."""
    sizes = ",".join(map(str, shape))
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "out.csv"
        options = (
            f"-m {deployment.model_name} -u {deployment.endpoint.removeprefix('http://')} -i http "
            f"--shape {deployment.inputs[0].name}:{sizes} --request-rate-range {rate_rps:g} "
            f"--request-distribution poisson -p {WINDOW_S * 1000 / 3:.0f} --max-trials 3 -s 999 -f {table}"
        )
        argv = [*shlex.split(command), *shlex.split(options)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            time.sleep(3.0)
            before_s, begin_s = cpu_s(process.pid), time.monotonic()
            time.sleep(WINDOW_S - 4.0)
            used_s, elapsed_s = cpu_s(process.pid) - before_s, time.monotonic() - begin_s
            said = process.communicate(timeout=120)[0]
        if process.returncode or not table.exists():
            raise SystemExit(f"perf_analyzer failed:\n{said}")
        row = next(csv.DictReader(table.open()))
    answered_rps = float(row["Inferences/Second"])
    p50_ms, p99_ms = float(row["p50 latency"]) / 1000.0, float(row["p99 latency"]) / 1000.0
    return Row(answered_rps, p50_ms, p99_ms, used_s * 1000.0 / (elapsed_s * answered_rps))


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


@contextmanager
def server(protocol: KserveProtocol = "kserve_http") -> Iterator[Deployment]:
    with tempfile.TemporaryDirectory() as registry:
        knobs = Configuration.of({"max_batch_size": 8, "instances": 1, "intra_op_threads": 1})
        with local_runner(Path(registry), protocol=protocol).deploy(knobs, deployment_id="perf-0-0") as deployment:
            yield deployment


@contextmanager
def fast_server(floats: int, processes: int) -> Iterator[Deployment]:
    """Servers on all cores but the first, where there are more, and the engine on that one."""
    cores = sorted(os.sched_getaffinity(0))
    argv = ["taskset", "-c", ",".join(map(str, cores[1:] or cores))]
    argv += [sys.executable, "-m", "tests.servers.fast_server", "0", str(processes)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        port = int(running.stdout.readline())
        yield replace(deployment_at(port, shape=(floats,)), generator_cpus=(cores[0],))
        running.stdin.close()


def climb(floats: int, ladder_rps: Sequence[float], processes: int) -> None:
    """One measurement per rate. A rate is held if all was answered and the engine spoiled nothing."""
    held_rps, carried_rps = 0.0, 0.0
    for rate_rps in ladder_rps:
        with fast_server(floats, processes) as deployment:
            seen = at_rate(deployment, rate_rps)
        busy = f"{seen.generator_cpu_ratio:10.2f}{seen.generator_cpu_ms_per_request:16.4f}"
        lag = f"{seen.send_lag_p99_ms:17.2f}{seen.errors:8d}  {', '.join(seen.doubts)}"
        print(f"{4 * floats / 1000:4.0f} kB{rate_rps:8.0f}{seen.achieved_rps:10.0f}{busy}{lag}", flush=True)
        if not seen.errors and not seen.spoiled:
            held_rps = max(held_rps, rate_rps)
        if not seen.errors:
            carried_rps = max(carried_rps, 1000.0 / seen.generator_cpu_ms_per_request)
    for what, most_rps in (("highest rate held", held_rps), ("a core's worth of CPU carries", carried_rps)):
        floor, goal = most_rps / FLOOR_RPS, most_rps / GOAL_RPS
        share = f"{floor:.2f} of the floor of {FLOOR_RPS}, {goal:.2f} of the goal of {GOAL_RPS}"
        print(f"{4 * floats / 1000:4.0f} kB: {what} {most_rps:.0f} requests/s: {share}", flush=True)


def at_rate(deployment: Deployment, rate_rps: float) -> Measurement:
    profile = LoadProfile(
        arrivals="poisson",
        offered_rps=rate_rps,
        warmup_s=1.0,
        window_s=LADDER_WINDOW_S,
        timeout_s=5.0,
        payload=Payload(),
        seed=1,
    )
    with LocustLoadGenerator() as generator:
        return measure(generator.drive(deployment, profile), (), Telemetry())


def beside(
    command: str, deployment: Deployment, shape: tuple[int, ...], size_kb: float, rates: Sequence[float]
) -> None:
    """Both clients in turn at each rate, and the ratio of their median costs."""
    for rate_rps in rates:
        costs: dict[str, list[float]] = {"perf_analyzer": [], "servetune": []}
        for repeat in range(REPEATS):
            rows: dict[str, Row] = {
                "perf_analyzer": theirs(command, deployment, shape, rate_rps),
                "servetune": ours(deployment, shape, rate_rps, seed=repeat),
            }
            for client, row in rows.items():
                costs[client].append(row.cpu_ms)
                say(size_kb, rate_rps, client, row)
        own, other = (statistics.median(costs[client]) for client in ("servetune", "perf_analyzer"))
        print(f"{size_kb:4.0f} kB{rate_rps:8.0f}  CPU per request, ours to theirs: {own / other:.2f}", flush=True)


def grpc_beside_http(shape: tuple[int, ...], size_kb: float, rates: Sequence[float]) -> None:
    """The engine over both protocols on Triton, and the ratio of their median costs."""
    protocols: tuple[KserveProtocol, ...] = ("kserve_http", "kserve_grpc")
    for rate_rps in rates:
        costs: dict[str, list[float]] = {protocol: [] for protocol in protocols}
        for repeat in range(REPEATS):
            for protocol in protocols:
                with server(protocol) as deployment:
                    row = ours(deployment, shape, rate_rps, seed=repeat)
                costs[protocol].append(row.cpu_ms)
                say(size_kb, rate_rps, protocol, row)
        http, grpc = (statistics.median(costs[protocol]) for protocol in protocols)
        print(f"{size_kb:4.0f} kB{rate_rps:8.0f}  CPU per request, gRPC to HTTP: {grpc / http:.2f}", flush=True)


def say(size_kb: float, rate_rps: float, client: str, row: Row) -> None:
    figures = f"{row.answered_rps:10.1f}{row.cpu_ms:16.4f}{row.p50_ms:9.2f}{row.p99_ms:9.2f}"
    print(f"{size_kb:4.0f} kB{rate_rps:8.0f}  {client:14s}{figures}  {row.doubts}", flush=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--perf-analyzer", help="the command that runs it; without it only the first table is made")
    options.add_argument("--triton", action="store_true", help="compare on a real Triton server as well")
    options.add_argument("--servers", type=int, default=1, help="server processes of the first table")
    options.add_argument("--ladder", type=rates, default=LADDER_RPS)
    options.add_argument("--rates", type=rates, default=FAST_RATES_RPS)
    options.add_argument("--triton-rates", type=rates, default=TRITON_RATES_RPS)
    asked = options.parse_args()
    machine = f"{len(os.sched_getaffinity(0))} cores of {cpu_model()}, Python {platform.python_version()}"
    print(f"# {machine}; load average at the begin {os.getloadavg()[0]:.1f}")
    print("# Requests per second of one core, open loop (Poisson)")
    columns = f"{'answered':>10s}{'core use':>10s}{COST}{'send lag p99 ms':>17s}{'errors':>8s}  doubts"
    print(f"{'body':>7s}{'rate':>8s}{columns}")
    for floats in (SMALL_FLOATS, LARGE_FLOATS):
        climb(floats, asked.ladder, asked.servers)
    if asked.perf_analyzer:
        print(f"# CPU per request beside perf_analyzer (open loop, Poisson), one cheap server\n{CLIENTS}")
        for floats in (SMALL_FLOATS, LARGE_FLOATS):
            with fast_server(floats, 1) as deployment:
                beside(asked.perf_analyzer, deployment, (floats,), 4 * floats / 1000, asked.rates)
    if asked.triton:
        triton(asked.perf_analyzer, asked.triton_rates)
    print(f"# load average at the end {os.getloadavg()[0]:.1f}")


def triton(command: str | None, rates_rps: Sequence[float]) -> None:
    print(f"# The same on Triton, and there gRPC beside HTTP\n{CLIENTS}")
    if command:
        with server() as deployment:
            for shape, size_kb in BODIES:
                beside(command, deployment, shape, size_kb, rates_rps)
    for shape, size_kb in BODIES:
        grpc_beside_http(shape, size_kb, rates_rps)


def rates(text: str) -> tuple[float, ...]:
    return tuple(map(float, text.split(",")))


if __name__ == "__main__":
    main()
