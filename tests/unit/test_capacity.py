"""The search for a capacity: it ends, and its interval holds the truth whenever the verdicts are right."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.domain.capacity import (
    MOST_LOOKS,
    Capacity,
    Look,
    Probe,
    capacity_of,
    fewest_requests,
    may_still_be_decided,
    next_look,
    short_window_s,
)
from tuner.domain.slo import Slo, Tally, Verdict

P99 = Slo(indicator="latency_p99_ms", max=50.0)
Show = Callable[[Look], Probe]


def searched(show: Show, first_rps: float, *, lowest_rps: float = 0.0) -> list[Probe]:
    """The last probe of each load, in the order in which loads were first tried."""
    probes: dict[float, Probe] = {}
    for _ in range(MOST_LOOKS):
        look = next_look(list(probes.values()), first_rps, lowest_rps=lowest_rps)
        if look is None:
            break
        assert look.offered_rps not in probes or look.whole
        probes[look.offered_rps] = show(look)
    return list(probes.values())


def service(capacity_rps: float, *, doubtful: float = 0.0, ceiling_rps: float = math.inf) -> Show:
    """Passes below its capacity, fails above, undecided around it and at short looks; unmeasurable from a ceiling."""

    def show(look: Look) -> Probe:
        rate_rps = look.offered_rps
        good = rate_rps <= capacity_rps
        verdict: Verdict | None = Verdict.PASS if good else Verdict.FAIL
        if not look.whole or capacity_rps / (1.0 + doubtful) < rate_rps < capacity_rps * (1.0 + doubtful):
            verdict = Verdict.UNDECIDED
        if rate_rps >= ceiling_rps:
            verdict = None
        settled = look.whole or verdict is None
        return Probe(offered_rps=rate_rps, verdict=verdict, looks_good=good, settled=settled)

    return show


@given(capacity_rps=st.floats(3.0, 3000.0), first_rps=st.floats(10.0, 100.0))
def test_the_interval_is_narrow_and_holds_the_capacity(capacity_rps: float, first_rps: float):
    found = capacity_of(searched(service(capacity_rps), first_rps))
    assert found.high_rps is not None
    assert found.low_rps <= capacity_rps < found.high_rps
    assert found.high_rps <= 1.05 * found.low_rps


@given(capacity_rps=st.floats(20.0, 2000.0), doubtful=st.floats(0.0, 0.3))
def test_loads_that_stay_undecided_widen_the_interval_and_the_search_still_ends(capacity_rps: float, doubtful: float):
    probes = searched(service(capacity_rps, doubtful=doubtful), 50.0)
    found = capacity_of(probes)
    assert found.high_rps is not None
    assert found.low_rps <= capacity_rps <= found.high_rps
    assert found.high_rps / found.low_rps <= (1.0 + doubtful) ** 2 * 1.2**2
    assert len({probe.offered_rps for probe in probes}) == len(probes)


def test_whole_windows_are_spent_only_near_the_capacity():
    looks: list[Look] = []

    def show(look: Look) -> Probe:
        looks.append(look)
        return service(100.0, doubtful=0.1)(look)

    searched(show, 8.0)
    assert sum(look.whole for look in looks) <= 8
    assert all(100.0 / 1.5 <= look.offered_rps <= 150.0 for look in looks if look.whole)


def test_a_service_that_never_passes_has_no_lower_bound_but_zero():
    assert capacity_of(searched(service(0.01), 100.0)).low_rps == 0.0


def test_no_load_is_tried_at_which_nothing_could_be_shown():
    assert min(probe.offered_rps for probe in searched(service(0.01), 100.0, lowest_rps=20.0)) >= 20.0


def test_what_cannot_be_measured_is_a_ceiling_and_no_failure():
    probes = searched(service(1000.0, ceiling_rps=150.0), 10.0)
    found = capacity_of(probes)
    assert found.high_rps is None
    assert 100.0 <= found.low_rps < 150.0
    assert sum(probe.verdict is None for probe in probes) <= 2


def test_a_first_load_that_cannot_be_measured_is_lowered():
    found = capacity_of(searched(service(30.0, ceiling_rps=90.0), 100.0))
    assert found.low_rps <= 30.0 <= (found.high_rps or 0.0) <= 1.05 * found.low_rps


def test_a_pass_beyond_a_fail_is_not_believed():
    verdicts = {10.0: Verdict.PASS, 20.0: Verdict.FAIL, 30.0: Verdict.PASS}
    probes = [Probe(offered_rps=r, verdict=v, looks_good=v is Verdict.PASS, settled=True) for r, v in verdicts.items()]
    assert capacity_of(probes) == Capacity(low_rps=10.0, high_rps=20.0)


@pytest.mark.parametrize("seed", range(50))
def test_any_verdicts_at_all_end_the_search(seed: int):
    source = random.Random(seed)

    def show(look: Look) -> Probe:
        verdict = source.choice([*Verdict, None])
        settled = look.whole or verdict is not Verdict.UNDECIDED
        return Probe(offered_rps=look.offered_rps, verdict=verdict, looks_good=source.random() < 0.5, settled=settled)

    probes = searched(show, 50.0)
    assert probes
    assert next_look(probes, 50.0) is None or len(probes) > 5


def test_a_short_look_expects_ten_late_requests_and_is_at_most_half_the_window():
    assert short_window_s([P99], 200.0, 60.0) == pytest.approx(5.0)
    assert short_window_s([P99], 20.0, 60.0) == 30.0
    assert short_window_s([P99], 1e6, 60.0) == 2.0


def test_a_pass_takes_528_requests_at_the_least():
    assert fewest_requests([P99]) == 528


@pytest.mark.parametrize(("bad", "possible"), [(0, True), (10, False), (60, True)])
def test_more_load_is_only_worth_it_where_it_may_decide(bad: int, possible: bool):
    tally = Tally(slo=P99, requests=1000, bad=bad, observed=0.0, design_effect=2.0)
    assert may_still_be_decided([tally], 4.0) is possible
