"""Windows of latencies from a known law, judged as the tuner judges them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tests.benchmarks.law_truths import truth_of, warm_up_of
from tests.benchmarks.queue_laws import Draws, Service
from tuner.domain.measurement import PIECES_OF_A_SHAPE, tally
from tuner.domain.sequential import LOOKS, fails_already
from tuner.domain.slo import CONFIDENCE, PERCENT, Indicator, Slo, Tally, Verdict, assess, judge, pool
from tuner.domain.statistics import binomial_lower_tail

AT_ONCE = 24_000_000
P99: Indicator = "latency_p99_ms"


@dataclass(frozen=True, slots=True)
class JudgedWindow:
    """One test of one window: its verdict, which part of the window it took, and what there was to see in it.

    `known` is whether the window passed, were the true design effect known.
    """

    verdict: Verdict
    part: float
    known: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """So many windows of one law, each against a limit for each ratio of true percentile to limit."""

    service: Service
    requests: int
    ratios: tuple[float, ...]
    runs: int
    seed: tuple[int, ...]
    indicator: Indicator = P99
    pooled: int = 1


def run_test(latencies_s: Draws, slos: Sequence[Slo], pieces: int = 1) -> tuple[tuple[Tally, ...], float]:
    """As a load generator does it: looked at LOOKS times, ended early only to fail, else judged at the end.

    A window whose load has a shape, judged in `pieces`, is never ended early.
    """
    for look in range(1, LOOKS if pieces == 1 else 1):
        seen = latencies_s[: len(latencies_s) * look // LOOKS]
        if fails_already(seen, slos):
            return tuple(tally(slo, seen, slos, pieces) for slo in slos), look / LOOKS
    return tuple(tally(slo, latencies_s, slos, pieces) for slo in slos), 1.0


def windows(service: Service, requests: int, runs: int, seed: Sequence[int]) -> Iterator[Draws]:
    """Latencies of independent windows in the steady state."""
    source = np.random.default_rng(list(seed))
    # Forty times as long as neighbours are alike: an empty queue at the start is forgotten.
    skip = min(warm_up_of(service), 40 * max(25, int(truth_of(service).design_effect)))
    at_once = max(1, min(runs, AT_ONCE // (requests + skip)))
    for first in range(0, runs, at_once):
        yield from service.latencies(source, min(at_once, runs - first), requests + skip)[:, skip:]


def judged(cell: Cell) -> dict[float, list[JudgedWindow]]:
    """The same windows against every limit; `pooled` of them in a row are judged as the runs of one proof."""
    truth = truth_of(cell.service, PERCENT[cell.indicator])
    results: dict[float, list[JudgedWindow]] = {ratio: [] for ratio in cell.ratios}
    pieces = PIECES_OF_A_SHAPE if cell.service.whole else 1
    group: list[Draws] = []
    for latencies in windows(cell.service, cell.requests, cell.runs * cell.pooled, cell.seed):
        group.append(latencies)
        if len(group) == cell.pooled:
            for ratio, found in results.items():
                slo = Slo(indicator=cell.indicator, max=truth.at / ratio * 1000.0)
                found.append(_judge_group(group, slo, truth.design_effect, pieces))
            group = []
    return results


def _judge_group(group: Sequence[Draws], slo: Slo, effect: float, pieces: int) -> JudgedWindow:
    tests = [run_test(latencies, [slo], pieces) for latencies in group]
    if len(group) > 1 or tests[0][1] < 1.0:
        part = sum(part for _, part in tests) / len(tests)
        return JudgedWindow(judge(pool([tallies for tallies, _ in tests])), part)
    one = tests[0][0][0]
    effect = max(1.0, effect)
    known = binomial_lower_tail(one.bad / effect, one.requests / effect, slo.allowed_share) <= 1.0 - CONFIDENCE
    return JudgedWindow(assess(one).verdict, 1.0, known)
