"""What a random serving scenario is made of: its knobs, its law, its prices. Imports nothing of the product."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

Config = dict[str, Any]

CATALOGUE: dict[str, tuple[float, float, float, float, int]] = {  # tflops, GB/s, GB, usd/h, processors
    "T4": (65, 320, 16, 0.35, 40),
    "L4": (121, 300, 24, 0.75, 58),
    "A10G": (70, 600, 24, 1.05, 80),
    "V100": (112, 900, 16, 2.4, 80),
    "A30": (165, 933, 24, 1.4, 56),
    "L40S": (362, 864, 48, 1.95, 142),
    "A100-40": (312, 1555, 40, 3.3, 108),
    "A100-80": (312, 2039, 80, 4.4, 108),
    "H100": (989, 3350, 80, 8.5, 132),
    "RTX-6000": (330, 960, 48, 1.5, 142),
    "ZX-9": (200, 1200, 32, 1.9, 96),
}
MIG = {"A30": {0.25, 0.5, 1.0}, "A100-40": {0.125, 0.25, 0.5, 1.0}, "A100-80": {0.125, 0.25, 0.5, 1.0}}
MIG["H100"] = {0.125, 0.25, 0.5, 1.0}
ARRIVALS = ("poisson", "poisson", "gamma", "onoff", "ramps")


def types_of(space: Mapping[str, list[Any]]) -> list[str]:
    return next((v for v in space.values() if isinstance(v[0], str) and v[0] in CATALOGUE), [])


def draw_space(source: np.random.Generator) -> dict[str, list[Any]]:
    names = source.permutation(list(CATALOGUE))[: int(source.integers(3, 7))].tolist()
    style = int(source.integers(0, 3))
    gpu, share, cpu, batch = [
        ("gpu", "share", "cpu", "batch"),
        ("gpu_type", "gpu_memory_share", "cpu_cores", "max_batch_size"),
        ("device", "fraction", "vcpu", "arg.max-batch"),
    ][style]
    space: dict[str, list[Any]] = {
        gpu: names,
        share: [[0.125, 0.25, 0.375, 0.5, 0.75, 1.0], [0.2, 0.4, 0.6, 0.8, 1.0], [0.25, 0.5, 1.0]][source.integers(3)],
        cpu: [[1, 2, 4, 6, 8, 16], [1, 2, 3, 4, 8, 12, 16], [2, 4, 8, 16, 24]][source.integers(3)],
        batch: [[1, 4, 8, 32], [1, 2, 4, 8, 16, 32, 64], [1, 8, 64]][source.integers(3)],
    }
    extras: list[tuple[str, list[Any]]] = [
        ("delay_ms" if style == 0 else "queue_delay_ms", [0, 2, 5, 10]),
        ("replicas", [1, 2, 3, 4, 6]),
        ("variant", ["fp32", "fp16", "int8"]),
        ("env.PREPROCESS_THREADS", [1, 2, 4]),
        ("arg.cache", ["off", "on"]),
    ]
    for k in source.permutation(len(extras))[: int(source.integers(0, 3))]:
        space[extras[k][0]] = extras[k][1]
    return space


def draw_readers(space: Mapping[str, list[Any]], source: np.random.Generator) -> dict[str, Any]:
    """What each knob does, whatever it is called."""
    names = list(space)
    gpu, share, cpu, batch = names[:4]
    speed = {"fp32": 1.0, "fp16": float(source.uniform(0.45, 0.7)), "int8": float(source.uniform(0.3, 0.6))}
    helper = {1: 1.0, 2: float(source.uniform(0.7, 1.05)), 4: float(source.uniform(0.6, 1.2))}
    saved = float(source.uniform(0.6, 1.0))
    delay = next((n for n in names if n.endswith("delay_ms")), None)
    return {
        "gpu": lambda c: c[gpu],
        "share": lambda c: c[share],
        "cores": lambda c: c[cpu],
        "batch": lambda c: int(c[batch]),
        "delay": lambda c: c[delay] / 1000.0 if delay else 0.0,
        "replicas": lambda c: c.get("replicas", 1),
        "precision": lambda c: speed.get(c.get("variant", "fp32"), 1.0),
        "thread_cost": lambda c: (
            helper[c.get("env.PREPROCESS_THREADS", 1)] * (saved if c.get("arg.cache") == "on" else 1)
        ),
        "threads": lambda c: c[cpu],
    }


def draw_law(kind: str, source: np.random.Generator) -> dict[str, Any]:
    heavy = {"compute": 1.0, "embedding": 0.05, "preprocessing": 0.12, "mixed": 0.4}.get(kind, 1.0)
    core_ms = {"compute": 1.0, "embedding": 1.5, "preprocessing": 9.0, "mixed": 4.0}.get(kind, 1.0)
    weights = float(source.lognormal(math.log(8.0 if kind == "embedding" else 0.3), 0.6))
    return {
        "flops": heavy * float(source.lognormal(math.log(0.12), 0.7)),
        "tiles": int(source.integers(6, 60)),
        "share_power": float(source.uniform(0.85, 1.1)),
        "efficiency": {name: float(source.lognormal(0, 0.2)) for name in CATALOGUE},
        "weights": weights,
        "touched": float(source.uniform(0.01, 0.05)) if kind == "embedding" else 1.0,
        "row_gb": float(source.lognormal(math.log(0.004 if kind == "embedding" else 0.0004), 0.6)),
        "bandwidth_floor": float(source.choice([0.0, 0.25])),
        "overlap": bool(source.random() < 0.5),
        "throttle": float(source.choice([1.0, 1.08, 1.2])),
        "launch": float(source.lognormal(math.log(0.0012), 0.5)),
        "padding": str(source.choice(["none", "power", "full"], p=[0.45, 0.35, 0.2])),
        "core": core_ms / 1000.0 * float(source.lognormal(0, 0.5)),
        "contention": float(source.choice([0.0, 0.005, 0.015])),
        "work_shape": float(source.choice([2.0, 8.0, 40.0])),
        "stall": float(source.choice([0.0, 0.6, 2.0])),
        "pause": float(source.choice([0.0, 0.0, 0.01])),
        "pause_every": float(source.uniform(1.5, 6.0)),
        "context": float(source.uniform(0.3, 1.2)),
        "activation": float(source.lognormal(math.log(0.04), 0.8)),
        "memory_power": float(source.choice([1.0, 1.0, 0.8])),
        "slices": bool(source.random() < 0.5),
        "interference": float(source.choice([0.01, 0.03, 0.06])),
        "telemetry": bool(source.random() < 0.85),
        "setup": float(source.uniform(10, 60)),
        "parallel": 0.85,
        "arrivals": ARRIVALS[int(source.integers(0, 5))],
        "variability": float(source.choice([2.0, 5.0])),
        "period": float(source.choice([0.3, 1.0, 5.0])),
        "duty": 0.2,
        "height": float(source.choice([1.5, 2.5])),
        "sway": float(source.uniform(0.2, 0.6)),
        "amplitudes": source.normal(0, 0.35, 7),
        "frequencies": source.normal(0, 1.5, (7, 12)),
        "phases": source.uniform(0, 6.3, 7),
        "jitter": float(source.choice([0.0, 0.3])),
        "offset": 0.5,
        "cost_slope": float(source.choice([0.0, 0.5, 1.0])),
    }


def cost_of(
    config: Config, law: Mapping[str, Any], prices: Mapping[str, float], *, core_price: float, premium: float
) -> float:
    share = law["share"](config)
    slice_price = prices[law["gpu"](config)] * share * (1.0 + (premium if share < 1.0 else 0.0))
    return float(law["replicas"](config) * (slice_price + core_price * law["cores"](config)))
