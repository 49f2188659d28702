from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runners.queue_simulation import ServicePlan, run_batches, serve, share_processor

ONE_AT_A_TIME = ServicePlan(
    cpu_cores=1.0,
    item_cpu_s=0.0,
    item_cpu_cv=0.0,
    batch_work_s=(0.0, 0.010),
    batch_cv=(0.0, 0.0),
    parallel_batches=1.0,
    instances=1,
    preferred_batch_size=1,
    queue_delay_s=0.0,
    network_s=0.0,
    batches_on_cpu=False,
    memory_bytes=0,
)
FOUR_AT_A_TIME = replace(
    ONE_AT_A_TIME, batch_work_s=(0.0, 0.010, 0.011, 0.012, 0.013), batch_cv=(0.0,) * 5, preferred_batch_size=4
)
ARRIVALS = st.lists(st.floats(0.0, 10.0), min_size=1, max_size=40).map(sorted)


def starts_poisson(rate_rps: float, count: int, seed: int) -> list[float]:
    source, now_s, starts = random.Random(seed), 0.0, []
    for _ in range(count):
        now_s += source.expovariate(rate_rps)
        starts.append(now_s)
    return starts


def batches_of(plan: ServicePlan, ready_s: list[float]) -> list[tuple[int, float, float]]:
    return [(b.size, round(b.start_s, 6), round(b.end_s, 6)) for b in run_batches(plan, ready_s, random.Random(0))]


def test_a_job_alone_takes_its_work_on_a_whole_core_and_twice_that_on_half_of_one():
    assert share_processor([1.0], [0.2], 1.0) == pytest.approx([1.2])
    assert share_processor([1.0], [0.2], 4.0) == pytest.approx([1.2])
    assert share_processor([1.0], [0.2], 0.5) == pytest.approx([1.4])


def test_jobs_on_one_core_slow_each_other_down():
    assert share_processor([0.0, 0.0], [0.1, 0.3], 1.0) == pytest.approx([0.2, 0.4])
    assert share_processor([0.0, 0.1], [0.2, 0.05], 1.0) == pytest.approx([0.25, 0.2])


@given(arrivals=ARRIVALS, seed=st.integers(0, 99))
def test_one_core_is_never_idle_while_work_waits(arrivals, seed):
    """The last job ends when it would in a queue: sharing changes who waits, not how much work is done."""
    source = random.Random(seed)
    work = [source.uniform(0.0, 2.0) for _ in arrivals]
    free_s = 0.0
    for arrival, work_s in zip(arrivals, work, strict=True):
        free_s = max(free_s, arrival) + work_s
    assert max(share_processor(arrivals, work, 1.0)) == pytest.approx(free_s)


@given(arrivals=ARRIVALS, cores=st.floats(0.25, 8.0), seed=st.integers(0, 99))
def test_more_cores_make_no_job_later(arrivals, cores, seed):
    source = random.Random(seed)
    work = [source.uniform(0.0, 2.0) for _ in arrivals]
    few, many = share_processor(arrivals, work, cores), share_processor(arrivals, work, cores + 0.5)
    assert all(late >= early - 1e-9 for late, early in zip(few, many, strict=True))


@given(arrivals=ARRIVALS)
def test_batches_of_one_are_a_queue_in_order_of_arrival(arrivals):
    expected, free_s = [], 0.0
    for arrival in arrivals:
        free_s = max(free_s, arrival) + 0.010
        expected.append(free_s)
    assert serve(ONE_AT_A_TIME, arrivals, random.Random(0)).done_s == pytest.approx(expected)


def test_a_queue_with_fixed_service_times_waits_as_pollaczek_and_khinchine_say():
    starts = starts_poisson(70.0, 60_000, seed=1)
    done = serve(ONE_AT_A_TIME, starts, random.Random(0)).done_s
    load = 70.0 * 0.010
    waits = [end - start - 0.010 for start, end in zip(starts, done, strict=True)]
    assert math.fsum(waits) / len(waits) == pytest.approx(0.010 * load / (2.0 * (1.0 - load)), rel=0.05)


