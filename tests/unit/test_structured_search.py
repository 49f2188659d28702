"""The structured search, piece by piece: what it must have right before any benchmark."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from tests.benchmarks.search_structureless import study
from tests.specs import space_of
from tests.worlds import a_measurement, a_problem, a_trial, explore, queue_world
from tuner.domain.deployment import Telemetry
from tuner.domain.errors import UsageError
from tuner.domain.trial import Infeasible, Level, Measured, Proposal
from tuner.gpu_catalogue import gpu_type, read_gpu_types, shipped_gpu_types
from tuner.search import stdio
from tuner.search.structured.engine import Step, Stop, StructuredSearch
from tuner.search.structured.explain import cheaper_neighbours, knob_importance, what_if
from tuner.search.structured.memory import can_be_scheduled, fits_in_memory
from tuner.search.structured.observation import Observation, Terrain
from tuner.search.structured.physics import physics_of
from tuner.search.structured.physics_fit import CAPACITY, evidence, fit, predicted_channels
from tuner.search.structured.queue_simulation import FAMILIES, arrivals, batch_stage, core_stage
from tuner.search.structured.queue_table_build import CAPS, DELAYS, FIXED_SHARES, LOADS, batch_table
from tuner.search.structured.queue_tables import batch_coordinates, read, tables
from tuner.search.structured_optimizer import StructuredOptimizer, observations_of, terrain_of
from tuner.search.structured_protocol import StructuredSession
from tuner.search.structured_protocol import terrain_of as terrain_of_scenario

SPACE = {"gpu": ["T4", "A30"], "share": [0.25, 0.375, 0.5, 1.0], "cpu": [1, 2, 4, 8], "batch": [1, 8, 32]}
INFO = {
    "space": SPACE,
    "target_rps": 400.0,
    "p99_limit_ms": 60.0,
    "gpu_specs": {
        "T4": {"tflops": 65.0, "gbps": 320.0, "mem_gb": 16.0},
        "A30": {"tflops": 165.0, "gbps": 933.0, "mem_gb": 24.0},
    },
    "weights_gb": 0.2,
}


def configs() -> list[tuple[dict, float]]:
    prices = {"T4": 0.4, "A30": 1.4}
    return [
        ({"gpu": g, "share": s, "cpu": c, "batch": b}, prices[g] * s + 0.04 * c)
        for g in SPACE["gpu"]
        for s in SPACE["share"]
        for c in SPACE["cpu"]
        for b in SPACE["batch"]
    ]


def a_terrain() -> Terrain:
    return terrain_of_scenario(INFO, configs(), 3)


def served(row: int, *, p99_ms: float, batch: float = 2.0, memory_gib: float | None = None) -> Observation:
    return Observation(
        row=row,
        outcome="served",
        offered_rps=400.0,
        throughput_rps=400.0,
        latency_ms=p99_ms,
        median_ms=p99_ms / 3,
        requests=20_000,
        busy_cores=0.8,
        service_ms=4.0,
        mean_batch=batch,
        memory_peak_gib=memory_gib,
    )


def row_of(**wanted) -> int:
    return next(k for k, (config, _) in enumerate(configs()) if config == wanted)


class TestQueues:
    @pytest.mark.parametrize("family", FAMILIES, ids=lambda one: one.name)
    def test_arrivals_ascend_and_keep_the_rate(self, family):
        times = arrivals(family, 60_000, seed=4)
        assert (np.diff(times) >= 0).all()
        assert len(times) / times[-1] == pytest.approx(1.0, rel=0.12)

    def test_a_batcher_without_batching_is_the_textbook_queue(self):
        """M/D/1 at load 0.5: mean wait is half a service time (Pollaczek-Khinchine)."""
        times = arrivals(FAMILIES[0], 200_000, seed=2)
        one, half = np.ones(1), np.full(1, 0.5)
        found = batch_stage(times, cap=one, fixed=half, slope=np.zeros(1), delay=np.zeros(1))
        assert found[0, 5] == pytest.approx(0.5 + 0.25, rel=0.03)

    def test_a_batch_waits_for_company_no_longer_than_its_delay(self):
        times = np.arange(0.0, 4_000.0, 10.0)
        found = batch_stage(times, cap=np.full(1, 8.0), fixed=np.ones(1), slope=np.zeros(1), delay=np.array([3.0]))
        assert found[0, 3] == pytest.approx(4.0)

    def test_one_core_is_the_textbook_queue_too(self):
        times = arrivals(FAMILIES[0], 100_000, seed=2)
        found = core_stage(times, cores=1, service=np.full(1, 0.5), spread=np.ones(len(times)))
        assert found[0, 5] == pytest.approx(0.75, rel=0.03)

    def test_the_shipped_tables_are_what_the_simulation_gives(self):
        caps = CAPS[2:4]
        again = np.mean([batch_table(FAMILIES[0], requests=20_000, seed=17 + k, caps=caps) for k in range(3)], axis=0)
        shipped = np.moveaxis(tables("poisson").batch, 0, -1)[2:4]
        assert np.abs(again - shipped).max() < 0.02

    def test_reading_a_table_at_a_grid_point_gives_the_entry(self):
        found = tables("poisson").batch
        place = batch_coordinates(cap=CAPS[[3]], delay=DELAYS[[0]], fixed_share=FIXED_SHARES[[2]], load=LOADS[[7]])
        assert read(found[3], place)[0] == pytest.approx(found[3][3, 0, 2, 7])


class TestStarting:
    def test_a_measured_peak_tells_what_fits_elsewhere(self):
        terrain = a_terrain()
        rows = np.array([row_of(gpu="T4", share=0.25, cpu=2, batch=32), row_of(gpu="T4", share=1.0, cpu=2, batch=32)])
        big = row_of(gpu="A30", share=1.0, cpu=2, batch=32)
        chance = fits_in_memory(terrain, [served(big, p99_ms=20, memory_gib=9.0)], rows)
        assert chance[0] < 0.05
        assert chance[1] > 0.95

    def test_the_memory_of_an_unlisted_type_is_learned_from_refusals(self):
        """Thirty tests of one slice that cannot hold the model, because no data sheet says so."""
        info = INFO | {"gpu_specs": {"T4": INFO["gpu_specs"]["T4"]}, "weights_gb": 9.0}
        named = [({**c, "gpu": "NOVEL" if c["gpu"] == "A30" else "T4"}, k) for c, k in configs()]
        terrain = terrain_of_scenario(info | {"space": SPACE | {"gpu": ["T4", "NOVEL"]}}, named, 3)
        small, whole = row_of(gpu="A30", share=0.25, cpu=2, batch=1), row_of(gpu="A30", share=1.0, cpu=2, batch=1)
        rows = np.array([row_of(gpu="A30", share=0.25, cpu=8, batch=1), whole])
        chance = fits_in_memory(terrain, [Observation(row=small, outcome="out_of_memory")], rows)
        assert chance[0] < 0.05
        assert chance[1] > 0.3

    def test_one_refused_odd_slice_refuses_the_others(self):
        terrain = a_terrain()
        odd = row_of(gpu="A30", share=0.375, cpu=2, batch=8)
        even = row_of(gpu="A30", share=0.5, cpu=2, batch=8)
        before = can_be_scheduled(terrain, [], np.array([odd, even]))
        after = can_be_scheduled(terrain, [Observation(row=odd, outcome="unschedulable")], np.array([odd, even]))
        assert before[0] < before[1]
        assert after[0] < 0.05
        assert after[1] > 0.8

    def test_an_unlisted_gpu_still_works(self):
        info = INFO | {"space": SPACE | {"gpu": ["T4", "NOVEL"]}}
        costs = [({**c, "gpu": "NOVEL" if c["gpu"] == "A30" else "T4"}, k) for c, k in configs()]
        step = StructuredSession(info, costs, 1).answer("suggest")
        assert step["config"]["gpu"] in ("T4", "NOVEL")


class TestDeciding:
    def test_a_recommendation_was_tested_and_met_the_limit(self):
        search = StructuredSearch(a_terrain())
        assert search.recommend() is None
        good = row_of(gpu="A30", share=1.0, cpu=8, batch=32)
        search.observe(served(good, p99_ms=15.0))
        chosen = search.recommend()
        assert chosen is not None
        assert chosen.row == good

    def test_what_fails_its_tests_is_not_recommended_and_not_tested_for_ever(self):
        search = StructuredSearch(a_terrain())
        bad = row_of(gpu="T4", share=0.25, cpu=4, batch=8)
        for _ in range(4):
            search.observe(served(bad, p99_ms=66.0))
        assert search.recommend() is None
        step = search.suggest()
        assert isinstance(step, Step)
        assert step.row != bad

    def test_only_cheaper_candidates_are_tried_after_a_good_one(self):
        search = StructuredSearch(a_terrain())
        good = row_of(gpu="A30", share=1.0, cpu=4, batch=32)
        search.observe(served(good, p99_ms=15.0))
        step = search.suggest()
        assert isinstance(step, Stop) or search.terrain.cost[step.row] <= search.terrain.cost[good]

    def test_a_pending_neighbour_makes_its_likes_less_interesting(self):
        problem = a_problem(space_of(cpu_cores=tuple(range(1, 17)), max_batch_size=(1, 2, 4, 8)))
        optimizer = StructuredOptimizer(problem)
        pending = []
        for _ in range(3):
            proposal = optimizer.suggest((), pending)
            assert isinstance(proposal, Proposal)
            pending.append(proposal.configuration)
        space = problem.space
        for one, other in itertools.combinations(pending, 2):
            steps = [abs(a - b) for a, b in zip(space.levels(one), space.levels(other), strict=True)]
            assert max(steps) >= 2 or steps == [1, 1]
            assert sum(steps) >= 2

    def test_the_share_of_the_space_that_was_tested_is_known(self):
        search = StructuredSearch(a_terrain())
        search.observe(served(0, p99_ms=15.0))
        assert search.tested_share() == pytest.approx(1 / 96)


class TestWithoutStructure:
    """A small part of what `tests.benchmarks.search_structureless` measures."""

    @pytest.mark.parametrize("surface", ["lottery", "reversed"])
    def test_it_is_no_worse_than_chance(self, surface):
        mine = [study("structured", surface, seed, (30,)).regrets[0] for seed in range(3)]
        chance = [study("random", surface, seed, (30,)).regrets[0] for seed in range(11)]
        assert np.median(mine) <= np.median(chance)


class TestWhatServersSay:
    def test_a_batch_takes_as_long_as_each_of_its_requests_says(self):
        """Triton adds a batch's time to its counter once for every request in it."""
        problem = a_problem(space_of(cpu_cores=(2,), gpu_type=("T4",), max_batch_size=(8,)), max_replicas=1)
        told = Telemetry(inference_count=400, execution_count=100, compute_s=400 * 0.02)
        measured = replace(a_measurement(offered_rps=120.0, latency_ms=30.0), telemetry=told)
        trial = a_trial(problem, 0, problem.space.at(0), Measured(levels=(Level(replicas=1, measurement=measured),)))
        (seen,) = observations_of(problem, terrain_of(problem), trial)
        assert seen.service_ms == pytest.approx(20.0)
        assert seen.mean_batch == pytest.approx(4.0)

    @pytest.mark.parametrize(
        ("reason", "outcome"),
        [
            ("gpu_out_of_memory: CUDA out of memory", "out_of_memory"),
            ("out of GPU memory: the model needs 9 GiB, the share gives 4 GiB", "out_of_memory"),
            ("out_of_memory: the kernel killed the server for its memory limit", "infeasible"),
            ("no node is large enough for cpu 64, memory 4Gi, nvidia.com/gpu 1", "infeasible"),
            ("above_quota: the quota q has 64Gi limits.memory at most", "infeasible"),
        ],
    )
    def test_a_hosts_memory_says_nothing_of_the_accelerators(self, reason, outcome):
        problem = a_problem(space_of(cpu_cores=(2,), gpu_type=("T4",), max_batch_size=(8,)), max_replicas=1)
        trial = a_trial(problem, 0, problem.space.at(0), Infeasible(reason=reason))
        (seen,) = observations_of(problem, terrain_of(problem), trial)
        assert seen.outcome == outcome

    def test_a_server_that_was_given_up_on_may_have_more_capacity_than_it_showed(self):
        """Cores that all present share finish nothing in time: what was answered bounds the capacity from below."""
        terrain = a_terrain()
        row = row_of(gpu="A30", share=1.0, cpu=4, batch=8)
        physics = physics_of(terrain)
        lost = replace(served(row, p99_ms=float("inf")), throughput_rps=10.0, median_ms=None, busy_cores=None)
        known = evidence(physics, [replace(lost, service_ms=None, mean_batch=None)])
        fitted = fit(physics, known, family="poisson", start=None, noise=np.zeros(1))
        found = predicted_channels(physics, known, fitted.theta[None], "poisson")[0, CAPACITY, 0]
        assert np.log(10.0) < found < np.log(400.0) + 0.1


