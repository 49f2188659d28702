"""A load master and its workers as real processes on loopback: whatever happens to one of them, and when."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from load_profiles.addresses import host_port
from load_profiles.distributed_generator import DistributedLoadGenerator
from tests.contract.load_generator_contract import a_profile
from tests.load_crews import Master, all_end, crew, master, outcome, processes_of, start_worker
from tests.servers.behaviour import Behaviour, deployment_at, serving
from tuner.domain.arrival_kinds import Arrivals, Steps
from tuner.domain.arrivals import intended_starts_s
from tuner.domain.deployment import Deployment, Telemetry
from tuner.domain.errors import TargetRefused, TransientFailure, UsageError
from tuner.domain.load import LoadProfile, LoadRun
from tuner.domain.measurement import Doubt, measure
from tuner.domain.slo import Slo

LONG = a_profile(window_s=40.0)


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    with serving(Behaviour(delay_s=0.002)) as port:
        yield deployment_at(port)


def has_sent(one: Master, requests: int) -> None:
    """Returns when the workers have told of so many requests, and say so of more to come."""
    next(event for event in one.events() if event["event"] == "progress" and event["sent"] >= requests)


def test_three_workers_send_the_schedule_exactly_and_hand_it_over_whole(tmp_path: Path, deployment: Deployment):
    profile = a_profile(window_s=2.0)
    with master(tmp_path, deployment, profile, 3) as (one, address), crew(address, 3) as workers:
        run = one.run()
        assert [outcome(worker) for worker in workers] == [(0, "")] * 3
    assert run.profile == profile
    assert run.samples.intended_s == intended_starts_s(profile)
    assert all(run.samples.ok), run.generator.first_error
    assert run.generator.workers_lost == 0
    assert 0.0 < run.generator.start_skew_s < 10.0
    assert all(sent >= due for due, sent in zip(run.samples.intended_s, run.samples.sent_s, strict=True))


def failing(arrivals: Arrivals, window_s: float) -> LoadProfile:
    """Half of its requests fail, on a server that does so; a hundredth may."""
    return LoadProfile(
        arrivals=arrivals,
        offered_rps=150.0,
        warmup_s=0.1,
        window_s=window_s,
        timeout_s=20.0,
        payload=a_profile().payload,
        seed=3,
        slos=(Slo(indicator="error_ratio", max=0.01),),
    )


def test_a_certain_failure_ends_the_run_of_all_workers_early(tmp_path: Path):
    profile = failing("poisson", 40.0)
    with (
        serving(Behaviour(error_every=2)) as port,
        master(tmp_path, deployment_at(port), profile, 2) as (one, address),
        crew(address, 2),
    ):
        run = one.run()
    assert run.profile.window_s < 30.0
    assert len(run.samples) < len(intended_starts_s(profile))
    assert run.samples.intended_s == intended_starts_s(profile)[: len(run.samples)]


def test_a_load_with_a_shape_is_carried_out_whole_whatever_its_beginning_showed(tmp_path: Path):
    profile = failing(Steps(shares=(1.0, 0.1)), 5.0)
    with (
        serving(Behaviour(error_every=2)) as port,
        master(tmp_path, deployment_at(port), profile, 1) as (one, address),
        crew(address, 1),
    ):
        run = one.run()
    assert run.profile == profile
    assert run.samples.intended_s == intended_starts_s(profile)


def at_the_start(one: Master) -> None:
    one.event("started")


def in_mid_run(one: Master) -> None:
    has_sent(one, 30)


# Workers, and what is waited for once all of them have come.
MOMENTS: dict[str, tuple[int, Callable[[Master], None]]] = {
    "before the start": (2, lambda _one: None),
    "at the start": (2, at_the_start),
    "in mid-run": (3, in_mid_run),
}


def assert_one_was_lost(run: LoadRun) -> None:
    """Never a number: the lost worker's requests count as never sent, and the measurement is spoiled."""
    measurement = measure(run, (), Telemetry())
    assert run.samples.intended_s == intended_starts_s(LONG)
    assert run.generator.workers_lost == 1
    assert "was lost" in run.generator.first_error
    assert {Doubt.WORKER_LOST, Doubt.NOT_SENT} <= set(measurement.doubts)
    assert measurement.spoiled


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_worker_killed_spoils_the_measurement_and_ends_it(moment: str, tmp_path: Path, deployment: Deployment):
    number, wait = MOMENTS[moment]
    with master(tmp_path, deployment, LONG, number) as (one, address), crew(address, number) as workers:
        one.event("mustered")
        wait(one)
        killed = processes_of(workers[0])
        workers[0].kill()
        run = one.run()
        assert all_end(killed), "the child that sends ends with its worker"
        assert {outcome(worker)[0] for worker in workers[1:]} == {0}
    assert_one_was_lost(run)


