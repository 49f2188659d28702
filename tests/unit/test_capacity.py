"""The search for a capacity: it ends, and its interval holds the truth whenever the verdicts are right."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.domain.capacity import MOST_PROBES, Capacity, Probe, capacity_of, next_load_rps
from tuner.domain.slo import Verdict


def search(capacity_rps: float, first_rps: float, *, doubtful: float = 0.0, highest_rps: float = float("inf")):
    """Probes of a service that passes below its capacity, fails above, and is undecided `doubtful` around it."""
    probes: list[Probe] = []
    while (rate := next_load_rps(probes, first_rps, highest_rps=highest_rps)) is not None:
        verdict = Verdict.PASS if rate <= capacity_rps else Verdict.FAIL
        if capacity_rps * (1.0 - doubtful) < rate < capacity_rps * (1.0 + doubtful):
            verdict = Verdict.UNDECIDED
        probes.append(Probe(offered_rps=rate, verdict=verdict))
    return probes


@given(capacity_rps=st.floats(3.0, 3000.0), first_rps=st.floats(10.0, 100.0))
def test_the_interval_is_narrow_and_holds_the_capacity(capacity_rps: float, first_rps: float):
    probes = search(capacity_rps, first_rps)
    found = capacity_of(probes)
    assert len(probes) <= MOST_PROBES
    assert found.high_rps is not None
    assert found.low_rps <= capacity_rps < found.high_rps
    assert found.high_rps <= 1.05 * found.low_rps


@given(capacity_rps=st.floats(20.0, 2000.0), doubtful=st.floats(0.0, 0.4))
def test_loads_that_stay_undecided_widen_the_interval_and_the_search_still_ends(capacity_rps: float, doubtful: float):
    probes = search(capacity_rps, 50.0, doubtful=doubtful)
    found = capacity_of(probes)
    assert len(probes) <= MOST_PROBES
    assert found.low_rps <= capacity_rps
    assert found.high_rps is None or found.high_rps >= capacity_rps
    assert len({probe.offered_rps for probe in probes}) == len(probes)


def test_a_service_that_never_passes_has_no_lower_bound_but_zero():
    assert capacity_of(search(0.01, 100.0)).low_rps == 0.0


def test_what_the_generator_cannot_send_is_not_tried():
    assert capacity_of(search(1000.0, 10.0, highest_rps=100.0)) == Capacity(low_rps=100.0, high_rps=None)


def test_a_pass_beyond_a_fail_is_not_believed():
    probes = [Probe(offered_rps=10.0, verdict=Verdict.PASS), Probe(offered_rps=20.0, verdict=Verdict.FAIL)]
    assert capacity_of([*probes, Probe(offered_rps=30.0, verdict=Verdict.PASS)]) == Capacity(
        low_rps=10.0, high_rps=20.0
    )


@pytest.mark.parametrize("seed", range(20))
def test_any_verdicts_at_all_end_the_search(seed: int):
    source, probes = random.Random(seed), []
    while (rate := next_load_rps(probes, 50.0)) is not None:
        probes.append(Probe(offered_rps=rate, verdict=source.choice(list(Verdict))))
    assert 1 <= len(probes) <= MOST_PROBES
