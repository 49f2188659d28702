"""The load engine and perf_analyzer on one Triton server, open loop, side by side: latency and CPU per request.

`python -m tests.benchmarks.against_perf_analyzer PERF_ANALYZER [CAPACITY_RPS]` prints the table; PERF_ANALYZER is a
command that runs it (perf_analyzer needs a newer C library than Debian 12 has: run it through that library's loader).
The model is examples/quickstart/cls.onnx: a body is 111 kB of FP32, or 9 kB of a narrow picture.
"""

from __future__ import annotations

import csv
import math
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from load_profiles.locust_generator import LocustLoadGenerator
from tests.local_triton import IMAGE_SHAPE, local_runner
from tuner.domain.deployment import Deployment, KserveProtocol, Telemetry
from tuner.domain.load import LoadProfile, Payload
from tuner.domain.measurement import measure
from tuner.domain.space import Configuration

REPEATS = 2
WINDOW_S = 8.0
SHARES = (0.2, 0.5, 0.8)
SMALL_SHAPE = (3, 48, 16)
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


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


def main(command: str, capacity_rps: float) -> None:
    columns = f"{'answered':>9s}{'p50 ms':>9s}{'p99 ms':>9s}{'CPU ms/request':>16s}  doubts"
    print(f"{'body':>7s}{'rate':>6s}  {'client':14s}{columns}")
    with server() as deployment:
        for shape in (IMAGE_SHAPE, SMALL_SHAPE):
            for share in SHARES:
                compare(command, deployment, shape, share * capacity_rps)


def compare(command: str, deployment: Deployment, shape: tuple[int, ...], rate_rps: float) -> None:
    """Both clients in turn, REPEATS times, and the ratio of what they cost."""
    costs: dict[str, list[float]] = {"perf_analyzer": [], "servetune": []}
    head = f"{4 * math.prod(shape) / 1000:4.0f} kB{rate_rps:6.0f}  "
    for repeat in range(REPEATS):
        rows = {
            "perf_analyzer": theirs(command, deployment, shape, rate_rps),
            "servetune": ours(deployment, shape, rate_rps, seed=repeat),
        }
        for client, row in rows.items():
            costs[client].append(row.cpu_ms)
            figures = f"{row.answered_rps:9.1f}{row.p50_ms:9.2f}{row.p99_ms:9.2f}{row.cpu_ms:16.3f}"
            print(f"{head}{client:14s}{figures}  {row.doubts}", flush=True)
    ratio = sum(costs["servetune"]) / sum(costs["perf_analyzer"])
    print(f"{head}CPU per request, ours to theirs: {ratio:.2f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 200.0)
