"""Services whose latencies come from a queue of a known law, in virtual time: the truth that verdicts are held to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Draws = NDArray[np.float64]
Law = Callable[[np.random.Generator, int, int], Draws]
WARM_UP = 10_000


@dataclass(frozen=True)
class Service:
    """`latencies(source, runs, requests)` in units of the mean service time; `heavy` if its tail is no exponential,
    or one of services with a coefficient of variation of 2: beyond the limit its latencies fall off as slowly.

    `whole` if a window has a shape of its own, and needs no warm-up.
    """

    name: str
    latencies: Law
    heavy: bool = False
    whole: bool = False


def one_server(gaps: Draws, work: Draws) -> Draws:
    """Lindley's recursion for every row, by running minima."""
    steps = np.zeros_like(work)
    steps[:, 1:] = work[:, :-1] - gaps[:, 1:]
    walk = np.cumsum(steps, axis=1)
    return walk - np.minimum.accumulate(np.minimum(walk, 0.0), axis=1) + work


def batch_server(gaps: Draws, largest: int = 8, base: float = 4.0, each: float = 1.0, timeout: float = 0.0) -> Draws:
    """One server that takes whatever waits, up to `largest`, and needs base + each * size for it.

    It waits for a full batch until its first request is `timeout` old.
    """
    runs, requests = gaps.shape
    starts = np.concatenate([np.cumsum(gaps, axis=1), np.full((runs, largest + 1), np.inf)], axis=1)
    done, head, free = np.empty((runs, requests)), np.zeros(runs, int), np.zeros(runs)
    while (busy := np.flatnonzero(head < requests)).size:
        first = head[busy]
        full = starts[busy, np.minimum(first + largest - 1, requests + largest)]
        begin = np.maximum(free[busy], np.minimum(starts[busy, first] + timeout, full))
        waiting = starts[busy[:, None], np.minimum(first[:, None] + np.arange(largest), requests + largest)]
        size = (waiting <= begin[:, None]).sum(axis=1)
        end = begin + base + each * size
        for place in range(largest):
            taken = size > place
            done[busy[taken], first[taken] + place] = end[taken]
        head[busy], free[busy] = first + size, end
    return done - starts[:, :requests]


def lognormal(source: np.random.Generator, runs: int, requests: int, cv: float = 2.0) -> Draws:
    variance = np.log1p(cv * cv)
    return source.lognormal(-variance / 2.0, np.sqrt(variance), (runs, requests))


def fixed_service(load: float) -> Law:
    return lambda g, r, n: one_server(g.exponential(1.0 / load, (r, n)), np.ones((r, n)))


def bursty_gaps(source: np.random.Generator, runs: int, requests: int, load: float) -> Draws:
    """Gamma gaps with a coefficient of variation of 2."""
    return source.gamma(0.25, 4.0 / load, (runs, requests))


def two_phases(source: np.random.Generator, runs: int, requests: int, load: float) -> Draws:
    """Poisson arrivals that are four times as fast in every other phase; a phase lasts 100 requests in the mean."""
    changes = source.random((runs, requests)) < 0.01
    slow = (np.cumsum(changes, axis=1) + source.integers(0, 2, (runs, 1))) % 2
    return source.exponential(1.0 / load, (runs, requests)) * np.where(slow, 4.0, 1.0) / 2.5


SERVICES = (
    Service("M/D/1 at 30 %", fixed_service(0.30)),
    Service("M/D/1 at 60 %", fixed_service(0.60)),
    Service("M/D/1 at 85 %", fixed_service(0.85)),
    Service("M/M/1 at 70 %", lambda g, r, n: one_server(g.exponential(1 / 0.7, (r, n)), g.exponential(1.0, (r, n)))),
    Service(
        "bursts (Gamma, cv 2) /D/1 at 60 %", lambda g, r, n: one_server(bursty_gaps(g, r, n, 0.6), np.ones((r, n)))
    ),
    Service("two phases /D/1 at 45 %", lambda g, r, n: one_server(two_phases(g, r, n, 0.45), np.ones((r, n)))),
    Service("batches of 8 at 60 %", lambda g, r, n: batch_server(g.exponential(12 / (0.6 * 8), (r, n)))),
    Service("batches of 8 at 85 %", lambda g, r, n: batch_server(g.exponential(12 / (0.85 * 8), (r, n)))),
    Service(
        "M/G/1 lognormal cv 2 at 40 %",
        lambda g, r, n: one_server(g.exponential(1 / 0.4, (r, n)), lognormal(g, r, n)),
        heavy=True,
    ),
    Service(
        "M/G/1 Pareto 3.5 at 50 %",
        lambda g, r, n: one_server(g.exponential(2.0, (r, n)), (g.pareto(3.5, (r, n)) + 1.0) * 2.5 / 3.5),
        heavy=True,
    ),
    Service("no queue, lognormal cv 2", lognormal, heavy=True),
)
