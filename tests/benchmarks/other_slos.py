"""The verdicts on the other indicators: percentiles from p50 to p99.9, the share of errors, goodput."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tests.benchmarks.held_out_laws import HELD_OUT
from tests.benchmarks.judged_windows import run_test, windows
from tests.benchmarks.law_truths import truth_of
from tests.benchmarks.queue_laws import SERVICES, Draws
from tuner.domain.slo import PERCENT, Indicator, Slo, Verdict, goodput_slo, judge

REQUESTS = 24_000
LAWS = {service.name: service for service in (*SERVICES, *HELD_OUT)}
NAMES = ("M/M/1 at 70 %", "batches of 8 at 60 %", "no queue, lognormal cv 2", "two replicas M/M/1, random, at 60 %")
RATIOS = (0.6, 0.8, 0.95, 1.05, 1.25, 1.6)
ERRORS = 0.005
OUTAGE = 20.0

Mapped = Callable[[Callable[["Case"], str], Iterable["Case"]], list[str]]


@dataclass(frozen=True)
class Case:
    """One indicator on one law; failures come one by one, or in outages of OUTAGE requests in the mean."""

    indicator: Indicator
    law: str
    outages: bool
    runs: int
    seed: int


def failures(source: np.random.Generator, requests: int, outages: bool) -> Draws:
    """Which requests fail: ERRORS of them."""
    if not outages:
        return source.random(requests) < ERRORS
    up, down = (1.0 - ERRORS) / ERRORS * OUTAGE, OUTAGE
    number = int(4 * requests / (up + down)) + 50
    lengths = np.stack([source.geometric(1.0 / up, number), source.geometric(1.0 / down, number)], axis=1).ravel()
    states = np.repeat(np.arange(2 * number) % 2 == 1, lengths)
    # Somewhere in the middle, where the begin in good health is forgotten.
    first = int(source.integers(int(up), max(int(up) + 1, states.size - requests)))
    return states[first : first + requests]


def slos_of(case: Case, ratio: float) -> list[Slo]:
    """So that `ratio` is true percentile to limit, or true share of bad requests to the share allowed."""
    if case.indicator in PERCENT:
        return [
            Slo(indicator=case.indicator, max=truth_of(LAWS[case.law], PERCENT[case.indicator]).at / ratio * 1000.0)
        ]
    if case.indicator == "error_ratio":
        return [Slo(indicator="error_ratio", max=ERRORS / ratio)]
    bad = 1.0 - (1.0 - ERRORS) * 0.95
    # The p50's own bound is of no interest here: only what it says is late.
    limit = Slo(indicator="latency_p50_ms", max=truth_of(LAWS[case.law], 95.0).at * 1000.0)
    return [goodput_slo(1.0 - bad / ratio), limit]


def judged_verdicts(case: Case, ratios: Sequence[float]) -> dict[float, list[Verdict]]:
    """The same windows against a bound for each ratio."""
    source = np.random.default_rng([case.seed, 77])
    found: dict[float, list[Verdict]] = {ratio: [] for ratio in ratios}
    for latencies in windows(LAWS[case.law], REQUESTS, case.runs, (case.seed, *case.law.encode())):
        failed = case.indicator not in PERCENT and failures(source, REQUESTS, case.outages)
        answers = np.where(failed, np.inf, latencies)
        for ratio, verdicts in found.items():
            tallies, _ = run_test(answers, slos_of(case, ratio))
            verdicts.append(judge(tallies[:1]))
    return found


def judged_row(case: Case) -> str:
    """PASS and FAIL in per cent for every ratio."""
    found = judged_verdicts(case, RATIOS)
    columns = (f"{v.count(Verdict.PASS) / len(v):8.1%}{v.count(Verdict.FAIL) / len(v):7.1%}" for v in found.values())
    kind = "" if case.indicator in PERCENT else ", outages" if case.outages else ", one by one"
    return f"{case.indicator:18s}{case.law + kind:50s}" + "".join(columns)


def other_slo_table(mapped: Mapped, runs: int, seed: int) -> str:
    percentiles: list[Indicator] = ["latency_p50_ms", "latency_p90_ms", "latency_p95_ms", "latency_p99_9_ms"]
    cases = [Case(indicator, name, False, runs, seed) for indicator in percentiles for name in NAMES]
    shares: list[Indicator] = ["error_ratio", "goodput_ratio"]
    cases += [Case(share, name, out, runs, seed) for share in shares for name in NAMES[:2] for out in (False, True)]
    head = f"{'indicator':18s}{'law':50s}" + "".join(f"{f'P {ratio:g}':>8s}{'F':>7s}" for ratio in RATIOS)
    title = f"\nOther SLOs, {REQUESTS:,} requests, {runs} windows: PASS and FAIL by ratio of the truth to the limit"
    return "\n".join([title, head, *mapped(judged_row, cases)])
