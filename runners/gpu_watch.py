"""What a server's GPU does while the server runs: readings added up, so that two of the sums can be subtracted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cache

from runners.nvml import GpuNotSeen, GpuReading, NvmlGpu
from runners.sampling import Sampler, Stream
from tuner.domain.deployment import GpuUse

INTERVAL_S = 0.25
logger = logging.getLogger("servetune")


def visible_gpu(variables: Mapping[str, str]) -> str | None:
    """The first GPU that a process with these environment variables may use; None where it may use none.

    Without CUDA_VISIBLE_DEVICES that is the first of the machine. What CUDA does not understand ends its list.
    """
    first = variables.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0].strip()
    return first if first.isdecimal() or first.startswith(("GPU-", "MIG-")) else None


class GpuTally:
    """Readings in the order of time, added up. The first is the origin, from before the server used the card."""

    def __init__(self) -> None:
        self._busy, self._memory_busy, self._throttled, self._clock = Stream(), Stream(), Stream(), Stream()
        self._baseline_bytes: int | None = None
        self._device_peak_bytes: int | None = None
        self._server_peak_bytes: int | None = None
        self._last: GpuReading | None = None

    def add(self, reading: GpuReading, server: Callable[[], Collection[int]]) -> None:
        """`server` tells the server's process numbers; it is asked only where the card shows processes."""
        self._busy.add(reading.busy)
        self._memory_busy.add(reading.memory_busy)
        self._throttled.add(None if reading.throttled is None else ((reading.at_s, float(reading.throttled)),))
        self._clock.add(None if reading.clock_mhz is None else ((reading.at_s, reading.clock_mhz),))
        self._add_memory(reading, server)
        self._last = reading

    def use(self) -> GpuUse | None:
        """The sums so far; None before the first reading."""
        if self._last is None:
            return None
        seen = self._server_peak_bytes is not None
        return GpuUse(
            busy_s=self._busy.spent_s,
            memory_busy_s=self._memory_busy.spent_s,
            throttled_s=self._throttled.spent_s,
            clock_mhz_s=self._clock.spent_s,
            energy_j=self._last.energy_j,
            memory_peak_bytes=self._server_peak_bytes if seen else self._device_peak_bytes,
            memory_limit_bytes=self._last.memory_total_bytes,
            memory_of="server" if seen else "device",
        )

    def _add_memory(self, reading: GpuReading, server: Callable[[], Collection[int]]) -> None:
        pids = server() if reading.memory_by_process else ()
        own = [used for pid, used in reading.memory_by_process if pid in pids]
        if own:
            self._server_peak_bytes = max(sum(own), self._server_peak_bytes or 0)
        if reading.memory_used_bytes is None:
            return
        if self._baseline_bytes is None:
            self._baseline_bytes = reading.memory_used_bytes
        since = max(0, reading.memory_used_bytes - self._baseline_bytes)
        self._device_peak_bytes = max(since, self._device_peak_bytes or 0)


class GpuWatch:
    """One server's GPU, looked at all the time. `facts` are the card's, for the record."""

    def __init__(self, gpu: NvmlGpu, server: Callable[[], Collection[int]]) -> None:
        self._gpu, self._server, self._tally = gpu, server, GpuTally()
        self.facts = gpu.facts()
        self.sampler = Sampler(self._look, interval_s=INTERVAL_S)
        self._look()

    def use(self) -> GpuUse | None:
        """Up to now."""
        self.sampler.now()
        return self._tally.use()

    def _look(self) -> None:
        self._tally.add(self._gpu.read(), self._server)


@contextmanager
def watch_gpu(name: str, server: Callable[[], Collection[int]]) -> Iterator[GpuWatch | None]:
    """Watch a GPU from now on, before the server starts; None, and said once, where it cannot be seen."""
    try:
        gpu = NvmlGpu(name)
    except GpuNotSeen as error:
        _say_once(str(error))
        yield None
        return
    try:
        watch = GpuWatch(gpu, server)
        with watch.sampler:
            yield watch
    finally:
        gpu.close()


@cache
def _say_once(reason: str) -> None:
    logger.warning("results will not tell what the GPU did: %s", reason)