class TestExplaining:
    def test_each_cheaper_neighbour_has_a_reason_and_each_knob_a_weight(self):
        problem = a_problem(space_of(cpu_cores=(1, 2, 4, 8), max_batch_size=(1, 4, 16)), max_replicas=1)
        optimizer = StructuredOptimizer(problem)
        search = optimizer.replay(explore(lambda: optimizer, problem, queue_world, trials=8))
        chosen = search.recommend()
        assert chosen is not None
        neighbours = cheaper_neighbours(search, chosen.row)
        assert all(one.cost < search.terrain.cost[chosen.row] for one in neighbours)
        assert {one.reason for one in neighbours} <= {
            "measured over the limit",
            "refused",
            "predicted not to start",
            "predicted over the limit",
            "untested",
        }
        assert {one.knob for one in knob_importance(search, chosen.row)} == {"cpu_cores", "max_batch_size"}
        assert all(one.low <= one.share_of_limit <= one.high for one in what_if(search, chosen.row))


class TestTerrain:
    def test_rows_are_configurations_times_replicas_with_exact_money(self):
        problem = a_problem(space_of(cpu_cores=(1, 2, 4), gpu_type=("T4", "V100"), max_batch_size=(1, 8)))
        terrain = terrain_of(problem)
        for index, configuration in enumerate(problem.space):
            for replicas in (1, 2):
                row = index * 2 + replicas - 1
                assert terrain.cost[row] == pytest.approx(replicas * problem.unit_cost_per_hour(configuration))
                assert terrain.offered_rps[row] == pytest.approx(problem.required_rps / replicas)
                assert terrain.cores[row] == configuration["cpu_cores"]
                assert terrain.batch[row] == configuration["max_batch_size"]


