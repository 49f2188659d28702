"""Latency counts that can be added: percentiles of pooled runs come from here, never from other percentiles."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SIGNIFICANT_BITS = 11


def rounded_up_us(latency_us: int) -> int:
    """The latency rounded up to 11 significant bits: at most 0.1 % above the truth."""
    shift = max(0, latency_us.bit_length() - SIGNIFICANT_BITS)
    return -(-latency_us >> shift) << shift


def nearest_rank(ascending: Sequence[float], percent: float) -> float:
    """Nearest-rank percentile of sorted values (Hyndman-Fan type 1). Raises ValueError if empty.

    The rank is ceil(percent * n / 100), in this order: dividing first is off by one for 7 % of 100.
    """
    if not ascending:
        raise ValueError("no values")
    rank = math.ceil(percent * len(ascending) / 100.0 - 1e-9)
    return ascending[max(rank, 1) - 1]


@dataclass(frozen=True, slots=True)
class LatencyCounts:
    """(microseconds, how many), ascending; `failed` requests count as infinitely late."""

    counts: tuple[tuple[int, int], ...]
    failed: int = 0

    @property
    def total(self) -> int:
        return self.failed + sum(count for _, count in self.counts)

    def percentile_ms(self, percent: float) -> float:
        """Nearest-rank percentile in milliseconds; infinity where it falls on a failure, or nothing was counted."""
        rank = max(1, math.ceil(percent * self.total / 100.0 - 1e-9))
        seen = 0
        for latency_us, count in self.counts:
            seen += count
            if seen >= rank:
                return latency_us / 1000.0
        return math.inf


def count_latencies(latencies_s: Iterable[float]) -> LatencyCounts:
    """Count latencies in seconds; infinite ones are failures."""
    counts: Counter[int] = Counter()
    failed = 0
    for latency_s in latencies_s:
        if math.isinf(latency_s):
            failed += 1
        else:
            counts[rounded_up_us(max(0, math.ceil(latency_s * 1e6)))] += 1
    return LatencyCounts(counts=tuple(sorted(counts.items())), failed=failed)


def add_counts(parts: Iterable[LatencyCounts]) -> LatencyCounts:
    """The counts of several runs as one."""
    total: Counter[int] = Counter()
    failed = 0
    for part in parts:
        total.update(dict(part.counts))
        failed += part.failed
    return LatencyCounts(counts=tuple(sorted(total.items())), failed=failed)
