"""Random serving scenarios in the protocol of the search benchmark, with physics of their own.

Nothing here may import the product: the search must not be judged by the formulas it was written with. What differs
from the search's model: work comes in quantised waves over the processors of a slice, clocks throttle, batches are
padded to powers of two or not at all, memory traffic follows embedding tables, neighbours interfere for as long as a
deployment lives, garbage collection stops the cores, arrivals are renewal or on-off processes, and some scenarios are
response surfaces that no server would have.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.benchmarks.scenario_draws import CATALOGUE, MIG, cost_of, draw_law, draw_readers, draw_space, types_of

Config = dict[str, Any]
Result = dict[str, Any]

KINDS = ("compute", "embedding", "preprocessing", "mixed", "surface")
SURFACES = ("surface", "lottery", "inverted")  # no server: waves, pure chance, and dearer is slower
TEST_S = 60.0
TEST_REQUESTS = 20_000
TRUTH_REQUESTS = 50_000


@dataclass
class Scenario:
    """One serving problem. `trial` is a noisy test, `true_p99` what a long one would say."""

    name: str
    kind: str
    info: dict[str, Any]
    configs: list[Config]
    costs: np.ndarray
    law: dict[str, Any]
    seed: int
    truths: dict[int, float] = field(default_factory=dict)

    def trial(self, index: int, repeat: int) -> Result:
        source = np.random.default_rng([self.seed, index, repeat, 5])
        return run_test(self, index, source, requests=TEST_REQUESTS)

    def true_p99(self, index: int) -> float:
        if index not in self.truths:
            self.truths[index] = truth(self, index)
        return self.truths[index]

    def cheapest(self, share_of_limit: float) -> float:
        """Cost of the cheapest configuration with true p99 within that share of the limit; infinity if none."""
        limit = self.info["p99_limit_ms"]
        for index in np.argsort(self.costs, kind="stable"):
            if self.true_p99(int(index)) <= share_of_limit * limit:
                return float(self.costs[index])
        return math.inf


def truth(scenario: Scenario, index: int) -> float:
    """p99 of long tests with no interference; infinity where it does not start or is overloaded."""
    source = np.random.default_rng([scenario.seed, index, 99])
    if scenario.kind in SURFACES:
        return surface_p99(scenario, index)
    if startup_failure(scenario, index) or overloaded(scenario, index):
        return math.inf
    long = [simulate(scenario, index, source, requests=TRUTH_REQUESTS, factor=1.0) for _ in range(2)]
    latencies = np.concatenate([one["latency"] for one in long])
    return float(np.percentile(latencies, 99)) * 1000.0


def startup_failure(scenario: Scenario, index: int) -> str | None:
    config, law = scenario.configs[index], scenario.law
    kind, share = law["gpu"](config), law["share"](config)
    if kind is None:
        return None
    if law["slices"] and kind in MIG and share not in MIG[kind]:
        return "unschedulable"
    need = memory_gb(scenario, config)
    return "oom" if need > CATALOGUE[kind][2] * share else None


def memory_gb(scenario: Scenario, config: Config) -> float:
    law = scenario.law
    grown = law["weights"] * 1.2 + law["context"] + law["activation"] * law["batch"](config) ** law["memory_power"]
    return math.ceil(grown * 8) / 8


def batch_seconds(scenario: Scenario, config: Config, size: int) -> tuple[float, float]:
    """(host time, device time) of one batch, without contention."""
    law = scenario.law
    padded = size
    if law["padding"] == "power":
        padded = 1 << (size - 1).bit_length()
    if law["padding"] == "full":
        padded = law["batch"](config)
    scale = law["precision"](config)
    kind, share = law["gpu"](config), law["share"](config)
    if kind is None:
        threads = max(1.0, law["threads"](config))
        return law["launch"], padded * law["flops"] * scale / threads ** law["parallel"]
    tflops, bandwidth, _, _, processors = CATALOGUE[kind]
    slots = max(1, round(processors * share ** law["share_power"]))
    waves = math.ceil(padded * law["tiles"] / slots)
    wave_s = law["flops"] * scale * processors / law["tiles"] / (tflops * law["efficiency"][kind])
    traffic_gb = law["weights"] * law["touched"] + padded * law["row_gb"]
    traffic_s = traffic_gb * scale / (bandwidth * min(1.0, law["bandwidth_floor"] + share))
    device = waves * wave_s + traffic_s if law["overlap"] else max(waves * wave_s, traffic_s)
    if share >= 0.75:
        device *= law["throttle"]
    return law["launch"], device


def core_seconds(scenario: Scenario, config: Config) -> float:
    law = scenario.law
    return float(law["core"] * law["thread_cost"](config) * (1.0 + law["contention"] * (law["cores"](config) - 1)))


def rate(scenario: Scenario, config: Config) -> float:
    return float(scenario.info["target_rps"]) / float(scenario.law["replicas"](config))


def overloaded(scenario: Scenario, index: int) -> bool:
    config = scenario.configs[index]
    load, size = rate(scenario, config), scenario.law["batch"](config)
    cores = core_seconds(scenario, config) * load / scenario.law["cores"](config)
    best = min(sum(batch_seconds(scenario, config, b)) / b for b in {1, size, max(1, size // 2)})
    return cores > 1.0 or best * load > 1.02


def arrival_times(law: Mapping[str, Any], load: float, count: int, source: np.random.Generator) -> np.ndarray:
    """Renewal or modulated arrivals at a mean rate `load`."""
    kind = law["arrivals"]
    if kind == "poisson":
        return np.cumsum(source.exponential(1.0 / load, count))
    if kind == "gamma":
        shape = 1.0 / law["variability"]
        return np.cumsum(source.gamma(shape, 1.0 / (load * shape), count))
    span = count / load * 1.3 + 1.0
    grid = np.arange(0.0, span, law["period"] / 40.0)
    phase = (grid / law["period"] + source.random()) % 1.0
    if kind == "onoff":
        wobble = np.where(phase < law["duty"], law["height"], (1 - law["duty"] * law["height"]) / (1 - law["duty"]))
    else:
        wobble = 1.0 + law["sway"] * np.sin(2 * np.pi * phase)
    mass = np.concatenate([[0.0], np.cumsum(load * wobble[:-1] * np.diff(grid))])
    return np.interp(np.cumsum(source.exponential(1.0, count)), mass, grid)


def simulate(
    scenario: Scenario, index: int, source: np.random.Generator, *, requests: int, factor: float
) -> dict[str, Any]:
    """Request by request: cores by earliest-free, then batches; `factor` is this deployment's bad luck."""
    config, law = scenario.configs[index], scenario.law
    load = rate(scenario, config)
    times = arrival_times(law, load, requests, source)
    work_s = core_seconds(scenario, config) * factor
    work = source.gamma(law["work_shape"], work_s / law["work_shape"], requests)
    cores = max(1, round(law["cores"](config)))
    ready = _through_cores(times, work, cores, law)
    util = min(1.0, work_s * load / cores)
    stall = 1.0 + law["stall"] * max(0.0, util - 0.6) / 0.4
    starts, sizes, ends, device = _through_batches(scenario, config, ready, stall, factor)
    latency = np.repeat(ends, sizes) - np.sort(times)[: sum(sizes)]
    span = ends[-1] - times[0]
    return {
        "latency": latency,
        "sizes": sizes,
        "busy": float(np.sum(np.array(ends) - starts)),
        "device": device,
        "span": span,
        "cpu": float(work.sum()) / span / cores,
        "load": requests / (times[-1] or 1.0),
        "count": requests,
    }


