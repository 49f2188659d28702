"""How often a verdict is wrong, on queues whose true p99 is known. Virtual time only.

`python -m tests.benchmarks.verdicts [RUNS]` prints the table; results/verdicts.txt is its last output.
"""

from __future__ import annotations

import statistics
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tests.benchmarks.queue_laws import SERVICES, WARM_UP, Service, truth_of
from tuner.domain.measurement import tally
from tuner.domain.sequential import LOOKS, fails_already
from tuner.domain.slo import Slo, Verdict, assess

WINDOW_S = 60.0
RATES_RPS = (50.0, 400.0)
RATIOS = (0.7, 0.8, 0.9, 0.98, 1.02, 1.1, 1.3)
COLUMNS = ("PASS", "FAIL", "UNDEC.", "median s")
EFFECTIVE = {False: 2_500, True: 10_000}


@dataclass(frozen=True)
class Test:
    """One test of one window: its verdict, and which part of the window it took."""

    verdict: Verdict
    part: float


def run_test(latencies_s: Sequence[float], limit_s: float) -> Test:
    """As a load generator does it: looked at LOOKS times, ended early only to fail, else judged at the end."""
    slo = Slo(indicator="latency_p99_ms", max=limit_s * 1000.0)
    for look in range(1, LOOKS):
        seen = latencies_s[: len(latencies_s) * look // LOOKS]
        if fails_already(seen, [slo]):
            return Test(assess(tally(slo, seen, [slo])).verdict, look / LOOKS)
    return Test(assess(tally(slo, latencies_s, [slo])).verdict, 1.0)


def windows(service: Service, requests: int, runs: int, seed: int) -> Iterator[list[float]]:
    """Latencies of independent windows in the steady state."""
    source = np.random.default_rng(seed)
    warm_up = min(WARM_UP, 40 * max(25, int(truth_of(service).design_effect)))
    at_once = max(1, min(runs, 2_000_000 // (requests + warm_up)))
    for first in range(0, runs, at_once):
        rows = service.latencies(source, min(at_once, runs - first), requests + warm_up)
        yield from (row[warm_up:].tolist() for row in rows)


def tests_of(service: Service, requests: int, ratios: Sequence[float], runs: int, seed: int) -> dict[float, list[Test]]:
    """The same windows against a limit for each ratio of true p99 to limit."""
    results: dict[float, list[Test]] = {ratio: [] for ratio in ratios}
    for latencies in windows(service, requests, runs, seed):
        for ratio in ratios:
            results[ratio].append(run_test(latencies, truth_of(service).p99 / ratio))
    return results


def line(name: str, requests: int, ratio: float, tests: Sequence[Test]) -> str:
    found = Counter(test.verdict for test in tests)
    shares = "".join(f"{found[verdict] / len(tests):9.2%}" for verdict in Verdict)
    median_s = statistics.median(test.part for test in tests) * WINDOW_S
    return f"{name:34s}{requests:9,d}{ratio:7.2f}{len(tests):7d}{shares}{median_s:9.0f}"


def main(runs: int) -> None:
    head = f"{'service':34s}{'requests':>9s}{'p99/L':>7s}{'tests':>7s}" + "".join(f"{v:>9s}" for v in COLUMNS)
    pooled: dict[float, list[Test]] = {ratio: [] for ratio in RATIOS}
    print(f"Windows of {WINDOW_S:g} s at {' and '.join(map(str, RATES_RPS))} requests per second\n{head}")
    for service in SERVICES:
        for rate_rps in RATES_RPS:
            requests = int(rate_rps * WINDOW_S)
            for ratio, tests in tests_of(service, requests, RATIOS, runs, seed=int(rate_rps)).items():
                pooled[ratio] += tests
                print(line(service.name, requests, ratio, tests), flush=True)
    for ratio, tests in pooled.items():
        print(line("all of them", 0, ratio, tests))
    print(f"\nA window of {EFFECTIVE[False]:,} (light tail) or {EFFECTIVE[True]:,} (heavy) effective requests\n{head}")
    pooled = {ratio: [] for ratio in (0.8, 0.98, 1.02)}
    for service in SERVICES:
        requests = int(EFFECTIVE[service.heavy] * max(1.0, truth_of(service).design_effect))
        for ratio, tests in tests_of(service, requests, tuple(pooled), max(20, runs // 2), seed=7).items():
            pooled[ratio] += tests
            print(line(service.name, requests, ratio, tests), flush=True)
    for ratio, tests in pooled.items():
        print(line("all of them", 0, ratio, tests))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
