"""The structured search simulates its queues with the arrivals that will be sent."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.specs import a_spec, space_of
from tests.worlds import a_problem
from tuner.domain.arrival_kinds import PRESETS, Arrivals, Diurnal, Gamma
from tuner.domain.load import LoadProfile, Payload
from tuner.search.own_arrivals import family_of, queues_of
from tuner.search.problem import search_problem
from tuner.search.structured.queue_simulation import STATISTICS
from tuner.search.structured.queue_table_build import CAPS, FIXED_SHARES, LOADS
from tuner.search.structured.queue_tables import tables
from tuner.search.structured_optimizer import StructuredOptimizer, terrain_of

P99 = STATISTICS.index("p99")
LIGHT, BUSY = int(np.flatnonzero(LOADS == 0.35)[0]), int(np.flatnonzero(LOADS == 0.78)[0])
ONE, EIGHT = int(np.flatnonzero(CAPS == 1)[0]), int(np.flatnonzero(CAPS == 8)[0])
FIXED = len(FIXED_SHARES) - 1


def a_load(arrivals: Arrivals) -> LoadProfile:
    return LoadProfile(
        arrivals=arrivals, offered_rps=300.0, warmup_s=2.0, window_s=10.0, timeout_s=1.0, payload=Payload(), seed=3
    )


@pytest.mark.parametrize("arrivals", ["poisson", "constant"])
def test_what_has_a_table_needs_no_simulation(arrivals):
    assert queues_of(a_load(arrivals)) is None
    assert tables(family_of(a_load(arrivals))).batch.shape


def test_gamma_gaps_that_are_exponential_give_the_poisson_tables():
    own = queues_of(a_load(Gamma(burstiness=1.0)))
    assert own is not None
    light = own.batch[P99][:, 0, :, : BUSY + 1] - tables("poisson").batch[P99][:, 0, :, : BUSY + 1]
    assert np.median(np.abs(light)) < 0.06
    assert own.core.shape == tables("poisson").core.shape
    assert (own.spread >= 0).all()


def test_burstier_arrivals_wait_longer_at_the_same_load():
    own = queues_of(a_load(Gamma(burstiness=6.0)))
    assert own is not None
    for cap in (ONE, EIGHT):
        assert own.batch[P99][cap, 0, FIXED, BUSY] > tables("poisson").batch[P99][cap, 0, FIXED, BUSY] + 0.4


def test_a_day_in_a_window_queues_at_its_peak():
    own = queues_of(a_load(Diurnal(valley=0.1, peak=1.0)))
    assert own is not None
    assert own.batch[P99][ONE, 0, FIXED, BUSY] > tables("poisson").batch[P99][ONE, 0, FIXED, BUSY] + 1.0


def test_the_terrain_holds_the_mean_load_and_its_arrivals():
    spec = a_spec()
    shaped = replace(spec, load=replace(spec.load, arrivals=PRESETS["short_spike"]))
    terrain = terrain_of(search_problem(shaped))
    assert terrain.family == "spike"
    assert terrain.queues is not None
    assert terrain.offered_rps[0] == pytest.approx(spec.required_rps * 0.3, rel=0.01)
    assert terrain_of(search_problem(spec)).family == "constant"
    assert terrain_of(a_problem(spec.space)).family is None


def test_the_search_suggests_under_shaped_load():
    problem = replace(a_problem(space_of(cpu_cores=(1, 2, 4), max_batch_size=(1, 8))), load=a_load(Gamma(burstiness=4)))
    optimizer = StructuredOptimizer(problem)
    assert optimizer.suggest(()) == StructuredOptimizer(problem).suggest(())
