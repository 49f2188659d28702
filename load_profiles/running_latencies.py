"""A running percentile for whoever watches a run. Door to hdrhistogram.

Nothing is judged by it: the verdict rests on the raw samples, which are all kept.
"""

from __future__ import annotations

import math

from hdrh.histogram import HdrHistogram

HIGHEST_US = 3_600_000_000
SIGNIFICANT_DIGITS = 3


class RunningLatencies:
    """Latencies in microseconds so far; failed requests are infinitely late."""

    def __init__(self) -> None:
        self._histogram = HdrHistogram(1, HIGHEST_US, SIGNIFICANT_DIGITS)

    def record(self, latency_s: float) -> None:
        """Count one latency; infinity is a failure."""
        self._histogram.record_value(HIGHEST_US if math.isinf(latency_s) else max(1, int(latency_s * 1e6)))

    def percentile_ms(self, percent: float) -> float:
        """In milliseconds, at most 0.1 % off; infinity where it falls on a failure."""
        latency_us = float(self._histogram.get_value_at_percentile(percent))
        # The histogram answers with the top of a bucket, so its highest value comes back rounded up.
        return math.inf if latency_us >= HIGHEST_US else latency_us / 1000.0
