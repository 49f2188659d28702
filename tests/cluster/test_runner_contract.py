"""The Runner contract, kept by the Kubernetes runner on a real control plane whose node is a thread."""

from __future__ import annotations

from pathlib import Path

import pytest

from runners.kubernetes_runner import KubernetesRunner
from tests.cluster.control_plane import ControlPlane
from tests.cluster.fake_node import FakeNodes
from tests.cluster.runners import cluster_runner, infer, occupied, options
from tests.contract.runner_contract import RunnerContract
from tuner.domain.deployment import Deployment
from tuner.domain.space import Configuration


@pytest.mark.cluster
class TestKubernetesRunner(RunnerContract):
    servable = Configuration.of({"cpu_cores": 0.25, "memory_gib": 0.25})
    infeasible = Configuration.of({"cpu_cores": 0.25, "memory_gib": 0.25, "env.FAULT": "crash"})

    @pytest.fixture(autouse=True)
    def _cluster(self, plane: ControlPlane, node: FakeNodes, namespace: str) -> None:
        self.plane, self.namespace = plane, namespace

    @pytest.fixture
    def runner(self, _cluster: None, kubeconfig: Path) -> KubernetesRunner:
        return cluster_runner(kubeconfig, options(self.namespace))

    def exercise(self, deployment: Deployment) -> None:
        for _ in range(3):
            infer(deployment)

    def remains(self, deployment_id: str) -> list[str]:
        return occupied(self.plane.admin, self.namespace)
