from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runners.queue_simulation import ServicePlan
from runners.simulated_service import GPU_TYPES, VirtualModel, gpu_batch_s, service_plan, virtual_model
from tuner.domain.cost import Footprint
from tuner.domain.errors import InfeasibleConfiguration, UsageError
from tuner.domain.space import Configuration, KnobValue

MODEL = VirtualModel()


def plan_of(**knobs: KnobValue) -> ServicePlan:
    return service_plan(MODEL, Footprint(cpu_cores=2.0), Configuration.of(knobs))


def test_a_batch_that_does_not_fit_the_share_is_infeasible_and_says_the_numbers():
    assert plan_of(gpu_type="T4", gpu_memory_share=0.25, max_batch_size=32).memory_bytes < 4 * 2**30
    with pytest.raises(InfeasibleConfiguration, match=r"needs 4\.91 GiB, the share gives 4\.00 GiB"):
        plan_of(gpu_type="T4", gpu_memory_share=0.25, max_batch_size=64)


def test_each_instance_needs_memory_of_its_own():
    assert plan_of(gpu_type="T4", gpu_memory_share=0.25, max_batch_size=16, instances=2)
    with pytest.raises(InfeasibleConfiguration, match="out of GPU memory"):
        plan_of(gpu_type="T4", gpu_memory_share=0.25, max_batch_size=16, instances=3)


def test_host_memory_is_limited_only_where_the_study_limits_it():
    assert plan_of(instances=8).memory_bytes == 5 * 2**30
    with pytest.raises(InfeasibleConfiguration, match=r"memory_gib gives 4\.00"):
        plan_of(instances=8, memory_gib=4)


def test_without_a_gpu_the_batches_run_on_the_cores():
    plan = plan_of(cpu_cores=3, max_batch_size=4)
    assert plan.batches_on_cpu
    assert plan.item_cpu_s == 0.0
    assert plan.parallel_batches == 3.0
    assert plan.batch_work_s[4] == pytest.approx((1.5 + 4 * 8.0) / 1000.0)


def test_the_footprint_says_what_no_knob_says():
    footprint = Footprint(cpu_cores=6.0, gpu_type="L4", gpu_memory_share=0.5)
    plan = service_plan(MODEL, footprint, Configuration.of({"max_batch_size": 2}))
    assert plan.cpu_cores == 6.0
    assert plan.batch_work_s[2] == gpu_batch_s(MODEL, GPU_TYPES["L4"], 0.5, 2)


@given(
    gpu=st.sampled_from(sorted(GPU_TYPES)), share=st.floats(0.1, 0.9), more=st.floats(0.0, 0.1), size=st.integers(1, 64)
)
def test_more_of_a_gpu_is_never_slower_and_more_items_never_faster(gpu, share, more, size):
    now_s = gpu_batch_s(MODEL, GPU_TYPES[gpu], share, size)
    assert gpu_batch_s(MODEL, GPU_TYPES[gpu], share + more, size) <= now_s
    assert gpu_batch_s(MODEL, GPU_TYPES[gpu], share, size + 1) >= now_s


def test_a_device_that_is_not_full_computes_more_items_in_the_same_time():
    """An H100's 132 multiprocessors take eleven items of twelve each in one wave; the twelfth starts another."""
    computing = VirtualModel(traffic_gib_per_item=0.0, weights_gib=0.0)
    h100 = GPU_TYPES["H100"]
    assert gpu_batch_s(computing, h100, 1.0, 11) == gpu_batch_s(computing, h100, 1.0, 1)
    assert gpu_batch_s(computing, h100, 1.0, 12) > gpu_batch_s(computing, h100, 1.0, 11)


def test_a_model_that_moves_much_memory_is_bound_by_bandwidth():
    moving = VirtualModel(traffic_gib_per_item=2.0)
    a100, a30 = GPU_TYPES["A100-40GB"], GPU_TYPES["A30"]
    overhead_s = MODEL.batch_overhead_ms / 1000.0
    ratio = (gpu_batch_s(moving, a30, 1.0, 8) - overhead_s) / (gpu_batch_s(moving, a100, 1.0, 8) - overhead_s)
    assert ratio == pytest.approx(1555 / 933)


def test_what_nobody_simulates_is_refused_and_not_ignored():
    with pytest.raises(UsageError, match=r"knows no knob 'env\.OMP_NUM_THREADS'"):
        plan_of(**{"env.OMP_NUM_THREADS": 2})
    with pytest.raises(UsageError, match="knows no GPU type 'B9000'"):
        plan_of(gpu_type="B9000")


def test_options_of_the_study_describe_the_model():
    assert virtual_model([("gflop_per_item", 22), ("cpu_cv", 0)]) == VirtualModel(gflop_per_item=22.0, cpu_cv=0.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [("gflops", 3.0), ("cpu_cv", -0.1), ("cpu_cv", math.nan), ("cpu_cv", "0.1"), ("gpu_efficiency", 0.0)],
)
def test_options_that_make_no_sense_are_refused(name, value):
    with pytest.raises(UsageError):
        virtual_model([(name, value)])
