"""The Runner contract with real containers under real limits: kubelet, containerd and runc on this machine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from runners.kubernetes_runner import KubernetesRunner
from tests.cluster.binaries import missing_node
from tests.cluster.control_plane import ControlPlane
from tests.cluster.real_node import real_node
from tests.cluster.runners import DEADLINES, cluster_runner, infer, occupied, options
from tests.contract.runner_contract import RunnerContract
from tuner.domain.deployment import Deployment
from tuner.domain.errors import InfeasibleConfiguration, UsageError
from tuner.domain.space import Configuration

SMALL = {"cpu_cores": 0.25, "memory_gib": 0.125}


@pytest.fixture(scope="module")
def real(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    missing = missing_node()
    if missing:
        pytest.skip(missing)
    with real_node(plane, tmp_path_factory.mktemp("node")) as name:
        yield name


def on_real_node(namespace: str, name: str, **changes: object):
    here = (("on_demand", (("kubernetes.io/hostname", name),)),)
    return options(namespace, capacity_labels=here, deadlines=replace(DEADLINES, teardown_s=120.0), **changes)


@pytest.mark.cluster
class TestOnARealNode(RunnerContract):
    servable = Configuration.of(SMALL)
    infeasible = Configuration.of(SMALL | {"env.FAULT": "crash"})

    @pytest.fixture(autouse=True)
    def _cluster(self, plane: ControlPlane, real: str, namespace: str) -> None:
        self.plane, self.namespace = plane, namespace

    @pytest.fixture
    def runner(self, _cluster: None, real: str, kubeconfig: Path) -> KubernetesRunner:
        return cluster_runner(kubeconfig, on_real_node(self.namespace, real))

    def exercise(self, deployment: Deployment) -> None:
        for _ in range(3):
            infer(deployment)

    def remains(self, deployment_id: str) -> list[str]:
        return occupied(self.plane.admin, self.namespace)

    # Not here: an invalid image name. Kubelet 1.20 does not let go of such a pod within 40 s; see the failure table.
    @pytest.mark.parametrize(
        ("knobs", "container", "reaction", "words"),
        [
            ({"env.FAULT": "crash"}, {}, InfeasibleConfiguration, "crash.*the model cannot be loaded"),
            ({"env.FAULT": "eat"}, {}, InfeasibleConfiguration, "out_of_memory"),
            ({}, {"image": "localhost/absent:1"}, UsageError, "image"),
            ({}, {"command": ["/no/such/program"]}, UsageError, "bad_command"),
            ({}, {"envFrom": [{"configMapRef": {"name": "absent"}}]}, UsageError, "missing_reference"),
        ],
    )
    def test_what_a_real_kubelet_says(self, real: str, *, knobs, container, reaction, words):
        runner = cluster_runner(self.plane.kubeconfig(), on_real_node(self.namespace, real, container=container))
        begun_s = time.monotonic()
        with (
            pytest.raises(reaction, match=f"(?s){words}"),
            runner.deploy(Configuration.of(SMALL | knobs), deployment_id="t-1-0"),
        ):
            pytest.fail("it must not be entered")
        print(f"\n{words}: {reaction.__name__} in {time.monotonic() - begun_s:.1f} s, removal included")
        assert occupied(self.plane.admin, self.namespace) == []
