"""Services that no constant of the verdicts was chosen on: other arrivals, several servers, stalls, alike services."""

from __future__ import annotations

import numpy as np

from tests.benchmarks.queue_laws import Draws, Service, batch_server, lognormal, one_server


def many_servers(gaps: Draws, work: Draws, servers: int) -> Draws:
    """Kiefer and Wolfowitz' recursion for all rows at once: what each server still has to do, ascending."""
    left = np.zeros((servers, gaps.shape[0]))
    gaps_by_step, work_by_step = np.ascontiguousarray(gaps.T), np.ascontiguousarray(work.T)
    waits = np.empty_like(gaps_by_step)
    for step, (gap, job) in enumerate(zip(gaps_by_step, work_by_step, strict=True)):
        left -= gap
        np.maximum(left, 0.0, out=left)
        waits[step] = left[0]
        moved = left[0] + job
        for server in range(1, servers):
            other = left[server]
            left[server - 1], moved = np.minimum(moved, other), np.maximum(moved, other)
        left[-1] = moved
    return (waits + work_by_step).T


def hyperexponential(source: np.random.Generator, runs: int, requests: int) -> Draws:
    """A mean of 1 and a squared coefficient of variation of 4: one request in ten takes a mean of 4.67."""
    long = source.random((runs, requests)) < 0.1
    return source.exponential(1.0, (runs, requests)) * np.where(long, 4.674, 0.592)


def autoregressive(source: np.random.Generator, runs: int, requests: int, alike: float = 0.9) -> Draws:
    """Lognormal services with a coefficient of variation of 1; their logarithms are an AR(1) series."""
    from scipy.signal import lfilter

    noise = source.normal(0.0, np.sqrt(1.0 - alike * alike), (runs, requests))
    noise[:, 0] /= np.sqrt(1.0 - alike * alike)
    variance = np.log(2.0)
    return np.exp(np.sqrt(variance) * lfilter([1.0], [1.0, -alike], noise, axis=1) - variance / 2.0)


def modulated_gaps(source: np.random.Generator, runs: int, requests: int, load: float) -> Draws:
    """MMPP: Poisson arrivals at 1.6 and 0.4 times the mean rate, in phases of 20 requests in the mean each."""
    changes = source.random((runs, requests)) < 0.05
    fast = (np.cumsum(changes, axis=1) + source.integers(0, 2, (runs, 1))) % 2
    # Both phases last as many requests, so the mean gap is that of the two means.
    return source.exponential(1.0 / load, (runs, requests)) * np.where(fast, 0.4, 1.6)


def on_off_gaps(source: np.random.Generator, runs: int, requests: int, load: float) -> Draws:
    """Trains of 20 requests in the mean at twice the mean rate, then a silence of exponential length."""
    ends = source.random((runs, requests)) < 0.05
    return source.exponential(0.5 / load, (runs, requests)) + ends * source.exponential(10.0 / load, (runs, requests))


def daily_gaps(source: np.random.Generator, runs: int, requests: int, load: float) -> Draws:
    """One day in one window: the rate goes from 0.4 of its mean to 1.6 and back."""
    marks = source.exponential(1.0, (runs, requests)).cumsum(axis=1)
    grid = np.linspace(0.0, 1.5, 30_001)
    passed = (grid - 0.6 * np.sin(2 * np.pi * grid) / (2 * np.pi)) * requests
    starts = np.interp(marks, passed, grid * requests / load)
    return np.diff(starts, axis=1, prepend=0.0)


def with_stalls(gaps: Draws, work: Draws, source: np.random.Generator, every: float, length: float) -> Draws:
    """One server that stands still for `length` after every 0.5 to 1.5 of `every` (evenly distributed) it was there.

    Lindley's recursion in the time in which it is there; arrivals during a stall come all at its end.
    """
    starts = gaps.cumsum(axis=1)
    out = np.empty_like(work)
    for row in range(gaps.shape[0]):
        there = (source.uniform(0.5, 1.5, int(2 * starts[row, -1] / every) + 10) * every).cumsum()
        begins = there + length * np.arange(there.size)
        before = np.searchsorted(begins, starts[row])
        into = np.where(before > 0, starts[row] - begins[before - 1], length)
        arrived = starts[row] - length * before + np.maximum(length - into, 0.0)
        gaps_there = np.diff(arrived, prepend=0.0)[None]
        finished = arrived + one_server(gaps_there, work[row : row + 1])[0]
        out[row] = finished + length * np.searchsorted(there, finished) - starts[row]
    return out


def random_replica(gaps: Draws, work: Draws, source: np.random.Generator) -> Draws:
    """Two servers with queues of their own; a coin decides."""
    first = source.random(gaps.shape) < 0.5
    # What the other queue gets is work of 0 here: the queue only passes time by.
    queues = [one_server(gaps, np.where(mine, work, 0.0)) for mine in (first, ~first)]
    return np.where(first, queues[0], queues[1])


def exponential(source: np.random.Generator, runs: int, requests: int, mean: float) -> Draws:
    return source.exponential(mean, (runs, requests))


HELD_OUT = (
    Service(
        "M/H2/1 cv 2 at 50 %",
        lambda g, r, n: one_server(exponential(g, r, n, 2.0), hyperexponential(g, r, n)),
        heavy=True,
    ),
    Service(
        "MMPP/M/2 at 60 %",
        lambda g, r, n: many_servers(modulated_gaps(g, r, n, 1.2), exponential(g, r, n, 1.0), 2),
    ),
    Service(
        "batches of 8, timeout 6, at 70 %",
        lambda g, r, n: batch_server(exponential(g, r, n, 12 / (0.7 * 8)), timeout=6.0),
    ),
    Service("on-off /D/1 at 60 %", lambda g, r, n: one_server(on_off_gaps(g, r, n, 0.6), np.ones((r, n)))),
    Service(
        "one day /D/1 at 50 % (peak 80 %)",
        lambda g, r, n: one_server(daily_gaps(g, r, n, 0.5), np.ones((r, n))),
        whole=True,
    ),
    Service(
        "M/M/1 with stalls of 15 at 50 %",
        lambda g, r, n: with_stalls(exponential(g, r, n, 2.0), exponential(g, r, n, 1.0), g, every=600.0, length=15.0),
    ),
    Service(
        "two replicas M/M/1, random, at 60 %",
        lambda g, r, n: random_replica(exponential(g, r, n, 1 / 1.2), exponential(g, r, n, 1.0), g),
    ),
    Service(
        "D/G/4 lognormal cv 2 at 70 %",
        lambda g, r, n: many_servers(np.full((r, n), 1 / 2.8), lognormal(g, r, n), 4),
        heavy=True,
    ),
    Service(
        "M/G/1 AR lognormal cv 1 at 40 %",
        lambda g, r, n: one_server(exponential(g, r, n, 2.5), autoregressive(g, r, n)),
        heavy=True,
    ),
)