def test_a_worker_killed_when_all_is_sent_but_not_handed_over_is_lost(tmp_path: Path):
    profile = a_profile(window_s=1.0, timeout_s=20.0)
    due = len(intended_starts_s(profile))
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(512)
        target = deployment_at(silent.getsockname()[1])
        with master(tmp_path, target, profile, 2) as (one, address), crew(address, 2) as workers:
            has_sent(one, due)
            workers[0].kill()
            run = one.run()
    assert run.generator.workers_lost == 1
    assert Doubt.WORKER_LOST in measure(run, (), Telemetry()).doubts
    assert not any(run.samples.ok)


def test_without_any_worker_left_there_is_no_run_but_the_reason(tmp_path: Path, deployment: Deployment):
    with master(tmp_path, deployment, LONG, 1) as (one, address), crew(address, 1) as workers:
        has_sent(one, 30)
        _, child = processes_of(workers[0])
        child.kill()
        failure = one.failure()
        assert outcome(workers[0])[0] == 7
    assert failure["error"] == "TransientFailure"
    assert "every load worker was lost" in failure["message"]
    assert "signal SIGKILL" in failure["message"]


def test_a_worker_that_hangs_is_lost(tmp_path: Path, deployment: Deployment):
    with master(tmp_path, deployment, LONG, 1) as (one, address), crew(address, 1) as workers:
        has_sent(one, 30)
        workers[0].send_signal(signal.SIGSTOP)
        failure = one.failure()
        workers[0].send_signal(signal.SIGCONT)
        assert outcome(workers[0])[0] == 7
    assert "it left, or was silent for too long" in failure["message"]


def test_a_worker_killed_before_all_have_come_is_replaced(tmp_path: Path, deployment: Deployment):
    profile = a_profile()
    with master(tmp_path, deployment, profile, 2) as (one, address), crew(address, 1) as early:
        one.event("joined", joined=1)
        early[0].terminate()
        with crew(address, 2):
            run = one.run()
    assert all(run.samples.ok)
    assert run.generator.workers_lost == 0


def test_too_few_workers_are_a_failure_of_the_world_and_those_who_came_are_told(tmp_path: Path, deployment: Deployment):
    with (
        master(tmp_path, deployment, a_profile(), 2, max_wait_s=10.0) as (one, address),
        crew(address, 1, "--max-wait-s", "15") as workers,
    ):
        *told, failure = one.events()
        came = len([event for event in told if event["event"] == "joined"])  # none, on a very busy machine
        code, errors = outcome(workers[0])
        one.process.wait(timeout=180)
    assert one.process.returncode == 1
    assert not one.result.exists()
    assert failure["error"] == "TransientFailure"
    assert failure["message"] == f"{came} of 2 load workers came to {address} within 10 s"
    assert (code, came == 0 or "the load master gave up: 1 of 2" in errors) == (7, True)


def test_workers_end_by_themselves_when_their_master_is_killed(tmp_path: Path, deployment: Deployment):
    with master(tmp_path, deployment, LONG, 1) as (one, address), crew(address, 1) as workers:
        has_sent(one, 30)
        senders = processes_of(workers[0])[1:]
        one.process.kill()
        code, errors = outcome(workers[0])
        assert all_end(senders)
    assert len(senders) == 1
    assert (code, "is gone" in errors) == (7, True)


