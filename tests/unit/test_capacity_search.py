"""The search for a capacity in virtual time: how often its interval holds the truth, and what it does not believe."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.benchmarks.capacity_search import (
    NOBODY,
    QueueGenerator,
    by_fixed_windows,
    deterministic,
    exponential,
    found,
    holds,
    profile,
)
from tuner.capacity_search import IDLE_RPS, search_capacity
from tuner.domain.deployment import Deployment
from tuner.domain.load import GeneratorHealth, LoadProfile, LoadRun
from tuner.domain.slo import Verdict

QUEUE = deterministic(0.005, 0.025)
STARVED = GeneratorHealth(cpu_ratio=0.95, cpu_ms_per_request=1.0, workers_lost=0)


@pytest.mark.parametrize("queue", [QUEUE, exponential(0.005, 0.050)], ids=lambda queue: queue.name)
def test_the_interval_holds_the_true_capacity_in_95_of_100_searches(queue):
    """Seeded: the same searches every time. 40 of them, and at most two may miss; the benchmark makes more."""
    searches = [found(queue, seed, 20.0) for seed in range(40)]
    assert sum(holds(one.capacity, queue.capacity_rps) for one in searches) >= 38
    assert sum(one.capacity.high_rps is not None for one in searches) >= 36


def test_it_takes_less_load_than_a_bisection_with_60_seconds_for_each_load():
    ours, fixed = [found(QUEUE, seed) for seed in range(10)], [by_fixed_windows(QUEUE, seed) for seed in range(10)]
    assert sum(one.load_s for one in ours) < 0.9 * sum(one.load_s for one in fixed)
    assert sum(holds(one.capacity, QUEUE.capacity_rps) for one in ours) == 10


class _Spoiled(QueueGenerator):
    """The generator is starved in the runs that `spoils` says."""

    def __init__(self, spoils) -> None:
        super().__init__(QUEUE)
        self.spoils = spoils
        self.rates_rps: list[float] = []

    def drive(self, deployment: Deployment, profile: LoadProfile) -> LoadRun:
        run = super().drive(deployment, profile)
        self.rates_rps.append(profile.offered_rps)
        return replace(run, generator=STARVED) if self.spoils(len(self.rates_rps), profile) else run


def searched(generator: QueueGenerator, first_rps: float = 50.0):
    return search_capacity(generator, NOBODY, profile(QUEUE, first_rps, 20.0, 1), (QUEUE.slo,))


def test_a_spoiled_measurement_is_repeated_and_not_believed():
    result = searched(_Spoiled(lambda number, _: number % 2 == 1))
    assert all(level.verdict is not None for level in result.levels)
    assert holds(result.capacity, QUEUE.capacity_rps)


def test_what_is_spoiled_again_and_again_is_neither_pass_nor_fail():
    generator = _Spoiled(lambda _, load: load.offered_rps > 90.0)
    result = searched(generator)
    beyond = [level for level in result.levels if level.offered_rps > 90.0]
    assert beyond
    assert all(level.verdict is None for level in beyond)
    assert all(generator.rates_rps.count(level.offered_rps) == 3 for level in beyond)
    assert result.capacity.high_rps is None
    assert result.capacity.low_rps <= 90.0


def test_where_every_measurement_is_spoiled_nothing_is_claimed():
    result = searched(_Spoiled(lambda *_: True))
    assert result.best.verdict is None
    assert (result.capacity.low_rps, result.capacity.high_rps) == (0.0, None)


class _Backlog(QueueGenerator):
    """A server that still works off what a load beyond it left behind: the next run's requests wait for that first."""

    def __init__(self) -> None:
        super().__init__(QUEUE)
        self.left_s = 0.0

    def drive(self, deployment: Deployment, profile: LoadProfile) -> LoadRun:
        run = super().drive(deployment, profile)
        samples, left_s = run.samples, self.left_s
        waiting = tuple(
            max(done_s, left_s + 0.005) for due_s, done_s in zip(samples.intended_s, samples.done_s, strict=True)
        )
        excess = profile.offered_rps / 200.0 - 1.0
        self.left_s = max(0.0, left_s - run.profile.duration_s) + max(0.0, excess) * run.profile.duration_s
        return replace(run, samples=replace(samples, done_s=waiting))


def test_a_lower_load_is_not_blamed_for_what_a_higher_one_left_behind():
    generator = _Backlog()
    result = searched(generator, first_rps=1000.0)
    assert holds(result.capacity, QUEUE.capacity_rps), result.capacity
    assert generator.left_s == 0.0
    assert result.levels[0].verdict is Verdict.FAIL
    assert IDLE_RPS not in {level.offered_rps for level in result.levels}
