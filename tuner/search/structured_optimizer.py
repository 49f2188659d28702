"""The default optimizer: the structured search behind the `Optimizer` port."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tuner.domain.earlier import EarlierStudy, comparable
from tuner.domain.measurement import Measurement
from tuner.domain.recommendation import miss
from tuner.domain.slo import PERCENT
from tuner.domain.space import Configuration, Knob, SearchSpace, shown
from tuner.domain.spec import StudySpec
from tuner.domain.trial import Exhausted, Failed, Infeasible, Measured, Proposal, Trial
from tuner.gpu_catalogue import gpu_type
from tuner.search.one_thread import one_thread
from tuner.search.own_arrivals import family_of, queues_of
from tuner.search.problem import SearchProblem, search_problem
from tuner.search.structured.earlier import Earlier, Estimate, estimate
from tuner.search.structured.engine import Step, StructuredSearch
from tuner.search.structured.fitting_times import FittingTimes, while_searching
from tuner.search.structured.observation import (
    AcceleratorSpec,
    Floats,
    Ints,
    KnobColumn,
    Observation,
    Outcome,
    Terrain,
)
from tuner.search.structured.warm import WarmSearch
from tuner.search.untried import all_tried, index_of, taken_indices

# The knobs that money depends on (tuner.domain.cost.Pricing): all others share a price.
PRICED = ("cpu_cores", "memory_gib", "gpu_type", "gpu_memory_share")
KNOWN = (*PRICED, "max_batch_size", "queue_delay_ms", "instances")
PERCENTILE_OF = {"latency_p50_ms": "p50", "latency_p90_ms": "p90", "latency_p95_ms": "p95", "latency_p99_ms": "p99"}
PERCENTILE_OF["latency_p99_9_ms"] = "p99_9"
# A proof at 99 % confidence needs a service that is a little better than its limit: with the tens of thousands of
# requests of three proof runs, two per cent.
PROVABLE_SHARE = 0.98
FALLBACK_LIMIT_MS = 1000.0
MANY_WORTH_A_LEVEL = 0.15
# By how much more than usual a test of another study may be off: another day, another node.
DOUBT = 0.1


def terrain_of(problem: SearchProblem) -> Terrain:
    """Every configuration with every number of replicas; row = configuration index x max_replicas + replicas - 1."""
    space, most = problem.space, problem.max_replicas
    size = len(space)
    replicas = np.tile(np.arange(1, most + 1, dtype=float), size)
    columns = [_column(space, k, most) for k in range(len(space.knobs))]
    by_name = {column.name: column for column in columns}
    footprint = problem.pricing.footprint

    def numbers(name: str, default: float) -> Floats:
        column = by_name.get(name)
        if column is None or column.numbers is None:
            return np.full(size * most, default)
        return np.array(column.numbers)[column.positions]

    types = by_name.get("gpu_type")
    names = types.labels if types else (footprint.gpu_type,) if footprint.gpu_type else ()
    limit_ms, percentile = _bound(problem)
    return Terrain(
        knobs=(*columns, _replica_column(replicas, most)),
        cost=np.maximum(np.repeat(_unit_costs(problem), most) * replicas, 1e-9),
        offered_rps=problem.mean_rps / replicas,
        cores=np.maximum(numbers("cpu_cores", footprint.cpu_cores), 0.1),
        accelerator=types.positions.astype(np.int64) if types else np.zeros(size * most, dtype=np.int64),
        share=numbers("gpu_memory_share", footprint.gpu_memory_share),
        batch=np.maximum(numbers("max_batch_size", 1.0), 1.0),
        delay_ms=numbers("queue_delay_ms", 0.0),
        instances=np.maximum(numbers("instances", 1.0), 1.0),
        accelerators=tuple(_spec(name) for name in names),
        strangers=tuple(c for c in columns if c.name not in KNOWN and len(c.labels) > 1),
        limit_ms=limit_ms * PROVABLE_SHARE,
        percentile=percentile,
        family=None if problem.load is None else family_of(problem.load),
        queues=None if problem.load is None else queues_of(problem.load),
        seed=problem.seed,
    )


def _spec(name: str) -> AcceleratorSpec:
    listed = gpu_type(name)
    if listed is None:
        return AcceleratorSpec(name=name)
    return AcceleratorSpec(
        name=name,
        tflops=listed.tflops,
        bandwidth_gbps=listed.bandwidth_gbps,
        memory_gib=listed.memory_gib,
        slices=listed.slices,
    )


def _bound(problem: SearchProblem) -> tuple[float, str]:
    """The latency objective that the model predicts: the highest percentile; the others count by how far they miss."""
    latency = [slo for slo in problem.slos if slo.indicator in PERCENT]
    if not latency:
        return FALLBACK_LIMIT_MS, "p99"
    slo = max(latency, key=lambda one: PERCENT[one.indicator])
    return slo.max, PERCENTILE_OF[slo.indicator]


def _column(space: SearchSpace, k: int, most: int) -> KnobColumn:
    knob = space.knobs[k]
    inner = math.prod(len(other.values) for other in space.knobs[k + 1 :]) * most
    outer = len(space) * most // (inner * len(knob.values))
    positions = np.tile(np.repeat(np.arange(len(knob.values), dtype=np.int16), inner), outer)
    return KnobColumn(
        name=knob.name,
        positions=positions,
        numbers=_numbers(knob),
        labels=tuple(shown(value) for value in knob.values),
    )


def _numbers(knob: Knob) -> tuple[float, ...] | None:
    return tuple(float(value) for value in knob.values) if knob.ordered else None


def _replica_column(replicas: Floats, most: int) -> KnobColumn:
    values = range(1, most + 1)
    return KnobColumn(
        name="replicas",
        positions=(replicas - 1).astype(np.int16),
        numbers=tuple(float(value) for value in values),
        labels=tuple(str(value) for value in values),
    )


def _unit_costs(problem: SearchProblem) -> Floats:
    """Exact, but priced once per combination of the knobs that money depends on."""
    space = problem.space
    priced = [k for k, knob in enumerate(space.knobs) if knob.name in PRICED]
    some = SearchSpace(
        knobs=tuple(space.knobs[k] if k in priced else _first(space.knobs[k]) for k in range(len(space.knobs)))
    )
    costs = np.array([problem.unit_cost_per_hour(configuration) for configuration in map(some.at, range(len(some)))])
    shape = tuple(len(knob.values) for knob in some.knobs)
    full = tuple(len(knob.values) for knob in space.knobs)
    return np.asarray(np.broadcast_to(costs.reshape(shape), full).ravel())


def _first(knob: Knob) -> Knob:
    return Knob(name=knob.name, values=knob.values[:1])


def observations_of(problem: SearchProblem, terrain: Terrain, trial: Trial) -> Iterator[Observation]:
    """What a trial tells: one observation a load level; a refusal speaks for every number of replicas."""
    if trial.configuration not in problem.space:
        return
    first = index_of(problem.space, trial.configuration) * problem.max_replicas
    match trial.outcome:
        case Measured(levels=levels):
            for level in levels:
                if 1 <= level.replicas <= problem.max_replicas:
                    yield _served(terrain, first + level.replicas - 1, level.measurement)
        case Infeasible(reason=reason):
            also = tuple(range(first + 1, first + problem.max_replicas))
            yield Observation(row=first, outcome=_refusal(reason), also=also)
        case Failed():
            yield Observation(row=first, outcome="failed")


# A cluster's words for a host's memory, a node's size and a quota: of the accelerator's memory they say nothing.
_OF_THE_HOST = ("the kernel killed", "no node is large enough", "too_large", "quota", "outside_limit_range")


def _refusal(reason: str) -> Outcome:
    text = reason.lower()
    if "memory" in text and not any(words in text for words in _OF_THE_HOST):
        return "out_of_memory"
    return "unschedulable" if "slice" in text or "schedul" in text else "infeasible"


def _served(terrain: Terrain, row: int, seen: Measurement) -> Observation:
    told = seen.telemetry
    batches, answered = told.execution_count, told.inference_count
    missed = miss(seen)
    return Observation(
        row=row,
        outcome="served",
        offered_rps=seen.offered_rps,
        throughput_rps=min(seen.carried_rps, seen.offered_rps),
        latency_ms=max(missed, 1e-3) * terrain.limit_ms / PROVABLE_SHARE,
        median_ms=seen.latency_ms.p50 if math.isfinite(seen.latency_ms.p50) else None,
        requests=seen.requests,
        busy_cores=told.cpu_s / seen.window_s if told.cpu_s and terrain.accelerators else None,
        # every request counts its whole batch's time: this is the time of the batch that a request finds itself in
        service_ms=1000.0 * told.compute_s / answered if told.compute_s and answered else None,
        mean_batch=answered / batches if answered and batches else None,
    )


def earlier_of(problem: SearchProblem, terrain: Terrain) -> Earlier:
    """What earlier studies say, for this terrain.

    Tests of the same model on knobs of the same names are tests, wherever the values are in the space; of any other
    study only what it says of the physics' parameters is used.
    """
    seen: list[Observation] = []
    fitted: list[Estimate] = []
    for study in problem.earlier:
        if study.same_model and _same_knobs(problem, study.spec):
            for trial in study.trials:
                seen += [replace(one, doubt=DOUBT) for one in _earlier_tests(problem, terrain, trial)]
            continue
        own = replace(search_problem(study.spec), slos=problem.slos)
        ground = terrain_of(own)
        tests = [one for trial in study.trials for one in observations_of(own, ground, trial)]
        found = estimate(ground, tests, same_model=study.same_model)
        fitted += [] if found is None else [found]
    return Earlier(observations=tuple(seen), parameters=tuple(fitted))


def _same_knobs(problem: SearchProblem, earlier: StudySpec) -> bool:
    names = {knob.name for knob in problem.space.knobs}
    return (
        names == {knob.name for knob in earlier.space.knobs} and problem.pricing.footprint == earlier.pricing.footprint
    )


def _earlier_tests(problem: SearchProblem, terrain: Terrain, trial: Trial) -> Iterator[Observation]:
    """As `observations_of`, but each load level at the number of replicas whose load is nearest now."""
    if trial.configuration not in problem.space:
        return
    if not isinstance(trial.outcome, Measured):
        yield from observations_of(problem, terrain, trial)
        return
    first = index_of(problem.space, trial.configuration) * problem.max_replicas
    offered = terrain.offered_rps[first : first + problem.max_replicas]
    for level in trial.outcome.levels:
        nearest = int(np.argmin(np.abs(np.log(offered / level.measurement.offered_rps))))
        yield _served(terrain, first + nearest, level.measurement)


@dataclass(slots=True)
class _Memory:
    """How far the history has been replayed, beginning with which earlier studies; only ever a shortcut."""

    search: WarmSearch
    earlier: tuple[EarlierStudy, ...]
    replayed: tuple[Trial, ...] = ()


@dataclass(frozen=True, slots=True)
class StructuredOptimizer:
    """Known cost, learned capacity: physics weighed against a plain model (see `tuner.search.structured`).

    Stops by itself once nothing cheaper than its best candidate is plausible, and says so. `fitted_at` says after how
    many observations the models are fitted although nobody asked.
    """

    problem: SearchProblem
    fitted_at: FittingTimes = while_searching
    _kept: list[_Memory] = field(default_factory=list, compare=False, repr=False)

    def suggest(self, history: Sequence[Trial], pending: Sequence[Configuration] = ()) -> Proposal | Exhausted:
        problem = self.problem
        taken = taken_indices(problem.space, history, pending)
        if len(taken) >= len(problem.space):
            return Exhausted(reason=all_tried(problem.space))
        with one_thread():
            return self._next(history, taken, pending)

    def _next(
        self, history: Sequence[Trial], taken: Sequence[int], pending: Sequence[Configuration]
    ) -> Proposal | Exhausted:
        problem = self.problem
        search = self.replay(history)
        most = problem.max_replicas
        blocked = (np.array(taken, dtype=np.int64)[:, None] * most + np.arange(most)).ravel()
        match search.suggest(blocked, retests=False, pending=self._pending_rows(pending)):
            case Step(row=row):
                index = row // most
                return Proposal(
                    configuration=problem.space.at(index),
                    replica_counts=self._counts(search, index, row % most + 1),
                )
            case stop:
                return Exhausted(reason=stop.reason)

    def replay(self, history: Sequence[Trial]) -> StructuredSearch:
        """The search after this history; goes on from what it remembers where the history only grew."""
        trials = tuple(history)
        earlier = comparable(self.problem.earlier, trials)
        if self._kept:
            memory = self._kept[0]
            if trials[: len(memory.replayed)] == memory.replayed and memory.earlier == earlier:
                return self._advance(memory, trials)
            self._kept.clear()
        terrain = terrain_of(self.problem)
        told = earlier_of(replace(self.problem, earlier=earlier), terrain)
        memory = _Memory(WarmSearch(terrain, told, self.fitted_at), earlier)
        self._kept.append(memory)
        return self._advance(memory, trials)

    def _advance(self, memory: _Memory, trials: tuple[Trial, ...]) -> StructuredSearch:
        for trial in trials[len(memory.replayed) :]:
            for seen in observations_of(self.problem, memory.search.now.terrain, trial):
                memory.search.observe(seen)
        memory.replayed = trials
        return memory.search.now

    def _pending_rows(self, pending: Sequence[Configuration]) -> Ints:
        space, most = self.problem.space, self.problem.max_replicas
        rows = [index_of(space, c) * most for c in pending if c in space]
        return np.array(rows, dtype=np.int64)

    def _counts(self, search: StructuredSearch, index: int, likely: int) -> tuple[int, ...]:
        """Load levels for one deployment: from the fewest replicas with a fair chance, on to more."""
        most = self.problem.max_replicas
        rows = index * most + np.arange(most)
        fair = np.flatnonzero(search.feasible(rows) >= MANY_WORTH_A_LEVEL) + 1
        fewest = int(min([likely, *fair.tolist()]))
        return tuple(range(fewest, most + 1))
