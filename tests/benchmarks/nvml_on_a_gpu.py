"""Does the door to NVML tell the truth? Known work on a real GPU, beside what the telemetry makes of it.

    PYTHONPATH=. python3 tests/benchmarks/nvml_on_a_gpu.py

Needs PyTorch with CUDA, nvidia-ml-py and a GPU that nothing else uses. Expected: busy near 0, 100, 50 and 100 %, the
memory busy most in the last, a peak that contains the tensors, and a power between idle and the card's limit.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import torch

from runners.gpu_watch import GpuWatch, visible_gpu, watch_gpu
from tuner.domain.deployment import Telemetry, telemetry_between

PHASE_S = 6.0
GIB = 1 << 30


def idle() -> None:
    time.sleep(0.1)


def matmul(matrix: torch.Tensor) -> None:
    for _ in range(10):
        torch.mm(matrix, matrix)
    torch.cuda.synchronize()


def half(matrix: torch.Tensor) -> None:
    """As long at rest as at work, in turns much shorter than the driver's samples are apart."""
    began_s = time.monotonic()
    matmul(matrix)
    time.sleep(time.monotonic() - began_s)


def copy(source: torch.Tensor, target: torch.Tensor) -> None:
    for _ in range(20):
        target.copy_(source)
    torch.cuda.synchronize()


def phase(watch: GpuWatch, name: str, work: Callable[[], None]) -> None:
    before, began_s = Telemetry(gpu=watch.use(), at_s=time.monotonic()), time.monotonic()
    while time.monotonic() - began_s < PHASE_S:
        work()
    seen = telemetry_between(before, Telemetry(gpu=watch.use(), at_s=time.monotonic()))
    use, seconds = seen.gpu, seen.at_s
    assert use is not None
    assert seconds is not None

    def per_second(total: float | None, unit: float = 1.0) -> str:
        return "untold" if total is None else f"{total / seconds * unit:.1f}"

    peak = "untold" if use.memory_peak_bytes is None else f"{use.memory_peak_bytes / GIB:.2f} of the {use.memory_of}"
    print(
        f"{name:8s} busy {per_second(use.busy_s, 100)} %, memory busy {per_second(use.memory_busy_s, 100)} %, "
        f"throttled {per_second(use.throttled_s, 100)} %, {per_second(use.clock_mhz_s)} MHz, "
        f"{per_second(use.energy_j)} W, peak GiB {peak}"
    )


def main() -> None:
    name = visible_gpu(os.environ)
    assert name is not None, "CUDA_VISIBLE_DEVICES names no GPU"
    with watch_gpu(name, lambda: (os.getpid(),)) as watch:
        if watch is None:
            raise SystemExit(1)
        print(dict(watch.facts))
        phase(watch, "idle", idle)
        matrix = torch.randn(8192, 8192, device="cuda", dtype=torch.float16)
        phase(watch, "matmul", lambda: matmul(matrix))
        phase(watch, "half", lambda: half(matrix))
        source, target = (torch.zeros(4 * GIB, device="cuda", dtype=torch.uint8) for _ in range(2))
        phase(watch, "copy", lambda: copy(source, target))
        print(f"PyTorch itself: at most {torch.cuda.max_memory_allocated() / GIB:.2f} GiB in tensors")
        began_s = time.monotonic()
        for _ in range(50):
            watch.use()
        print(f"one look costs {(time.monotonic() - began_s) * 1000 / 50:.2f} ms")


if __name__ == "__main__":
    main()
