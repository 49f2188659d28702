"""The Runner contract, kept by the local runner with a real Triton server."""

from __future__ import annotations

from pathlib import Path

import pytest

from runners.local_runner import LocalRunner
from tests.contract.runner_contract import RunnerContract
from tests.local_triton import infer, local_runner, occupied
from tuner.domain.deployment import Deployment
from tuner.domain.space import Configuration


@pytest.mark.triton
class TestLocalRunner(RunnerContract):
    servable = Configuration.of({"cpu_cores": 1, "max_batch_size": 4})
    infeasible = Configuration.of({"cpu_cores": 1, "max_batch_size": 4, "preferred_batch_size": 8})

    @pytest.fixture(autouse=True)
    def _registry(self, tmp_path: Path) -> None:
        self.registry = tmp_path / "registry"

    @pytest.fixture
    def runner(self, _registry: None) -> LocalRunner:
        return local_runner(self.registry)

    def exercise(self, deployment: Deployment) -> None:
        for _ in range(3):
            assert infer(deployment).shape == (1, 2)

    def remains(self, deployment_id: str) -> list[str]:
        return occupied(self.registry, deployment_id)