def _through_cores(times: np.ndarray, work: np.ndarray, cores: int, law: Mapping[str, Any]) -> np.ndarray:
    free = [0.0] * cores
    heapq.heapify(free)
    done = []
    pause, every = law["pause"], law["pause_every"]
    for time, amount in zip(times.tolist(), work.tolist(), strict=True):
        start = max(time, heapq.heappop(free))
        if pause and start % every < pause:
            start += pause - start % every
        heapq.heappush(free, start + amount)
        done.append(start + amount)
    return np.sort(np.array(done))


def _through_batches(
    scenario: Scenario, config: Config, ready: np.ndarray, stall: float, factor: float
) -> tuple[np.ndarray, list[int], list[float], float]:
    law = scenario.law
    cap, delay = law["batch"](config), law["delay"](config)
    cost = [
        sum(a * b for a, b in zip(batch_seconds(scenario, config, max(size, 1)), (stall, factor), strict=True))
        for size in range(cap + 1)
    ]
    kernel = [batch_seconds(scenario, config, max(size, 1))[1] * factor for size in range(cap + 1)]
    list_ready = ready.tolist()
    count, head, free = len(list_ready), 0, 0.0
    starts, sizes, ends, device = [], [], [], 0.0
    while head < count:
        full = list_ready[head + cap - 1] if head + cap <= count else math.inf
        start = max(free, min(list_ready[head] + delay, full))
        tail = head + 1
        while tail < count and tail - head < cap and list_ready[tail] <= start:
            tail += 1
        free = start + cost[tail - head]
        device += kernel[tail - head]
        starts.append(start)
        sizes.append(tail - head)
        ends.append(free)
        head = tail
    return np.array(starts), sizes, ends, device


