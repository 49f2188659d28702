"""Two queues in dimensionless time (mean gap between arrivals = 1): cores, and a batcher in front of one server.

Both are simulated for many settings at once with the same arrivals, so that settings differ by their own merit only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PERCENTS: tuple[float, ...] = (50.0, 90.0, 95.0, 99.0, 99.9)
STATISTICS: tuple[str, ...] = ("p50", "p90", "p95", "p99", "p99_9", "mean", "mean_batch")


@dataclass(frozen=True, slots=True)
class ArrivalFamily:
    """A two-state arrival process: a share of the time at `peak` times the mean rate, `dwell` requests at a stretch.

    `peak` 1 is Poisson; `peak` 0 stands for a constant gap.
    """

    name: str
    peak: float
    dwell: float

    @property
    def smooth(self) -> bool:
        return self.peak <= 1.0


PEAK_SHARE = 0.15
FAMILIES: tuple[ArrivalFamily, ...] = (
    ArrivalFamily("poisson", 1.0, 0.0),
    ArrivalFamily("constant", 0.0, 0.0),
    ArrivalFamily("mild-short", 1.5, 80.0),
    ArrivalFamily("mild-long", 1.5, 1200.0),
    ArrivalFamily("strong-short", 2.4, 80.0),
    ArrivalFamily("strong-long", 2.4, 1200.0),
    ArrivalFamily("spiky-short", 4.0, 80.0),
    ArrivalFamily("spiky-long", 4.0, 1200.0),
)


def arrivals(family: ArrivalFamily, count: int, seed: int) -> Floats:
    """`count` ascending arrival times with mean gap 1 in the long run."""
    source = np.random.default_rng(seed)
    if family.peak == 0.0:
        return np.arange(count, dtype=float)
    gaps = source.exponential(size=count)
    if family.smooth:
        return np.asarray(np.cumsum(gaps))
    return _modulated(family, gaps, source)


def _modulated(family: ArrivalFamily, gaps: Floats, source: np.random.Generator) -> Floats:
    """Unit-rate arrivals, warped through the integral of the modulated rate."""
    low = (1.0 - PEAK_SHARE * family.peak) / (1.0 - PEAK_SHARE)
    peak_span = family.dwell / family.peak
    calm_span = peak_span * (1.0 - PEAK_SHARE) / PEAK_SHARE
    pairs = int(len(gaps) * 3.0 / (peak_span + calm_span)) + 20
    spans = np.column_stack([source.exponential(calm_span, pairs), source.exponential(peak_span, pairs)]).ravel()
    rates = np.tile([low, family.peak], pairs)
    ends = np.concatenate([[0.0], np.cumsum(spans)])
    mass = np.concatenate([[0.0], np.cumsum(spans * rates)])
    return np.asarray(np.interp(np.cumsum(gaps), mass, ends))


def batch_stage(times: Floats, *, cap: Floats, fixed: Floats, slope: Floats, delay: Floats) -> Floats:
    """Per setting, the STATISTICS of the time in a batcher and its server: settings x statistics.

    A batch starts when the server is free and either `cap` requests wait or the oldest has waited `delay`; b requests
    take fixed + slope * b.
    """
    count, settings = len(times), len(cap)
    padded = np.concatenate([times, np.full(int(cap.max()) + 1, np.inf)])
    size = cap.astype(np.int64)
    head = np.zeros(settings, dtype=np.int64)
    free = np.zeros(settings)
    done = np.zeros((settings, count), dtype=np.float32)
    batches = np.zeros(settings)
    live = np.arange(settings)
    while len(live):
        first = head[live]
        full = padded[first + size[live] - 1]
        start = np.maximum(free[live], np.minimum(padded[first] + delay[live], full))
        start = np.where(np.isfinite(start), start, padded[first])
        taken = np.minimum(np.searchsorted(times, start, side="right") - first, size[live])
        free[live] = start + fixed[live] + slope[live] * taken
        done[live, first] = free[live]
        head[live] = first + taken
        batches[live] += 1
        live = live[head[live] < count]
    np.maximum.accumulate(done, axis=1, out=done)
    return _statistics(done - times.astype(np.float32), count / batches)


def core_stage(times: Floats, *, cores: int, service: Floats, spread: Floats) -> Floats:
    """Per mean service time, the STATISTICS (mean batch 1) of the time on `cores` cores that share one queue."""
    free = np.zeros((len(service), cores))
    done = np.empty((len(service), len(times)))
    every = np.arange(len(service))
    for k, (time, amount) in enumerate(zip(times.tolist(), spread.tolist(), strict=True)):
        core = free.argmin(axis=1)
        finished = np.maximum(free[every, core], time) + service * amount
        free[every, core] = finished
        done[:, k] = finished
    return _statistics(done - times, np.ones(len(service)))


def _statistics(waits: NDArray[np.float32] | Floats, mean_batch: Floats) -> Floats:
    percentiles = np.percentile(waits, PERCENTS, axis=1).T
    mean = np.asarray(np.mean(waits, axis=1, dtype=np.float64))
    return np.concatenate([percentiles, mean[:, None], mean_batch[:, None]], axis=1)
