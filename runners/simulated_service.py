"""A virtual model on virtual hardware: what a configuration's replica takes in time and memory.

These equations belong to the simulated runner alone: no optimizer may import them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields

from runners.queue_simulation import ServicePlan
from tuner.domain.cost import Footprint
from tuner.domain.errors import InfeasibleConfiguration, UsageError
from tuner.domain.space import Configuration, KnobValue

GIB = 2**30
KNOBS = frozenset(
    {
        "cpu_cores",
        "memory_gib",
        "gpu_type",
        "gpu_memory_share",
        "max_batch_size",
        "preferred_batch_size",
        "queue_delay_ms",
        "instances",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuType:
    """`tflops` dense FP16 on tensor cores, `gbps` memory bandwidth in 10^9 bytes a second, `sms` multiprocessors."""

    memory_gib: float
    tflops: float
    gbps: float
    sms: int


# Typed by hand after NVIDIA's public datasheets, not fetched: T4 (DS-09256), L4 and L40S (product briefs 2023), A10 and
# A30 (2021), V100 SXM2 (2020), A100 40 GB PCIe and 80 GB SXM (2021), H100 SXM (2023). Dense figures: half of those
# printed "with sparsity".
GPU_TYPES: dict[str, GpuType] = {
    "T4": GpuType(memory_gib=16, tflops=65, gbps=320, sms=40),
    "L4": GpuType(memory_gib=24, tflops=121, gbps=300, sms=58),
    "A10": GpuType(memory_gib=24, tflops=125, gbps=600, sms=72),
    "A30": GpuType(memory_gib=24, tflops=165, gbps=933, sms=56),
    "V100": GpuType(memory_gib=16, tflops=125, gbps=900, sms=80),
    "L40S": GpuType(memory_gib=48, tflops=362, gbps=864, sms=142),
    "A100-40GB": GpuType(memory_gib=40, tflops=312, gbps=1555, sms=108),
    "A100-80GB": GpuType(memory_gib=80, tflops=312, gbps=2039, sms=108),
    "H100": GpuType(memory_gib=80, tflops=989, gbps=3350, sms=132),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualModel:
    """The simulated service: `runner.options` of a study, by these names.

    The defaults describe an image classifier of the size of ViT-L/16 at 224 pixels (304 M parameters in FP16, 61.6 G
    multiply-adds an image by torchvision's table) behind JPEG decoding; without a GPU, `cpu_ms_per_item` is the model.
    """

    gflop_per_item: float = 123.0
    weights_gib: float = 0.57
    context_gib: float = 0.5  # CUDA context and workspace of one instance
    activation_gib_per_item: float = 0.06
    traffic_gib_per_item: float = 0.12  # memory moved for one item beside the weights
    sms_per_item: float = 12.0  # multiprocessors that one item keeps busy: what batching fills
    gpu_efficiency: float = 0.45  # share of the datasheet's figures that kernels reach
    gpu_overlap: float = 0.2  # extra work done when instances overlap copies with kernels
    batch_overhead_ms: float = 1.5
    batch_cv: float = 0.03
    cpu_ms_per_item: float = 8.0
    cpu_cv: float = 0.35
    host_memory_gib: float = 1.0
    host_memory_gib_per_instance: float = 0.5
    network_ms: float = 0.4
    ready_s: float = 10.0
    teardown_s: float = 1.0
    node_spread: float = 0.015  # coefficient of variation of speed from one deployment to the next


def virtual_model(options: Iterable[tuple[str, KnobValue]]) -> VirtualModel:
    """The model that a study's runner options describe. Raises UsageError on unknown names and impossible numbers."""
    known = [field.name for field in fields(VirtualModel)]
    given: dict[str, float] = {}
    for name, value in options:
        if name not in known:
            raise UsageError(f"the simulated runner has no option {name!r}", hint=f"one of {', '.join(known)}")
        if isinstance(value, str) or not math.isfinite(value) or value < 0:
            raise UsageError(f"simulated runner: {name} must be a number of at least 0, not {value!r}")
        given[name] = float(value)
    model = VirtualModel(**given)
    if min(model.sms_per_item, model.gpu_efficiency, model.cpu_ms_per_item) <= 0:
        raise UsageError("simulated runner: sms_per_item, gpu_efficiency and cpu_ms_per_item must be above 0")
    return model


def refuse_unknown_knobs(names: Iterable[str]) -> None:
    """Raises UsageError: a knob that nobody simulates would be a silent fallback."""
    unknown = sorted(set(names) - KNOBS)
    if unknown:
        raise UsageError(
            f"the simulated runner knows no knob {unknown[0]!r}", hint=f"one of {', '.join(sorted(KNOBS))}"
        )


def service_plan(model: VirtualModel, footprint: Footprint, configuration: Configuration) -> ServicePlan:
    """What one replica of a configuration is to the queues.

    Raises InfeasibleConfiguration where memory does not suffice, UsageError for knobs and GPU types nobody simulates.
    """
    refuse_unknown_knobs(configuration.as_dict())
    gpu_type = configuration.text("gpu_type", footprint.gpu_type)
    max_batch_size = max(1, int(configuration.number("max_batch_size", 1)))
    instances = int(configuration.number("instances", 1))
    cores = configuration.number("cpu_cores", footprint.cpu_cores)
    host_bytes = _host_bytes(model, instances, configuration.number("memory_gib", footprint.memory_gib))
    if gpu_type:
        share = configuration.number("gpu_memory_share", footprint.gpu_memory_share)
        gpu = _gpu(gpu_type)
        memory_bytes = _gpu_bytes(model, gpu, share, instances, max_batch_size)
        work_s = tuple(gpu_batch_s(model, gpu, share, size) for size in range(max_batch_size + 1))
    else:
        memory_bytes = host_bytes
        work_s = tuple(_cpu_batch_s(model, size) for size in range(max_batch_size + 1))
    return ServicePlan(
        cpu_cores=cores,
        item_cpu_s=model.cpu_ms_per_item / 1000.0 if gpu_type else 0.0,
        item_cpu_cv=model.cpu_cv,
        batch_work_s=work_s,
        batch_cv=_batch_cv(model, max_batch_size, on_gpu=bool(gpu_type)),
        parallel_batches=1.0 + model.gpu_overlap if gpu_type else cores,
        instances=instances,
        preferred_batch_size=min(max_batch_size, int(configuration.number("preferred_batch_size", max_batch_size))),
        queue_delay_s=configuration.number("queue_delay_ms", 0.0) / 1000.0,
        network_s=model.network_ms / 1000.0,
        batches_on_cpu=not gpu_type,
        memory_bytes=memory_bytes,
    )


def gpu_batch_s(model: VirtualModel, gpu: GpuType, share: float, size: int) -> float:
    """Launch overhead, then the slower of compute and memory traffic (the roofline), on a share of the device.

    Compute comes in whole waves: a batch that does not fill the multiprocessors takes as long as one that does.
    """
    sms = max(1.0, gpu.sms * share)
    waves = math.ceil(size * model.sms_per_item / sms)
    flops_per_sm = gpu.tflops * 1e12 / gpu.sms * model.gpu_efficiency
    wave_s = model.gflop_per_item * 1e9 / (model.sms_per_item * flops_per_sm)
    traffic_bytes = (model.weights_gib + size * model.traffic_gib_per_item) * GIB
    memory_s = traffic_bytes / (gpu.gbps * 1e9 * model.gpu_efficiency * share)
    return model.batch_overhead_ms / 1000.0 + max(waves * wave_s, memory_s)


def _cpu_batch_s(model: VirtualModel, size: int) -> float:
    return (model.batch_overhead_ms + size * model.cpu_ms_per_item) / 1000.0


def _batch_cv(model: VirtualModel, max_batch_size: int, *, on_gpu: bool) -> tuple[float, ...]:
    """By batch size: kernels hardly vary; items computed on the CPU vary each by itself, so that batches even out."""
    sizes = range(max_batch_size + 1)
    return tuple(model.batch_cv if on_gpu else model.cpu_cv / math.sqrt(max(1, size)) for size in sizes)


def _gpu(name: str) -> GpuType:
    if name not in GPU_TYPES:
        raise UsageError(f"the simulated runner knows no GPU type {name!r}", hint=f"one of {', '.join(GPU_TYPES)}")
    return GPU_TYPES[name]


def _gpu_bytes(model: VirtualModel, gpu: GpuType, share: float, instances: int, max_batch_size: int) -> int:
    per_instance_gib = model.context_gib + max_batch_size * model.activation_gib_per_item
    needed_gib = model.weights_gib + instances * per_instance_gib
    granted_gib = share * gpu.memory_gib
    if needed_gib > granted_gib:
        raise InfeasibleConfiguration(
            f"out of GPU memory: the model needs {needed_gib:.2f} GiB, the share gives {granted_gib:.2f} GiB",
            hint="raise gpu_memory_share, or lower max_batch_size or instances",
        )
    return round(needed_gib * GIB)


def _host_bytes(model: VirtualModel, instances: int, limit_gib: float) -> int:
    """Host memory of one replica; `limit_gib` 0 means that the study sets no limit."""
    needed_gib = model.host_memory_gib + instances * model.host_memory_gib_per_instance
    if limit_gib and needed_gib > limit_gib:
        raise InfeasibleConfiguration(
            f"out of memory: the server needs {needed_gib:.2f} GiB, memory_gib gives {limit_gib:.2f}",
            hint="raise memory_gib, or lower instances",
        )
    return round(needed_gib * GIB)
