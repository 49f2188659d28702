"""The only importer of pynvml: one GPU as its driver describes it. Reads, never sets.

The library is loaded when a GPU is looked for, so that a machine without one needs no driver. A figure that a card, a
driver or a MIG instance does not tell is None. Source: NVIDIA's NVML API reference.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from runners.sampling import Shares

Told = TypeVar("Told")
SAMPLE_FIELDS = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")


class GpuNotSeen(Exception):
    """There is no driver, or no such GPU; the message says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    """What the card says now. `at_s` is monotonic.

    `busy` and `memory_busy` are what is new since the reading before: pairs of a time in seconds (of any origin) and
    the share of the time up to then, from the pair before, in which it computed or its memory was read or written.
    `memory_by_process` has process numbers as the driver knows them: those of the host, not of a container.
    """

    at_s: float
    busy: Shares | None = None
    memory_busy: Shares | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    memory_by_process: tuple[tuple[int, int], ...] = ()
    energy_j: float | None = None
    clock_mhz: float | None = None
    throttled: bool | None = None


class NvmlGpu:
    """One GPU or MIG instance, by index, `GPU-...` or `MIG-...` as in CUDA_VISIBLE_DEVICES.

    Indices count in the order of the PCI bus, which is CUDA's where all cards are of one kind.
    """

    def __init__(self, name: str) -> None:
        """Raises GpuNotSeen."""
        try:
            import pynvml
        except ImportError as error:
            raise GpuNotSeen(f"nvidia-ml-py is not installed: {error}") from error
        self._nvml: Any = pynvml
        self._seen_us: dict[int, int] = {}
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            raise GpuNotSeen(f"the NVIDIA driver cannot be asked: {error}") from error
        try:
            self._handle, self._card = self._find(name)
        except pynvml.NVMLError as error:
            pynvml.nvmlShutdown()
            raise GpuNotSeen(f"no GPU {name!r}: {error}") from error
        self._shares_of = (
            self._stream(pynvml.NVML_GPU_UTILIZATION_SAMPLES, "gpu"),
            self._stream(pynvml.NVML_MEMORY_UTILIZATION_SAMPLES, "memory"),
        )

    def close(self) -> None:
        """The GPU is not asked any more. Once."""
        self._nvml.nvmlShutdown()

    def facts(self) -> tuple[tuple[str, str], ...]:
        """The card's name, its driver, and whether the card is divided, for the record."""
        nvml = self._nvml
        told = (
            ("gpu", self._told(lambda: str(nvml.nvmlDeviceGetName(self._handle)))),
            ("gpu_driver", self._told(lambda: str(nvml.nvmlSystemGetDriverVersion()))),
            ("gpu_mig", self._told(lambda: ("off", "on")[nvml.nvmlDeviceGetMigMode(self._card)[0]])),
        )
        return tuple((name, text) for name, text in told if text is not None)

    def read(self) -> GpuReading:
        """Everything at once; takes a few milliseconds."""
        nvml, (busy, memory_busy) = self._nvml, self._shares_of
        memory = self._told(lambda: nvml.nvmlDeviceGetMemoryInfo(self._handle))
        return GpuReading(
            at_s=time.monotonic(),
            busy=busy(),
            memory_busy=memory_busy(),
            memory_used_bytes=None if memory is None else int(memory.used),
            memory_total_bytes=None if memory is None else int(memory.total),
            memory_by_process=self._told(self._memory_by_process) or (),
            energy_j=self._told(self._energy_j) if self._is_whole else None,
            clock_mhz=self._told(lambda: float(nvml.nvmlDeviceGetClockInfo(self._card, nvml.NVML_CLOCK_SM))),
            throttled=self._told(self._throttled),
        )

    @property
    def _is_whole(self) -> bool:
        """False for a MIG instance: what a card uses in all says nothing of one of its parts."""
        return self._handle is self._card

    def _find(self, name: str) -> tuple[Any, Any]:
        """The device, and the card it is on."""
        nvml = self._nvml
        if name.isdecimal():
            handle = nvml.nvmlDeviceGetHandleByIndex(int(name))
            return handle, handle
        handle = nvml.nvmlDeviceGetHandleByUUID(name)
        if name.startswith("MIG"):
            return handle, nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)
        return handle, handle

    def _told(self, ask: Callable[[], Told]) -> Told | None:
        """None where the card, the driver or our rights do not answer the question."""
        try:
            return ask()
        except self._nvml.NVMLError:
            return None

    def _stream(self, kind: int, rate: str) -> Callable[[], Shares | None]:
        """The driver's own buffer of samples, which misses nothing; where it has none, its latest mean.

        Decided once, for the two tell the time differently.
        """
        if self._told(lambda: self._samples(kind)) is not None:
            return lambda: self._told(lambda: self._samples(kind))

        def latest() -> Shares:
            ratio = getattr(self._nvml.nvmlDeviceGetUtilizationRates(self._handle), rate) / 100.0
            return ((time.monotonic(), ratio),)

        return lambda: self._told(latest)

    def _samples(self, kind: int) -> Shares:
        """Those after the last one seen. Raises NVMLError."""
        nvml, last_us = self._nvml, self._seen_us.get(kind, 0)
        try:
            value_type, samples = nvml.nvmlDeviceGetSamples(self._handle, kind, last_us)
        except nvml.NVMLError_NotFound:  # nothing new
            return ()
        field = SAMPLE_FIELDS[value_type]
        pairs = sorted((int(one.timeStamp), float(getattr(one.sampleValue, field))) for one in samples)
        new = [(at_us, percent) for at_us, percent in pairs if at_us > last_us]
        if new:
            self._seen_us[kind] = new[-1][0]
        return tuple((at_us / 1e6, min(percent, 100.0) / 100.0) for at_us, percent in new)

    def _memory_by_process(self) -> tuple[tuple[int, int], ...]:
        found = self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle)
        return tuple((int(one.pid), int(one.usedGpuMemory)) for one in found if one.usedGpuMemory is not None)

    def _energy_j(self) -> float:
        """Since the driver was loaded; the card counts millijoules."""
        return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._card)) / 1000.0

    def _throttled(self) -> bool:
        """Whether clocks are held down by what nobody chose: power, heat, or the supply."""
        nvml = self._nvml
        held_down = (
            nvml.nvmlClocksEventReasonSwPowerCap
            | nvml.nvmlClocksEventReasonHwSlowdown
            | nvml.nvmlClocksEventReasonSwThermalSlowdown
            | nvml.nvmlClocksEventReasonHwThermalSlowdown
            | nvml.nvmlClocksEventReasonHwPowerBrakeSlowdown
        )
        return bool(nvml.nvmlDeviceGetCurrentClocksEventReasons(self._card) & held_down)
