"""What limits a service, as far as one measurement shows: a named bottleneck with its evidence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tuner.domain.measurement import GENERATOR_CPU_LIMIT, Doubt, Measurement

NEARLY_ALL = 0.9
HARDLY_BUSY = 0.5
THROTTLED_SHARE = 0.1
MEMORY_SHARE = 0.95
MEMORY_BUSY_SHARE = 0.8
QUEUE_SHARE = 0.5
NOTHING_TOLD = "the server's own figures were not to be had"
GENERATOR_DOUBTS = frozenset({Doubt.SEND_LAG, Doubt.GENERATOR_CPU, Doubt.NOT_SENT, Doubt.WORKER_LOST, Doubt.START_SKEW})


class Bottleneck(StrEnum):
    """What more of would help."""

    GENERATOR = "generator-bound"
    MEMORY = "memory-bound"
    CPU_STARVED_GPU = "CPU-starved GPU"
    CPU = "CPU-bound"
    GPU = "GPU-bound"
    QUEUEING = "queueing"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The bottleneck, and the figures that show it."""

    bottleneck: Bottleneck
    evidence: str

    @property
    def known(self) -> bool:
        return self.bottleneck is not Bottleneck.UNKNOWN

    def __str__(self) -> str:
        return f"{self.bottleneck}: {self.evidence}" if self.known else self.evidence


def diagnose(measurement: Measurement) -> Diagnosis:
    """The first cause that the figures show, in an order in which each would hide those after it.

    UNKNOWN where nothing is exhausted, or nobody sees what would show it; its evidence says which.
    """
    for bottleneck, evidence_of in _CAUSES:
        evidence = evidence_of(measurement)
        if evidence:
            return Diagnosis(bottleneck=bottleneck, evidence=evidence)
    return Diagnosis(bottleneck=Bottleneck.UNKNOWN, evidence=_nothing(measurement))


def diagnose_all(measurements: Sequence[Measurement]) -> Diagnosis | None:
    """What most of several measurements of one configuration show, with the figures of the first that does.

    None without measurements.
    """
    found = [diagnose(measurement) for measurement in measurements]
    if not found:
        return None
    most, times = Counter(one.bottleneck for one in found).most_common(1)[0]
    first = next(one for one in found if one.bottleneck is most)
    if times == len(found):
        return first
    return Diagnosis(bottleneck=most, evidence=f"{first.evidence}; so on {times} of {len(found)} deployments")


def cpu_cores_used(seen: Measurement) -> float | None:
    """Mean number of cores the server kept busy while it was under load; None where nobody could see."""
    under_load_s = seen.loaded_s or seen.telemetry.at_s
    return None if seen.telemetry.cpu_s is None or not under_load_s else seen.telemetry.cpu_s / under_load_s


def cpu_throttled_ratio(seen: Measurement) -> float | None:
    """Share of the scheduler's periods in which the server had used up its quota and had to stop."""
    at = seen.telemetry
    return at.throttled_periods / at.periods if at.periods and at.throttled_periods is not None else None


def gpu_busy_ratio(seen: Measurement) -> float | None:
    """Share of the time under load in which the server's GPU computed."""
    return _gpu_share(seen, None if seen.telemetry.gpu is None else seen.telemetry.gpu.busy_s)


def gpu_throttled_ratio(seen: Measurement) -> float | None:
    """Share of the time under load in which the GPU's clocks were held down."""
    return _gpu_share(seen, None if seen.telemetry.gpu is None else seen.telemetry.gpu.throttled_s)


def queue_ratio(seen: Measurement) -> float | None:
    """Share of the requests' time in the server that they spent waiting to be executed."""
    queue_s, compute_s = seen.telemetry.queue_s, seen.telemetry.compute_s
    return None if queue_s is None or not compute_s else queue_s / (queue_s + compute_s)


def _gpu_share(seen: Measurement, spent_s: float | None) -> float | None:
    under_load_s = seen.loaded_s or seen.telemetry.at_s
    return None if spent_s is None or not under_load_s else min(1.0, spent_s / under_load_s)


