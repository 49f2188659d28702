from __future__ import annotations

import math
from dataclasses import replace

import pytest

from runners.simulated_bench import SimulatedBench, VirtualClock
from runners.simulated_service import VirtualModel
from tuner.domain.cost import Footprint
from tuner.domain.deployment import Telemetry
from tuner.domain.errors import InfeasibleConfiguration, TransientFailure
from tuner.domain.load import LoadProfile, LoadRun, Payload
from tuner.domain.space import Configuration

L4 = Configuration.of({"cpu_cores": 4, "gpu_type": "L4", "max_batch_size": 8})
PROFILE = LoadProfile(
    arrivals="poisson", offered_rps=100.0, warmup_s=1.0, window_s=5.0, timeout_s=1.0, payload=Payload(), seed=3
)


def a_bench(**options: float) -> SimulatedBench:
    return SimulatedBench(
        model=VirtualModel(**options), footprint=Footprint(), model_name="virtual", clock=VirtualClock()
    )


def run(
    bench: SimulatedBench, configuration: Configuration = L4, profile: LoadProfile = PROFILE, name: str = "d0"
) -> tuple[LoadRun, Telemetry]:
    with bench.deploy(configuration, deployment_id=name) as deployment:
        return bench.drive(deployment, profile), bench.telemetry(deployment)


def test_the_same_deployment_and_profile_give_the_same_samples_in_another_process_state():
    bench = a_bench()
    first, _ = run(bench)
    run(bench, name="something else in between")
    assert run(bench)[0] == first == run(a_bench())[0]


def test_what_was_measured_before_on_the_same_deployment_changes_nothing():
    bench = a_bench()
    with bench.deploy(L4, deployment_id="d0") as deployment:
        bench.drive(deployment, replace(PROFILE, offered_rps=900.0))
        again = bench.drive(deployment, PROFILE)
    assert again == run(a_bench())[0]


def test_two_deployments_differ_a_little():
    bench = a_bench(node_spread=0.02, cpu_cv=0.0, batch_cv=0.0)
    one, other = (run(bench, name=name)[0].samples for name in ("d0", "d1"))
    assert one.intended_s == other.intended_s
    assert one.done_s != other.done_s
    assert sum(one.done_s) == pytest.approx(sum(other.done_s), rel=0.01)


def test_another_seed_is_another_arrival_of_requests():
    bench = a_bench()
    assert run(bench)[0].samples.intended_s != run(bench, profile=replace(PROFILE, seed=4))[0].samples.intended_s


def test_time_passes_for_deploying_loading_and_tearing_down_only():
    bench = a_bench(ready_s=10.0, teardown_s=2.0)
    with bench.deploy(L4, deployment_id="d0") as deployment:
        assert bench.clock.now_s() == 10.0
        bench.drive(deployment, PROFILE)
        assert 16.0 <= bench.clock.now_s() < 17.0
        loaded_s = bench.clock.now_s()
    assert bench.clock.now_s() == loaded_s + 2.0


def test_out_of_memory_shows_on_deploying_and_leaves_nothing_behind():
    bench = a_bench()
    too_large = Configuration.of({"gpu_type": "L4", "gpu_memory_share": 0.05, "max_batch_size": 8})
    for _ in range(2):
        with pytest.raises(InfeasibleConfiguration), bench.deploy(too_large, deployment_id="d0"):
            pass
    assert run(bench)[1].inference_count


def test_a_deployment_is_gone_after_an_error_inside_it():
    bench = a_bench()
    with pytest.raises(KeyError), bench.deploy(L4, deployment_id="d0") as deployment:
        raise KeyError
    with pytest.raises(TransientFailure, match="does not run any more"):
        bench.drive(deployment, PROFILE)
    with pytest.raises(TransientFailure, match="does not run any more"):
        bench.telemetry(deployment)


def test_one_id_runs_once():
    bench = a_bench()
    with (
        bench.deploy(L4, deployment_id="d0"),
        pytest.raises(TransientFailure, match="runs already"),
        bench.deploy(L4, deployment_id="d0"),
    ):
        pass


def test_the_server_counts_what_the_client_sees():
    """Little's law in another dress: time in queue and compute, CPU stage and network add up to the latencies."""
    load, told = run(a_bench(cpu_cv=0.0, network_ms=0.0), Configuration.of({**L4.as_dict(), "cpu_cores": 64}))
    samples = load.samples
    assert told.inference_count == len(samples)
    assert 0 < told.execution_count <= len(samples)
    assert told.cpu_s == pytest.approx(len(samples) * 0.008, rel=0.05)
    latencies_s = math.fsum(samples.done_s) - math.fsum(samples.intended_s)
    assert latencies_s == pytest.approx(told.cpu_s + told.queue_s + told.compute_s)


def test_counters_go_on_over_several_runs_of_load():
    bench = a_bench()
    with bench.deploy(L4, deployment_id="d0") as deployment:
        assert bench.telemetry(deployment).inference_count == 0
        counts = []
        for _ in range(2):
            counts.append(len(bench.drive(deployment, PROFILE).samples))
            assert bench.telemetry(deployment).inference_count == sum(counts)


def test_an_overloaded_server_answers_too_late_and_counts_only_what_it_finished():
    load, told = run(a_bench(), profile=replace(PROFILE, offered_rps=2000.0))
    late = [k for k, ok in enumerate(load.samples.ok) if not ok]
    assert len(late) > 0.5 * len(load.samples)
    assert all(load.samples.done_s[k] == load.samples.intended_s[k] + PROFILE.timeout_s for k in late)
    assert told.inference_count < 0.5 * len(load.samples)


def test_without_a_gpu_the_cores_are_what_is_used():
    profile = replace(PROFILE, offered_rps=60.0)
    bench = a_bench()
    slow = run(bench, Configuration.of({"cpu_cores": 0.75, "instances": 2}), profile)[0].samples
    fast, told = run(bench, Configuration.of({"cpu_cores": 1.5, "instances": 2}), profile)
    assert sum(fast.samples.done_s) < sum(slow.done_s)
    assert told.cpu_s == pytest.approx(len(fast.samples) * 0.0095, rel=0.1)
    assert told.memory_peak_bytes == 2 * 2**30
