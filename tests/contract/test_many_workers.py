"""Two load workers keep the contract of one; a worker that is killed spoils the measurement and is named."""

from __future__ import annotations

import os
import signal

import pytest

from load_profiles import many_workers
from load_profiles.locust_generator import LocustLoadGenerator
from tests.contract.load_generator_contract import LoadGeneratorContract, a_profile
from tests.servers.behaviour import Behaviour, deployment_at, serving
from tuner.domain.deployment import Deployment, Telemetry
from tuner.domain.measurement import Doubt, measure


@pytest.fixture(scope="module")
def deployment():
    with serving(Behaviour(delay_s=0.002)) as port:
        yield deployment_at(port)


class TestTwoWorkers(LoadGeneratorContract):
    @pytest.fixture(scope="class")
    @classmethod
    def generator(cls) -> LocustLoadGenerator:
        return LocustLoadGenerator(workers=2)


def test_a_killed_worker_makes_the_measurement_invalid(deployment: Deployment, monkeypatch: pytest.MonkeyPatch):
    finish = many_workers._finish
    killed: list[int] = []

    def kill_one(worker, share_s, until_s):
        if not killed:
            killed.append(1)
            next(message for message in worker.messages if message.get("event") == "progress")
            os.kill(worker.child.process_id, signal.SIGKILL)
        return finish(worker, share_s, until_s)

    monkeypatch.setattr(many_workers, "_finish", kill_one)
    run = LocustLoadGenerator(workers=2).drive(deployment, a_profile(window_s=4.0))
    measurement = measure(run, (), Telemetry())
    assert run.generator.workers_lost == 1
    assert {Doubt.WORKER_LOST, Doubt.NOT_SENT} <= set(measurement.doubts)
    assert measurement.spoiled
    assert sum(run.samples.ok) == len(run.samples) // 2