def _generator(seen: Measurement) -> str:
    doubts = ", ".join(doubt for doubt in seen.doubts if doubt in GENERATOR_DOUBTS)
    lag = f"{doubts}: requests left {seen.send_lag_p99_ms:.1f} ms late (p99)"
    use = _percent(seen.generator_cpu_ratio)
    if Doubt.SEND_LAG in seen.doubts and seen.generator_cpu_ratio < GENERATOR_CPU_LIMIT:
        return f"{lag} though the generator used only {use} of a core: something kept it from running"
    return doubts and f"{lag}, the generator used {use} of a core"


def _memory(seen: Measurement) -> str:
    """Files that the kernel keeps are given back when memory is wanted, so the working set counts where it is known."""
    at = seen.telemetry
    used = at.memory_peak_bytes if at.working_set_bytes is None else at.working_set_bytes
    if used is not None and at.memory_limit_bytes and used >= MEMORY_SHARE * at.memory_limit_bytes:
        return f"the server uses {_percent(used / at.memory_limit_bytes)} of the memory it may have"
    reading = _gpu_share(seen, None if at.gpu is None else at.gpu.memory_busy_s)
    if reading is not None and reading >= MEMORY_BUSY_SHARE:
        return f"the GPU's memory is read or written {_percent(reading)} of the time"
    return ""


def _cpu(seen: Measurement) -> str:
    held, use = cpu_throttled_ratio(seen), _cpu_use(seen)
    said = f"throttled in {_percent(held)} of periods" if held is not None and held >= THROTTLED_SHARE else ""
    if use is not None and (said or use >= NEARLY_ALL):
        limit = seen.telemetry.cpu_limit_cores or 0.0
        said += (", " if said else "") + f"{_percent(use)} of {_cores(limit)} busy"
    return said


def _cpu_use(seen: Measurement) -> float | None:
    """The share of its cores that the server used; the kernel lets a quota be overdrawn for a moment."""
    used, limit = cpu_cores_used(seen), seen.telemetry.cpu_limit_cores
    return None if used is None or not limit else min(1.0, used / limit)


def _cpu_starved_gpu(seen: Measurement) -> str:
    busy, cpu = gpu_busy_ratio(seen), _cpu(seen)
    return (
        f"{cpu}, while the GPU is busy {_percent(busy)} of the time"
        if cpu and busy is not None and (busy < HARDLY_BUSY)
        else ""
    )


def _gpu(seen: Measurement) -> str:
    busy, held = gpu_busy_ratio(seen), gpu_throttled_ratio(seen)
    if busy is None or busy < NEARLY_ALL:
        return ""
    slowed = f", its clocks held down {_percent(held)} of it" if held is not None and held >= THROTTLED_SHARE else ""
    return f"the GPU is busy {_percent(busy)} of the time{slowed}"


def _queueing(seen: Measurement) -> str:
    waiting = queue_ratio(seen)
    if waiting is not None and waiting > QUEUE_SHARE:
        return f"requests spend {_percent(waiting)} of their time in the server's queue"
    return "more came in than was finished: the queue grew" if Doubt.OVERSATURATED in seen.doubts else ""


def _nothing(seen: Measurement) -> str:
    """How far from used up what was seen is, and what nobody could see."""
    use, busy, waiting = _cpu_use(seen), gpu_busy_ratio(seen), queue_ratio(seen)
    parts = [
        "" if use is None else f"{_percent(use)} of {_cores(seen.telemetry.cpu_limit_cores or 0.0)} busy",
        "" if busy is None else f"the GPU busy {_percent(busy)} of the time",
        "" if waiting is None else f"{_percent(waiting)} of the requests' time spent queueing",
    ]
    told = ", ".join(part for part in parts if part)
    if not told:
        return NOTHING_TOLD
    hidden = ", its CPU not to be seen" if use is None else ""
    return f"nothing that was seen is used up: {told}{hidden}"


def _percent(ratio: float) -> str:
    return f"{ratio * 100.0:.0f} %"


def _cores(number: float) -> str:
    return f"{number:g} core" if number == 1 else f"{number:g} cores"


_CAUSES: tuple[tuple[Bottleneck, Callable[[Measurement], str]], ...] = (
    (Bottleneck.GENERATOR, _generator),
    (Bottleneck.MEMORY, _memory),
    (Bottleneck.CPU_STARVED_GPU, _cpu_starved_gpu),
    (Bottleneck.CPU, _cpu),
    (Bottleneck.GPU, _gpu),
    (Bottleneck.QUEUEING, _queueing),
)
