"""How often a queue that is offered too much is named, and how often one in its steady state is by mistake."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tests.benchmarks.queue_laws import WARM_UP, Draws, batch_server, bursty_gaps, one_server
from tuner.domain.growth import Growth, growth_of

REQUESTS = (1_000, 3_000, 24_000)
STEADY = (0.6, 0.85)
GROWING = (1.01, 1.05, 1.2)
LIMIT_SHARES = (0.5, 1.0)
STEADY_SKIP = {0.6: 2_000, 0.85: WARM_UP}
PILOT = (100, 20_000)
BATCH = 8

Mapped = Callable[[Callable[["Case"], str], Iterable["Case"]], list[str]]
Arrived = tuple[Draws, Draws]


def queue_of(kind: str, source: np.random.Generator, load: float, runs: int, requests: int) -> Arrived:
    """Gaps and latencies, from an empty queue on."""
    shape = (runs, requests)
    match kind:
        case "M/D/1":
            gaps = source.exponential(1.0 / load, shape)
            return gaps, one_server(gaps, np.ones(shape))
        case "M/M/1":
            gaps = source.exponential(1.0 / load, shape)
            return gaps, one_server(gaps, source.exponential(1.0, shape))
        case "bursts (Gamma, cv 2) /D/1":
            gaps = bursty_gaps(source, runs, requests, load)
            return gaps, one_server(gaps, np.ones(shape))
        case _:
            gaps = source.exponential(12.0 / (load * BATCH), shape)
            return gaps, batch_server(gaps, BATCH)


KINDS = ("M/D/1", "M/M/1", "bursts (Gamma, cv 2) /D/1", "batches of 8")


@dataclass(frozen=True)
class Case:
    kind: str
    load: float
    requests: int
    runs: int
    seed: int


def named_growth(case: Case, limit_shares: Sequence[float]) -> dict[float, Counter[Growth]]:
    """What the windows are called, with the limit at these shares of the p99 of the steady state."""
    source = np.random.default_rng([case.seed, int(1000 * case.load), case.requests, *case.kind.encode()])
    _, pilot = queue_of(case.kind, np.random.default_rng(3), min(case.load, 0.85), *PILOT)
    p99 = float(np.quantile(pilot[:, PILOT[1] // 4 :], 0.99))
    # A queue that grows has no steady state: its warm-up is a tenth of the window, as the tuner's may be.
    skip = STEADY_SKIP.get(case.load, case.requests // 10)
    named: dict[float, Counter[Growth]] = {share: Counter() for share in limit_shares}
    gaps, latencies = queue_of(case.kind, source, case.load, case.runs, case.requests + skip)
    for begun, late in zip(gaps.cumsum(axis=1), latencies, strict=True):
        done = begun + late
        answered = int(((done >= begun[skip]) & (done < begun[-1])).sum()) / case.requests
        for limit_share, counter in named.items():
            counter[growth_of(late[skip:].tolist(), limit_share * p99 * 1000.0, answered)] += 1
    return named


def growth_row(case: Case) -> str:
    """With a limit at half the p99 and at the p99: the tighter, the more matters."""
    named = named_growth(case, LIMIT_SHARES)
    columns = (f"{counter[growth] / case.runs:9.1%}" for counter in named.values() for growth in Growth)
    return f"{case.kind:28s}{case.load:7.0%}{case.requests:9,d}" + "".join(columns)


def growth_table(mapped: Mapped, runs: int, seed: int) -> str:
    cases = [Case(kind, load, n, runs, seed) for load in (*STEADY, *GROWING) for kind in KINDS for n in REQUESTS]
    groups = "".join(f"{growth.name.lower():>9s}" for _ in LIMIT_SHARES for growth in Growth)
    title = f"\nGrowing queues, {runs} windows each: what they are called, with a limit at half the p99 and at the p99"
    return "\n".join([title, f"{'queue':28s}{'load':>7s}{'requests':>9s}{groups}", *mapped(growth_row, cases)])
