"""The physical mean: cores, then a batcher, then a roofline, then the simulated queueing tail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tuner.search.structured.observation import Floats, Ints, KnobColumn, QueueTables, Terrain
from tuner.search.structured.queue_simulation import STATISTICS
from tuner.search.structured.queue_tables import (
    MEAN,
    MEDIAN,
    batch_coordinates,
    core_coordinates,
    read,
    tables,
)

ROOFLINE_SHARPNESS = 4.0
UNKNOWN_TFLOPS = 100.0
UNKNOWN_BANDWIDTH_GBPS = 800.0

CORE_MS, CONTENTION, COMPUTE_MS, WEIGHTS_MS, TRAFFIC_MS, OVERHEAD_MS = range(6)
COMPUTE_SHARE, TRAFFIC_SHARE, MEDIAN_BIAS, TAIL_BIAS, CORE_SCALING = range(6, 11)
PADDING, STALL, STALL_POWER = range(11, 14)
FIRST_TYPE = 14


@dataclass(frozen=True, slots=True)
class Prior:
    """Independent normals, except that neighbouring levels of an ordered stranger are alike."""

    mean: Floats
    precision: Floats
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sites:
    """The candidates at some rows, as the physics sees them."""

    offered_rps: Floats
    cores: Floats
    accelerator: Ints
    share: Floats
    batch: Floats
    delay_ms: Floats
    instances: Floats
    stranger_effects: tuple[Ints, ...]


@dataclass(frozen=True, slots=True)
class Predicted:
    """Per parameter draw and site: natural logs of milliseconds, and of the capacity in requests per second.

    `noise` is the standard deviation of the log of a 20,000-request test's p99, from repeated simulation.
    """

    log_core_ms: Floats
    log_service_ms: Floats
    log_kernel_ms: Floats
    log_median_ms: Floats
    log_tail_ms: Floats
    log_capacity_rps: Floats
    noise: Floats


@dataclass(frozen=True, slots=True)
class Physics:
    """The model for one terrain: which parameters there are, and what they were thought to be beforehand."""

    terrain: Terrain
    prior: Prior

    def sites(self, rows: Ints) -> Sites:
        ground = self.terrain
        offset, effects = FIRST_TYPE + 3 * len(ground.accelerators), []
        for knob in ground.strangers:
            effects.append(offset + knob.positions[rows].astype(np.int64))
            offset += 2 * len(knob.labels)
        return Sites(
            offered_rps=ground.offered_rps[rows],
            cores=ground.cores[rows],
            accelerator=ground.accelerator[rows],
            share=ground.share[rows],
            batch=ground.batch[rows],
            delay_ms=ground.delay_ms[rows],
            instances=ground.instances[rows],
            stranger_effects=tuple(effects),
        )

    def core_ms(self, theta: Floats, sites: Sites) -> Floats:
        """Log of the core time of one request."""
        effect = theta[:, [CORE_MS]] + theta[:, [CONTENTION]] * np.log(sites.cores)
        for knob, columns in zip(self.terrain.strangers, sites.stranger_effects, strict=True):
            effect = effect + theta[:, columns + len(knob.labels)]
        return effect

    def _kernel_parts(self, theta: Floats, sites: Sites) -> tuple[Floats, Floats, Floats]:
        log_share, log_cores = np.log(sites.share), np.log(sites.cores)
        effect = -theta[:, [CORE_SCALING]] * log_cores
        for columns in sites.stranger_effects:
            effect = effect + theta[:, columns]
        compute = effect - theta[:, [COMPUTE_SHARE]] * log_share
        traffic = effect - theta[:, [TRAFFIC_SHARE]] * log_share
        if self.terrain.accelerators:
            column = FIRST_TYPE + 3 * sites.accelerator
            specs = self.terrain.accelerators
            tflops = np.array([spec.tflops or UNKNOWN_TFLOPS for spec in specs])
            bandwidth = np.array([spec.bandwidth_gbps or UNKNOWN_BANDWIDTH_GBPS for spec in specs])
            compute = compute + theta[:, column] - np.log(tflops / 100.0)[sites.accelerator]
            traffic = traffic + theta[:, column + 1] - np.log(bandwidth / 1000.0)[sites.accelerator]
        return (
            np.exp(theta[:, [COMPUTE_MS]] + compute),
            np.exp(theta[:, [WEIGHTS_MS]] + traffic),
            np.exp(theta[:, [TRAFFIC_MS]] + traffic),
        )

    def overhead_ms(self, theta: Floats, sites: Sites, *, core_load: Floats) -> Floats:
        """Host time of a batch: launches wait for cores that are busy with requests."""
        effect = theta[:, [OVERHEAD_MS]]
        if self.terrain.accelerators:
            effect = effect + theta[:, FIRST_TYPE + 3 * sites.accelerator + 2]
        busy = np.minimum(core_load, 1.0) ** np.exp(theta[:, [STALL_POWER]])
        return np.asarray(np.exp(effect) * (1.0 + np.exp(theta[:, [STALL]]) * busy))

    def predict(self, theta: Floats, sites: Sites, *, family: str, offered_rps: Floats, sizes: Floats) -> Predicted:
        """At the given loads; the service time is that of a batch of `sizes` requests."""
        parts = self._kernel_parts(theta, sites)
        log_core = self.core_ms(theta, sites)
        gap_ms = 1000.0 / offered_rps
        core_load = np.exp(log_core) / gap_ms / sites.cores
        overhead = self.overhead_ms(theta, sites, core_load=core_load)
        padding = 1.0 / (1.0 + np.exp(-theta[:, [PADDING]]))

        def kernel(size: Floats) -> Floats:
            computed = size + padding * (sites.batch - size)
            return _roof(parts[0] * computed, parts[1] + parts[2] * computed)

        fixed, slope = _line(kernel, overhead / sites.instances, gap_ms=gap_ms, cap=sites.batch)
        full_ms = fixed + slope * sites.batch
        found = self.terrain.queues or tables(family)
        batch = batch_coordinates(
            cap=sites.batch,
            delay=sites.delay_ms / gap_ms / sites.batch,
            fixed_share=fixed / full_ms,
            load=full_ms / gap_ms / sites.batch,
        )
        tail, median = self._latency(
            found,
            batch=batch,
            core=core_coordinates(cores=sites.cores, load=core_load),
            gap_ms=gap_ms,
        )
        kernel_ms = kernel(sizes)
        capacity = np.minimum(np.log(sites.batch / full_ms), np.log(sites.cores) - log_core) + np.log(1000.0)
        extra = (1.0 - 1.0 / sites.instances) * overhead
        return Predicted(
            log_core_ms=log_core,
            log_service_ms=np.log(overhead + kernel_ms),
            log_kernel_ms=np.log(kernel_ms),
            log_median_ms=np.log(median + extra) + theta[:, [MEDIAN_BIAS]],
            log_tail_ms=np.log(tail + extra) + theta[:, [MEDIAN_BIAS]] + theta[:, [TAIL_BIAS]],
            log_capacity_rps=capacity,
            noise=read(found.spread, batch),
        )

    def _latency(self, found: QueueTables, *, batch: Floats, core: Floats, gap_ms: Floats) -> tuple[Floats, Floats]:
        """Tail percentile and median of the sum of both stages: excesses over the mean add like independent spreads."""
        tail = STATISTICS.index(self.terrain.percentile)

        def stage(table: Floats, coordinates: Floats, statistic: int) -> Floats:
            return np.exp(read(table[statistic], coordinates)) * gap_ms

        mean = stage(found.batch, batch, MEAN) + stage(found.core, core, MEAN)
        first = stage(found.batch, batch, tail) - stage(found.batch, batch, MEAN)
        second = stage(found.core, core, tail) - stage(found.core, core, MEAN)
        excess = np.hypot(np.maximum(first, 0.0), np.maximum(second, 0.0))
        median = stage(found.batch, batch, MEDIAN) + stage(found.core, core, MEDIAN)
        return np.maximum(mean + excess, median), median


def _roof(compute: Floats, traffic: Floats) -> Floats:
    top, low = np.maximum(compute, traffic), np.minimum(compute, traffic)
    ratio = low / top
    return np.asarray(top * np.sqrt(np.sqrt(1.0 + ratio**ROOFLINE_SHARPNESS)))


def _line(
    kernel: Callable[[Floats], Floats], overhead: Floats, *, gap_ms: Floats, cap: Floats
) -> tuple[Floats, Floats]:
    """The service time as a line in the batch size, through the batch that the load would form and its double."""
    size = np.broadcast_to(np.minimum(2.0, cap), overhead.shape)
    for _ in range(3):
        size = np.clip((overhead + kernel(size)) / gap_ms, 1.0, cap)
    near = np.minimum(size, np.maximum(cap / 2.0, 1.0))
    far = np.minimum(2.0 * near, np.maximum(cap, 2.0))
    near_ms = overhead + kernel(near)
    slope = (overhead + kernel(far) - near_ms) / (far - near)
    fixed = np.maximum(near_ms - slope * near, 1e-6)
    return fixed, slope


def physics_of(terrain: Terrain) -> Physics:
    """The model with its prior beliefs; the weights' size, where known, tells the fixed traffic of a batch."""
    weights = np.log(max(terrain.weights_gib, 1e-3)) if terrain.weights_gib else np.log(0.2)
    rows: list[tuple[str, float, float]] = [
        ("core_ms", np.log(3.0), 1.3),
        ("contention", 0.03, 0.06),
        ("compute_ms", np.log(0.6), 1.5),
        ("weights_ms", float(weights), 0.8 if terrain.weights_gib else 1.5),
        ("traffic_ms", np.log(0.2), 1.5),
        ("overhead_ms", np.log(1.5), 0.9),
        ("compute_share", 0.95, 0.12),
        ("traffic_share", 0.75, 0.25),
        ("median_bias", 0.0, 0.12),
        ("tail_bias", 0.0, 0.12),
        ("core_scaling", 0.0, 0.02) if terrain.accelerators else ("core_scaling", 0.7, 0.4),
        ("padding", -2.0, 2.0),
        ("stall", np.log(0.5), 1.2),
        ("stall_power", np.log(5.0), 0.4),
    ]
    for spec in terrain.accelerators:
        known = spec.tflops is not None
        rows.append((f"{spec.name} compute", 0.0, 0.35 if known else 0.8))
        rows.append((f"{spec.name} traffic", 0.0, 0.35 if known else 0.8))
        rows.append((f"{spec.name} overhead", 0.0, 0.15))
    precision: Floats = np.diag([1.0 / spread**2 for _, _, spread in rows])
    names = [name for name, _, _ in rows]
    means = [mean for _, mean, _ in rows]
    for knob in terrain.strangers:
        for stage in ("kernel", "core"):
            names += [f"{knob.name}={label} {stage}" for label in knob.labels]
            means += [0.0] * len(knob.labels)
            precision = _blocks(precision, np.asarray(np.linalg.inv(stranger_covariance(knob)), dtype=float))
    return Physics(terrain=terrain, prior=Prior(np.array(means), precision, tuple(names)))


def stranger_covariance(knob: KnobColumn) -> Floats:
    """How alike the effects of a stranger's levels are thought to be: ordered levels by distance, others not at all."""
    count = len(knob.labels)
    if knob.numbers is None:
        return np.asarray(0.35**2 * np.eye(count))
    place = np.linspace(0.0, 1.0, count)
    alike = np.exp(-0.5 * ((place[:, None] - place) / 0.7) ** 2)
    return np.asarray(0.3**2 * alike + 0.05**2 * np.eye(count))


def _blocks(first: Floats, second: Floats) -> Floats:
    size = len(first) + len(second)
    joined = np.zeros((size, size))
    joined[: len(first), : len(first)] = first
    joined[len(first) :, len(first) :] = second
    return joined
