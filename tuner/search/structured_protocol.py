"""The structured search on the benchmark's protocol: a scenario becomes a terrain, a result an observation."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, assert_never

import numpy as np

from tuner.gpu_catalogue import gpu_type
from tuner.search.one_thread import one_thread
from tuner.search.protocol import Costs, Info, Json, Question, Result
from tuner.search.structured.engine import Stop, StructuredSearch
from tuner.search.structured.observation import AcceleratorSpec, Floats, KnobColumn, Observation, Outcome, Terrain

OUTCOMES: dict[str, Outcome] = {"ok": "served", "oom": "out_of_memory", "unschedulable": "unschedulable"}
NAMES: dict[str, tuple[str, ...]] = {
    "share": ("share", "fraction", "slice", "mps"),
    "replicas": ("replica",),
    "batch": ("batch",),
    "delay_ms": ("delay_ms", "queue_delay"),
    "instances": ("instance",),
    "cores": ("cpu", "core"),
}


def roles_of(columns: Mapping[str, KnobColumn], types: Collection[str]) -> dict[str, str]:
    """Which knob plays which part: the accelerator by its labels, the others by their names."""
    roles: dict[str, str] = {}
    for name, column in columns.items():
        if column.numbers is None and len(set(column.labels) & set(types)) * 2 >= len(column.labels):
            roles.setdefault("accelerator", name)
        if column.numbers is not None:
            role = next((part for part, words in NAMES.items() if any(word in name.lower() for word in words)), None)
            plausible = role != "share" or (max(column.numbers) <= 1.0 and min(column.numbers) > 0.0)
            if role and plausible:
                roles.setdefault(role, name)
    return roles


def terrain_of(info: Info, costs: Costs, seed: int) -> Terrain:
    space = info["space"]
    columns = {name: _column(name, options, [c[name] for c, _ in costs]) for name, options in space.items()}
    specs = info.get("gpu_specs", {})
    roles = roles_of(columns, specs)
    known = set(roles.values())

    def numbers(role: str, default: float) -> Floats:
        column = columns.get(roles.get(role, ""))
        if column is None or column.numbers is None:
            return np.full(len(costs), default)
        return np.array(column.numbers)[column.positions]

    types = columns.get(roles.get("accelerator", ""))
    return Terrain(
        knobs=tuple(columns.values()),
        cost=np.array([cost for _, cost in costs], dtype=float),
        offered_rps=float(info["target_rps"]) / numbers("replicas", 1.0),
        cores=np.maximum(numbers("cores", 1.0), 0.1),
        accelerator=np.zeros(len(costs), dtype=np.int64) if types is None else types.positions.astype(np.int64),
        share=numbers("share", 1.0),
        batch=np.maximum(numbers("batch", 1.0), 1.0),
        delay_ms=numbers("delay_ms", 0.0),
        instances=np.maximum(numbers("instances", 1.0), 1.0),
        accelerators=() if types is None else tuple(_spec(label, specs.get(label, {})) for label in types.labels),
        strangers=tuple(c for name, c in columns.items() if name not in known and len(c.labels) > 1),
        limit_ms=float(info["p99_limit_ms"]),
        weights_gib=info.get("weights_gb"),
        seed=seed,
    )


def _spec(name: str, given: Mapping[str, float]) -> AcceleratorSpec:
    """What the scenario says of a type, and the catalogue where it says nothing."""
    listed = gpu_type(name)
    return AcceleratorSpec(
        name=name,
        tflops=given.get("tflops", listed.tflops if listed else None),
        bandwidth_gbps=given.get("gbps", listed.bandwidth_gbps if listed else None),
        memory_gib=given.get("mem_gb", listed.memory_gib if listed else None),
        slices=listed.slices if listed else (),
    )


def _column(name: str, options: Sequence[Any], values: Sequence[Any]) -> KnobColumn:
    numeric = all(isinstance(option, int | float) and not isinstance(option, bool) for option in options)
    ordered = sorted(options) if numeric else list(options)
    place = {json.dumps(option): k for k, option in enumerate(ordered)}
    return KnobColumn(
        name=name,
        positions=np.array([place[json.dumps(value)] for value in values], dtype=np.int16),
        numbers=tuple(float(option) for option in ordered) if numeric else None,
        labels=tuple(str(option) for option in ordered),
    )


def observation_of(terrain: Terrain, row: int, result: Result) -> Observation:
    outcome = OUTCOMES.get(result["status"], "failed")
    if outcome != "served":
        return Observation(row=row, outcome=outcome)
    through, batch, service = (
        result.get("throughput_rps", 0.0),
        result.get("mean_batch"),
        result.get("gpu_ms_per_batch"),
    )
    busy = result.get("cpu_util")
    kernel = None
    if batch and through and result.get("gpu_util") is not None:
        kernel = min(result["gpu_util"] * 1000.0 * batch / through, service or float("inf"))
    return Observation(
        row=row,
        outcome="served",
        offered_rps=result.get("offered_rps", terrain.offered_rps[row]),
        throughput_rps=through,
        latency_ms=result["p99_ms"],
        median_ms=result.get("p50_ms"),
        requests=int(result.get("n_requests", 1000)),
        busy_cores=None if busy is None else busy * float(terrain.cores[row]),
        service_ms=service,
        kernel_ms=kernel,
        mean_batch=batch,
        memory_peak_gib=result.get("mem_peak_gb"),
    )


class StructuredSession:
    """One study of the structured search."""

    def __init__(self, info: Info, costs: Costs, seed: int) -> None:
        self.configs = [config for config, _ in costs]
        self.rows = {json.dumps(config, sort_keys=True): k for k, config in enumerate(self.configs)}
        self.search = StructuredSearch(terrain_of(info, costs, seed))

    def observe(self, config: Json, result: Result) -> None:
        row = self.rows[json.dumps(config, sort_keys=True)]
        self.search.observe(observation_of(self.search.terrain, row, result))

    def answer(self, question: Question) -> Json:
        with one_thread():
            return self._answer(question)

    def _answer(self, question: Question) -> Json:
        match question:
            case "suggest":
                step = self.search.suggest()
                if isinstance(step, Stop):
                    return {"stop": True, "reason": step.reason}
                return {"config": self.configs[step.row]}
            case "recommend":
                chosen = self.search.recommend()
                return {"config": None if chosen is None else self.configs[chosen.row]}
            case _ as unreachable:
                assert_never(unreachable)
