"""A Triton server's /metrics, read all the time: what a reading at the end would have missed."""

from __future__ import annotations

import time
from collections.abc import Callable

from runners.sampling import Sampler, Stream
from runners.triton_metrics import TritonMetrics, parse_metrics
from tuner.domain.deployment import GpuUse

INTERVAL_S = 1.0


class MetricsWatch:
    """Gauges added up or held at their highest; `read` gives the text of /metrics, or None where nothing answers.

    `last` is the last look, None where nothing answered it.
    """

    def __init__(self, read: Callable[[], str | None], model: str) -> None:
        self._read, self._model = read, model
        self.last: TritonMetrics | None = None
        self._pending_peak: int | None = None
        self._memory_peak_bytes: int | None = None
        self._busy = Stream()
        self.sampler = Sampler(self._look, interval_s=INTERVAL_S)

    def take_pending_peak(self) -> int | None:
        """The most requests that waited at any look since this was last asked, now included; None without a look."""
        self.sampler.now()
        peak, self._pending_peak = self._pending_peak, None
        return peak

    def gpu(self) -> GpuUse | None:
        """What the looks so far add up to; None where the server tells nothing of a GPU."""
        last = self.last
        if last is None or (last.gpu_busy_ratio is None and last.gpu_memory_used_bytes is None):
            return None
        return GpuUse(
            busy_s=self._busy.spent_s,
            energy_j=last.gpu_energy_j,
            memory_peak_bytes=self._memory_peak_bytes,
            memory_limit_bytes=last.gpu_memory_total_bytes,
        )

    def _look(self) -> None:
        text = self._read()
        try:
            found = None if text is None else parse_metrics(text, self._model)
        except ValueError:
            found = None
        self.last = found
        if found is None:
            return
        self._pending_peak = _larger(self._pending_peak, found.pending)
        self._memory_peak_bytes = _larger(self._memory_peak_bytes, found.gpu_memory_used_bytes)
        busy = found.gpu_busy_ratio
        self._busy.add(None if busy is None else ((time.monotonic(), busy),))


def _larger(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else max(one, other)
