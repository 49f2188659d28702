"""The simulated bench and the fakes keep the same promises as what runs for real."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from runners import simulated_bench
from runners.simulated_bench import SimulatedBench
from runners.simulated_service import VirtualModel
from tests import fakes
from tests.contract.load_generator_contract import LoadGeneratorContract, a_profile
from tests.contract.runner_contract import RunnerContract
from tests.fakes import FakeLoad, FakeRunner
from tuner.clock import SystemClock
from tuner.domain.cost import Footprint
from tuner.domain.deployment import Deployment
from tuner.domain.errors import InfeasibleConfiguration
from tuner.domain.space import Configuration
from tuner.ports import Clock

ON_A_GPU = Configuration.of({"cpu_cores": 4, "gpu_type": "L4", "gpu_memory_share": 0.5, "max_batch_size": 4})
TOO_LARGE = Configuration.of({"cpu_cores": 4, "gpu_type": "T4", "gpu_memory_share": 0.05, "max_batch_size": 32})


def a_simulated_bench() -> SimulatedBench:
    return SimulatedBench(
        model=VirtualModel(), footprint=Footprint(), model_name="virtual", clock=simulated_bench.VirtualClock()
    )


class TestSimulatedRunner(RunnerContract):
    servable = ON_A_GPU
    infeasible = TOO_LARGE

    @pytest.fixture
    def runner(self) -> SimulatedBench:
        self.bench = a_simulated_bench()
        return self.bench

    def exercise(self, deployment: Deployment) -> None:
        self.bench.drive(deployment, a_profile())

    def remains(self, deployment_id: str) -> Sequence[str]:
        return [one for one in self.bench.running if one == deployment_id]


class TestSimulatedLoad(LoadGeneratorContract):
    @pytest.fixture(scope="class")
    @staticmethod
    def generator() -> SimulatedBench:
        return a_simulated_bench()

    @pytest.fixture(scope="class")
    @staticmethod
    def deployment(generator: SimulatedBench):
        with generator.deploy(ON_A_GPU, deployment_id="t-1-0") as deployment:
            yield deployment


class TestFakeRunner(RunnerContract):
    servable = Configuration.of({"cpu_cores": 2})
    infeasible = Configuration.of({"cpu_cores": 1})

    @pytest.fixture
    def runner(self) -> FakeRunner:
        def refuse(configuration: Configuration) -> None:
            if configuration == self.infeasible:
                raise InfeasibleConfiguration("too small")

        self.fake = FakeRunner(fakes.VirtualClock(), refuse=refuse)
        return self.fake

    def exercise(self, deployment: Deployment) -> None:
        self.fake.served[deployment.deployment_id] += 3

    def remains(self, deployment_id: str) -> Sequence[str]:
        return [one for one in self.fake.served if one == deployment_id]


class TestFakeLoad(LoadGeneratorContract):
    @pytest.fixture(scope="class")
    @staticmethod
    def generator() -> FakeLoad:
        return FakeLoad(fakes.VirtualClock(), lambda _configuration, _profile: 0.02)

    @pytest.fixture(scope="class")
    @staticmethod
    def deployment():
        with FakeRunner(fakes.VirtualClock()).deploy(ON_A_GPU, deployment_id="t-1-0") as deployment:
            yield deployment


@pytest.mark.parametrize("make", [SystemClock, simulated_bench.VirtualClock, fakes.VirtualClock])
def test_a_clock_never_goes_back_and_sleeps_at_least_as_long_as_asked(make: type[Clock]):
    clock = make()
    before_s = clock.now_s()
    clock.sleep(0.01)
    after_s = clock.now_s()
    assert after_s >= before_s + 0.01 - 1e-9
    assert clock.now_s() >= after_s
