"""What the engine knows of the world: the terrain (every candidate, as arrays) and observations made on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

Outcome = Literal["served", "out_of_memory", "unschedulable", "infeasible", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One load test of one candidate; a refusal may speak for further rows, `also`. None where nobody measured it.

    `latency_ms` is the percentile that the objective bounds; `median_ms` the 50th. `busy_cores` are CPU seconds per
    second, `service_ms` the server's time per batch of `mean_batch` requests, of which `kernel_ms` on the accelerator.
    `doubt` is by how much more than usual all this may be off (standard deviation of a logarithm): 0 but for tests that
    another study made.
    """

    row: int
    outcome: Outcome
    also: tuple[int, ...] = ()
    offered_rps: float = 0.0
    throughput_rps: float = 0.0
    latency_ms: float = float("inf")
    median_ms: float | None = None
    requests: int = 0
    busy_cores: float | None = None
    service_ms: float | None = None
    kernel_ms: float | None = None
    mean_batch: float | None = None
    memory_peak_gib: float | None = None
    doubt: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceleratorSpec:
    """Data-sheet numbers of one accelerator type; None where nobody knows."""

    name: str
    tflops: float | None = None
    bandwidth_gbps: float | None = None
    memory_gib: float | None = None
    slices: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KnobColumn:
    """One knob over all candidates: the position of its value, and the values if they are numbers."""

    name: str
    positions: NDArray[np.int16]
    numbers: tuple[float, ...] | None
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class QueueTables:
    """The two stages under one kind of arrivals: logs of times in units of the mean gap between arrivals."""

    batch: Floats
    core: Floats
    spread: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Terrain:
    """Every candidate: its exact cost, the load one replica gets, and what the physics knows of its knobs.

    `strangers` are the knobs whose meaning the physics does not know. `accelerator` indexes `accelerators`; without
    any, the server computes on its cores. `limit_ms` bounds the `percentile` of latency. `family` names the arrivals,
    None where they are unknown; `queues` is what arrivals of no family do.
    """

    knobs: tuple[KnobColumn, ...]
    cost: Floats
    offered_rps: Floats
    cores: Floats
    accelerator: Ints
    share: Floats
    batch: Floats
    delay_ms: Floats
    instances: Floats
    accelerators: tuple[AcceleratorSpec, ...]
    strangers: tuple[KnobColumn, ...]
    limit_ms: float
    percentile: str = "p99"
    family: str | None = None
    queues: QueueTables | None = None
    weights_gib: float | None = None
    seed: int = 0

    def __len__(self) -> int:
        return len(self.cost)

    @property
    def size(self) -> int:
        return len(self.cost)
