"""The locust load generator against small servers with known behaviour, over loopback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace

import psutil
import pytest

from load_profiles.locust_generator import LoadProgress, LocustLoadGenerator
from tests.contract.load_generator_contract import LoadGeneratorContract, LostServerContract, a_profile
from tests.servers.behaviour import Behaviour, deployment_at, serving
from tuner.domain.deployment import Deployment, Telemetry
from tuner.domain.errors import TransientFailure, UsageError
from tuner.domain.load import LoadRun
from tuner.domain.measurement import measure


@pytest.fixture(scope="module")
def generator() -> Iterator[LocustLoadGenerator]:
    with LocustLoadGenerator() as generator:
        yield generator


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    with serving(Behaviour()) as port:
        yield deployment_at(port)


class TestLocustGenerator(LoadGeneratorContract, LostServerContract):
    pass


def test_the_generator_has_a_cost_and_tells_it(generator: LocustLoadGenerator, deployment: Deployment):
    health = generator.drive(deployment, a_profile()).generator
    assert 0.0 < health.cpu_ratio < 1.0
    assert 0.0 < health.cpu_ms_per_request < 50.0


def test_a_stall_is_seen_by_every_request_that_was_due_in_it(generator: LocustLoadGenerator):
    """Coordinated omission: 400 ms of silence every 2 s; a closed loop would see it once per connection.

    Of nine seconds 1.6 are silent, so the tenth that waited longest waited for more than 170 ms; a busy machine can
    only add to that. How exactly it is measured: tests/integration/test_truth_over_loopback.py.
    """
    with serving(Behaviour(delay_s=0.013, stall_every_s=2.0, stall_s=0.4)) as port:
        run = generator.drive(deployment_at(port), a_profile(warmup_s=0.0, window_s=9.0))
    measured = measure(run, (), Telemetry())
    assert measured.latency_ms.p90 > 150.0
    assert measured.errors == 0


def test_a_shape_that_cannot_be_sent_is_refused_before_anything_starts(generator: LocustLoadGenerator):
    with pytest.raises(UsageError, match="free dimensions"):
        generator.drive(deployment_at(1, shape=(3, -1, -1)), a_profile())


@pytest.mark.parametrize("endpoint", ["https://127.0.0.1:1", "127.0.0.1:1", "simulated:x"])
def test_an_endpoint_that_is_not_http_is_refused(generator: LocustLoadGenerator, endpoint: str):
    with pytest.raises(UsageError, match="load cannot be sent"):
        generator.drive(replace(deployment_at(1), endpoint=endpoint), a_profile())


def test_a_child_that_crashes_is_a_failure_of_the_world_with_its_last_words(deployment: Deployment):
    nowhere = replace(deployment, generator_cpus=(100000,))
    with pytest.raises(TransientFailure, match=r"exit status 1(.|\n)*Invalid argument"):
        LocustLoadGenerator().drive(nowhere, a_profile())


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "load_profiles.locust_child" in child.cmdline()]


def test_a_child_killed_in_the_middle_is_a_failure_of_the_world(deployment: Deployment):
    def kill_it(_progress: LoadProgress) -> None:
        for child in set(children()) - before:
            child.kill()

    before = set(children())
    with pytest.raises(TransientFailure, match="signal SIGKILL"):
        LocustLoadGenerator(kill_it).drive(deployment, a_profile(window_s=60.0))


def test_an_interrupted_run_leaves_no_child_behind(deployment: Deployment):
    class Stop(BaseException):
        pass

    def interrupt(_progress: LoadProgress) -> None:
        raise Stop

    before = set(children())
    with pytest.raises(Stop):
        LocustLoadGenerator(interrupt).drive(deployment, a_profile(window_s=60.0))
    assert set(children()) == before


def test_progress_is_told_while_the_run_goes_on(deployment: Deployment):
    heard: list[LoadProgress] = []
    profile = a_profile(window_s=3.0)
    run = LocustLoadGenerator(heard.append).drive(deployment, profile)
    assert len(heard) >= 2
    assert 0 < heard[0].sent < len(run.samples), "told in mid-run, and not only at its end"
    assert [progress.sent for progress in heard] == sorted(progress.sent for progress in heard)
    assert heard[-1].due == heard[-1].sent == len(run.samples)
    assert heard[-1].p99_ms == pytest.approx(measure(run, (), Telemetry()).latency_ms.p99, rel=0.5)


CONTROLLER = """
import sys
from load_profiles.locust_generator import LocustLoadGenerator
from tests.contract.load_generator_contract import a_profile
from tests.servers.behaviour import deployment_at
def started(progress):
    print("running", flush=True)
LocustLoadGenerator(started).drive(deployment_at(int(sys.argv[1])), a_profile(window_s=60.0))
"""


def test_a_child_dies_with_its_controller(deployment: Deployment):
    port = deployment.endpoint.rsplit(":", 1)[1]
    controller = subprocess.Popen([sys.executable, "-c", CONTROLLER, port], stdout=subprocess.PIPE)
    with controller:
        controller.stdout.readline()
        (child,) = psutil.Process(controller.pid).children()
        os.kill(controller.pid, signal.SIGKILL)
    assert psutil.wait_procs([child], timeout=60.0)[1] == []


def test_runs_at_the_same_time_do_not_disturb_each_other(generator: LocustLoadGenerator, deployment: Deployment):
    runs: list[LoadRun] = []
    threads = [threading.Thread(target=lambda: runs.append(generator.drive(deployment, a_profile()))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(runs) == 2
    assert all(all(run.samples.ok) for run in runs)


def test_a_child_started_ahead_that_died_is_replaced(deployment: Deployment):
    before = set(children())
    with LocustLoadGenerator() as generator:
        for child in set(children()) - before:
            child.kill()
            child.wait()
        assert all(generator.drive(deployment, a_profile(window_s=0.2)).samples.ok)
    assert set(children()) == before