def test_a_master_that_is_terminated_tells_its_workers(tmp_path: Path, deployment: Deployment):
    with master(tmp_path, deployment, LONG, 1) as (one, address), crew(address, 1) as workers:
        has_sent(one, 10)
        senders = processes_of(workers[0])[1:]
        one.process.terminate()
        assert one.process.wait(180) == 143
        assert outcome(workers[0]) == (7, "load worker: the load master gave up: it was stopped\n")
        assert all_end(senders)


CONTROLLER = """
import sys
from load_profiles.addresses import host_port
from load_profiles.distributed_generator import DistributedLoadGenerator
from tests.contract.load_generator_contract import a_profile
from tests.servers.behaviour import deployment_at
def started(progress):
    if progress.sent:
        print("running", flush=True)
generator = DistributedLoadGenerator(host_port(sys.argv[2]), 1, on_progress=started)
generator.drive(deployment_at(int(sys.argv[1])), a_profile(window_s=40.0))
"""


def a_free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def test_everything_ends_when_the_controller_is_killed(deployment: Deployment):
    address, port = a_free_address(), deployment.endpoint.rsplit(":", 1)[1]
    argv = [sys.executable, "-c", CONTROLLER, port, address]
    with crew(address, 1) as workers, subprocess.Popen(argv, stdout=subprocess.PIPE) as controller:
        assert controller.stdout.readline() == b"running\n"
        (one,) = psutil.Process(controller.pid).children()
        senders = processes_of(workers[0])[1:]
        controller.kill()
        assert all_end([one, *senders])
        assert outcome(workers[0])[0] == 7


OTHER_MAKE = """
import tuner
tuner.__version__ = "0.0.0"
from load_profiles import load_worker
load_worker.main()
"""


def test_a_worker_with_another_secret_or_of_another_version_has_no_part_in_it(tmp_path: Path, deployment: Deployment):
    ours, other = "the master's secret", "quite another secret"
    with master(tmp_path, deployment, a_profile(), 1, secret=ours, max_wait_s=200.0) as (one, address):
        code, errors = outcome(start_worker(address, secret=other))
        assert code == 2
        assert "cannot be trusted: sealed with another secret" in errors
        argv = [sys.executable, "-c", OTHER_MAKE, "--master", address]
        environment = os.environ | {"SERVETUNE_LOAD_SECRET": ours}
        refused = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
        assert refused.returncode == 2
        assert "has version 0.0.0, the master" in refused.stderr
        assert outcome(start_worker(address, secret=ours)) == (0, "")
        assert all(one.run().samples.ok)


def test_a_worker_refuses_a_target_that_it_was_not_allowed(tmp_path: Path, deployment: Deployment):
    target = replace(deployment, endpoint="http://192.0.2.1:8000")
    with (
        master(tmp_path, target, a_profile(), 1) as (one, address),
        crew(address, 1, "--allow-target", "x:1") as workers,
    ):
        failure = one.failure(TargetRefused.exit_code)
        code, errors = outcome(workers[0])
    assert failure["error"] == "TargetRefused"
    assert "may not put load on 192.0.2.1:8000" in failure["message"]
    assert (code, "--allow-target 192.0.2.1:8000" in errors) == (9, True)


def test_a_worker_without_a_master_gives_up_in_time():
    code, errors = outcome(start_worker(a_free_address(), "--max-wait-s", "2"))
    assert (code, "no load master answers" in errors) == (7, True)


def test_a_master_cannot_be_taken_its_address(tmp_path: Path, deployment: Deployment):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(TransientFailure, match="load workers cannot be awaited"):
            DistributedLoadGenerator(host_port(address), 1).drive(deployment, a_profile())


def test_a_master_beyond_this_machine_needs_a_secret(deployment: Deployment, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SERVETUNE_LOAD_SECRET", raising=False)
    with pytest.raises(UsageError, match="SERVETUNE_LOAD_SECRET is not set"):
        DistributedLoadGenerator(host_port("0.0.0.0:0"), 1).drive(deployment, a_profile())
    code, errors = outcome(start_worker("192.0.2.1:5557"))
    assert (code, "SERVETUNE_LOAD_SECRET is not set" in errors) == (2, True)