def run_test(scenario: Scenario, index: int, source: np.random.Generator, *, requests: int) -> Result:
    setup_s = 20.0 + scenario.law["setup"]
    if source.random() < 0.01:
        return {"status": "error", "slo_met": False, "test_seconds": setup_s}
    failure = None if scenario.kind in SURFACES else startup_failure(scenario, index)
    if failure:
        return {"status": failure, "slo_met": False, "test_seconds": 20.0 if failure == "unschedulable" else setup_s}
    factor = float(source.lognormal(0.0, scenario.law["interference"]))
    if scenario.kind in SURFACES:
        return surface_test(scenario, index, source)
    found = simulate(scenario, index, source, requests=requests, factor=factor)
    limit = scenario.info["p99_limit_ms"]
    latency = found["latency"] * 1000.0
    p50, p95, p99 = (float(np.percentile(latency, q)) for q in (50, 95, 99))
    over = float(np.mean(latency > limit))
    batches = len(found["sizes"])
    result: Result = {
        "status": "ok",
        "offered_rps": found["load"],
        "throughput_rps": min(found["load"], found["count"] / found["span"]),
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "frac_over": over,
        "n_requests": requests,
        "slo_met": p99 <= limit,
        "test_seconds": setup_s + TEST_S,
    }
    if scenario.law["telemetry"]:
        config = scenario.configs[index]
        result |= {
            "mem_peak_gb": memory_gb(scenario, config) * float(source.normal(1, 0.01)),
            "cpu_util": min(1.0, found["cpu"] * float(source.normal(1, 0.02))),
            "gpu_util": min(1.0, found["device"] / found["span"]),
            "mean_batch": found["count"] / batches,
            "gpu_ms_per_batch": found["busy"] / batches * 1000.0,
        }
    return result


def surface_p99(scenario: Scenario, index: int) -> float:
    """A response surface of random waves over the knobs' positions, cheaper points slower on the whole."""
    law, config = scenario.law, scenario.configs[index]
    point = np.array(
        [
            list(options).index(config[name]) / max(1, len(options) - 1)
            for name, options in scenario.info["space"].items()
        ]
    )
    waves = law["amplitudes"] @ np.sin(law["frequencies"][:, : len(point)] @ point * np.pi + law["phases"])
    cost = math.log(scenario.costs[index] / np.median(scenario.costs))
    jitter = np.random.default_rng([scenario.seed, index, 3]).normal(0.0, law["jitter"])
    return float(scenario.info["p99_limit_ms"] * math.exp(law["offset"] + waves - law["cost_slope"] * cost + jitter))