class TestProtocol:
    @pytest.mark.parametrize("name", ["structured", "random", "grid"])
    def test_a_conversation(self, name):
        written: list[str] = []
        config, cost = configs()[-1]
        result = {"status": "ok", "offered_rps": 400.0, "throughput_rps": 400.0, "p50_ms": 5.0, "p95_ms": 9.0}
        result |= {"p99_ms": 12.0, "frac_over": 0.0, "n_requests": 20_000, "slo_met": True, "test_seconds": 60}
        messages = [
            {"op": "init", "info": INFO, "costs": configs(), "seed": 1},
            {"op": "recommend"},
            {"op": "suggest"},
            {"op": "observe", "config": config, "result": result},
            {"op": "recommend"},
        ]
        stdio.serve([json.dumps(message) for message in messages], written.append, name)
        answers = [json.loads(line) for line in written]
        assert answers[0] == {}
        assert answers[1] == {"config": None}
        assert answers[2]["config"] in [c for c, _ in configs()]
        assert answers[4] == {"config": config}
        assert cost > 0

    def test_the_first_message_opens_the_study(self):
        with pytest.raises(ValueError, match="init"):
            stdio.serve(['{"op": "suggest"}'], print, "structured")


class TestCatalogue:
    def test_types_are_found_by_any_of_their_names(self):
        listed = gpu_type("NVIDIA A100-40GB")
        assert listed is not None
        assert listed.name == "A100-40"
        assert gpu_type("nothing like it") is None

    def test_rows_are_dated_sourced_and_positive(self):
        for row in shipped_gpu_types():
            assert row.as_of
            assert row.source
            assert min(row.memory_gib, row.bandwidth_gbps, row.tflops) > 0
            assert all(0 < share <= 1 for share in row.slices)

    def test_a_broken_row_is_named(self):
        header = "name,aliases,memory_gib,bandwidth_gbps,tflops,slices,as_of,source"
        with pytest.raises(UsageError, match="row 1"):
            read_gpu_types([header, "X,,lots,1,1,,2026-01-01,me"])