def test_a_shared_core_delays_in_the_mean_as_if_service_times_were_exponential():
    """M/G/1 with processor sharing: the mean response is E[S] / (1 - load), whatever the service times' spread."""
    plan = replace(
        ONE_AT_A_TIME, item_cpu_s=0.010, item_cpu_cv=0.5, batch_work_s=(0.0, 0.0), batch_cv=(0.0, 0.0), instances=1
    )
    starts = starts_poisson(60.0, 60_000, seed=2)
    done = serve(plan, starts, random.Random(3)).done_s
    responses = [end - start for start, end in zip(starts, done, strict=True)]
    assert math.fsum(responses) / len(responses) == pytest.approx(0.010 / (1.0 - 0.6), rel=0.05)


def test_a_lone_request_waits_for_company_as_long_as_the_queue_delay():
    plan = replace(FOUR_AT_A_TIME, queue_delay_s=0.005)
    assert batches_of(plan, [1.0]) == [(1, 1.005, 1.015)]


def test_a_full_batch_leaves_at_once_and_a_preferred_size_sooner():
    plan = replace(FOUR_AT_A_TIME, queue_delay_s=0.5)
    ready = [1.0, 1.001, 1.002, 1.003]
    assert batches_of(plan, ready) == [(4, 1.003, 1.016)]
    assert batches_of(replace(plan, preferred_batch_size=2), ready)[0] == (2, 1.001, 1.012)


def test_without_a_delay_what_comes_while_the_instance_is_busy_is_batched():
    assert batches_of(FOUR_AT_A_TIME, [0.0, 0.001, 0.002, 0.003, 0.004, 0.005]) == [
        (1, 0.0, 0.010),
        (4, 0.010, 0.023),
        (1, 0.023, 0.033),
    ]


def test_two_instances_share_one_device():
    plan = replace(ONE_AT_A_TIME, instances=2)
    assert batches_of(plan, [0.0, 0.0]) == [(1, 0.0, 0.02), (1, 0.0, 0.02)]
    assert batches_of(replace(plan, parallel_batches=2.0), [0.0, 0.0]) == [(1, 0.0, 0.01), (1, 0.0, 0.01)]


@given(
    arrivals=ARRIVALS,
    delay_s=st.sampled_from([0.0, 0.003, 0.5]),
    instances=st.integers(1, 3),
    preferred=st.integers(1, 4),
)
def test_every_request_is_in_one_batch_that_starts_when_all_of_it_is_there(arrivals, delay_s, instances, preferred):
    plan = replace(FOUR_AT_A_TIME, queue_delay_s=delay_s, instances=instances, preferred_batch_size=preferred)
    batches = sorted(run_batches(plan, arrivals, random.Random(0)), key=lambda b: b.first)
    assert [b.first for b in batches] == [sum(b.size for b in batches[:k]) for k in range(len(batches))]
    assert sum(b.size for b in batches) == len(arrivals)
    assert all(b.size <= 4 and b.start_s >= arrivals[b.first + b.size - 1] for b in batches)
    in_flight = [(sum(o.start_s <= b.start_s < o.end_s for o in batches)) for b in batches]
    assert max(in_flight) <= instances


def test_draws_have_the_mean_and_spread_that_were_asked_for():
    plan = replace(ONE_AT_A_TIME, item_cpu_s=0.010, item_cpu_cv=0.3)
    work = serve(plan, [float(k) for k in range(20_000)], random.Random(5)).item_work_s
    mean = math.fsum(work) / len(work)
    deviation = math.sqrt(math.fsum((w - mean) ** 2 for w in work) / len(work))
    assert mean == pytest.approx(0.010, rel=0.02)
    assert deviation / mean == pytest.approx(0.3, rel=0.05)