def surface_test(scenario: Scenario, index: int, source: np.random.Generator) -> Result:
    p99 = surface_p99(scenario, index) * float(source.lognormal(0.0, 0.06))
    limit = scenario.info["p99_limit_ms"]
    over = 0.01 * (p99 / limit) ** 4
    load = rate(scenario, scenario.configs[index]) * float(source.normal(1.0, 0.007))
    return {
        "status": "ok",
        "offered_rps": load,
        "throughput_rps": load,
        "p50_ms": p99 * 0.4,
        "p95_ms": p99 * 0.8,
        "p99_ms": p99,
        "frac_over": min(1.0, over),
        "n_requests": TEST_REQUESTS,
        "slo_met": p99 <= limit,
        "test_seconds": TEST_S + 40.0,
    }


def make(seed: int, kind: str | None = None) -> Scenario:
    """Scenario number `seed`: the same again on every call."""
    for attempt in range(50):
        source = np.random.default_rng([seed, attempt, 20_26])
        chosen = kind or KINDS[int(source.choice(5, p=[0.28, 0.18, 0.24, 0.2, 0.1]))]
        found = _draw(seed, chosen, source)
        if found is not None and kind == "inverted":
            return found
        if found is not None and np.sum(found.costs < found.cheapest(1.0)) >= 0.03 * len(found.configs):
            return found
    raise ValueError(f"no solvable scenario for seed {seed}")


def _draw(seed: int, kind: str, source: np.random.Generator) -> Scenario | None:
    space, law = draw_space(source), draw_law(kind, source)
    configs = [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]
    if len(configs) > 5_000:
        return None
    law |= draw_readers(space, source)
    if kind == "lottery":
        law |= {"amplitudes": np.zeros(7), "jitter": 1.0, "cost_slope": 0.0}
    if kind == "inverted":
        law |= {"jitter": 0.3, "cost_slope": -1.0}
    prices = {name: CATALOGUE[name][3] * float(source.lognormal(0, 0.2)) for name in types_of(space)}
    core_price, premium = float(source.choice([0.02, 0.035, 0.05])), float(source.choice([0.0, 0.1, 0.3]))
    costs = np.array([cost_of(c, law, prices, core_price=core_price, premium=premium) for c in configs])
    info = {
        "name": f"generated-{seed}-{kind}",
        "space": space,
        "target_rps": 1.0,
        "p99_limit_ms": 1e9,
        "gpu_price_h": prices,
        "gpu_specs": {
            n: {"tflops": float(CATALOGUE[n][0]), "gbps": float(CATALOGUE[n][1]), "mem_gb": float(CATALOGUE[n][2])}
            for n in prices
            if n != "ZX-9"
        },
        "cpu_price_h": core_price,
        "share_premium": premium,
        "weights_gb": law["weights"],
    }
    scenario = Scenario(info["name"], kind, info, configs, costs, law, seed)
    return _with_target(scenario, source)


def _with_target(scenario: Scenario, source: np.random.Generator) -> Scenario | None:
    """Load and limit around an anchor configuration, which keeps the scenario solvable and tight."""
    order = np.argsort(scenario.costs)
    anchor = int(order[int(len(order) * source.uniform(0.1, 0.6))])
    config, law = scenario.configs[anchor], scenario.law
    if scenario.kind in SURFACES:
        scenario.info |= {"target_rps": float(round(source.uniform(100, 2000))), "p99_limit_ms": 50.0}
        values = np.log([surface_p99(scenario, i) / 50.0 for i in source.integers(0, len(order), 300)])
        law["offset"] -= float(np.quantile(values, source.uniform(0.04, 0.2)))
        return scenario
    if startup_failure(scenario, anchor):
        return None
    size = law["batch"](config)
    carried = min(
        law["cores"](config) / core_seconds(scenario, config),
        max(b / sum(batch_seconds(scenario, config, b)) for b in (1, size)),
    )
    load = carried * law["replicas"](config) * source.uniform(0.4, 0.85)
    scenario.info["target_rps"] = float(f"{load:.3g}")
    if not 20 <= load <= 30_000:
        return None
    p99 = scenario.true_p99(anchor)
    scenario.truths.clear()
    if not math.isfinite(p99) or p99 > 1500.0:
        return None
    scenario.info["p99_limit_ms"] = float(f"{p99 * source.uniform(1.05, 2.0):.3g}")
    return scenario
