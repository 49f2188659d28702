"""Every row of the table of failures that a cluster without containers can produce: its class, and how soon it is seen.

The API server, the controllers and the scheduler are real; what a kubelet would say of a pod, a thread says.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runners.kubernetes_runner import KubernetesRunner
from tests.cluster.control_plane import ControlPlane
from tests.cluster.fake_node import FakeNodes
from tests.cluster.foreign import Cluster
from tests.cluster.processes import PATIENCE_S, await_true
from tests.cluster.runners import DEADLINES, PORT, cluster_runner, occupied, options
from tests.cluster.strangers import Stranger
from tuner.domain.deployment import Deployment
from tuner.domain.errors import InfeasibleConfiguration, TransientFailure, TunerError, UsageError
from tuner.domain.space import Configuration

pytestmark = pytest.mark.cluster
SMALL = {"cpu_cores": 0.25, "memory_gib": 0.25}


@pytest.fixture
def fails(cluster: Cluster, namespace: str, request: pytest.FixtureRequest) -> Callable[..., TunerError]:
    """Deploy what must fail, print the class and the time it took, and see that nothing is left."""

    def deploy(
        reaction: type[TunerError],
        words: str,
        *,
        knobs: dict[str, Any] | None = None,
        **changes: Any,
    ) -> TunerError:
        runner = cluster_runner(cluster.kubeconfig(), options(**({"namespace": namespace} | changes)))
        begun_s = time.monotonic()
        with (
            pytest.raises(reaction, match=words) as caught,
            runner.deploy(Configuration.of(SMALL | (knobs or {})), deployment_id="t-1-0"),
        ):
            pytest.fail("it must not be entered")
        spent_s = time.monotonic() - begun_s
        print(f"\n{request.node.name}: {reaction.__name__} {words!r} in {spent_s:.1f} s, removal included")
        assert occupied(cluster.admin, namespace) == []
        return caught.value

    return deploy


@pytest.mark.parametrize(
    ("fault", "reaction", "words"),
    [
        ("crash", InfeasibleConfiguration, "crash"),
        ("oom", InfeasibleConfiguration, "out_of_memory"),
        ("abort", TransientFailure, "crash"),
        ("start_error", UsageError, "bad_command"),
        ("image_name", UsageError, "image"),
        ("image_never", UsageError, "image"),
        ("image_absent", UsageError, "image"),
        ("config_missing", UsageError, "missing_reference"),
        ("evicted", TransientFailure, "disrupted"),
        ("node_shutdown", TransientFailure, "disrupted"),
        ("plugin", TransientFailure, "refused_by_node"),
    ],
)
@pytest.mark.usefixtures("node")
def test_what_a_kubelet_says(fails: Callable[..., TunerError], fault: str, reaction: type[TunerError], words: str):
    fails(reaction, words, knobs={"env.FAULT": fault})


def test_a_server_that_aborts_again_is_the_configurations_fault(
    plane: ControlPlane, node: FakeNodes, namespace: str, kubeconfig: Path
):
    runner = cluster_runner(kubeconfig, options(namespace))
    aborts = Configuration.of(SMALL | {"env.FAULT": "abort"})
    with pytest.raises(InfeasibleConfiguration, match="crash"), runner.deploy(aborts, deployment_id="t-1-1"):
        pytest.fail("it must not be entered")


@pytest.mark.usefixtures("node")
def test_an_image_that_does_not_come_in_time_is_transient(fails: Callable[..., TunerError]):
    hurried = replace(DEADLINES, pull_s=2.0)
    fails(TransientFailure, "pull_timeout", knobs={"env.FAULT": "image_slow"}, deadlines=hurried)


@pytest.mark.usefixtures("node")
def test_a_server_that_is_never_ready_is_infeasible_at_our_own_deadline(fails: Callable[..., TunerError]):
    hurried = replace(DEADLINES, load_s=2.0)
    fails(InfeasibleConfiguration, "never_ready", knobs={"env.FAULT": "never_ready"}, deadlines=hurried)


@pytest.mark.usefixtures("node")
def test_more_cores_than_any_node_has_is_infeasible(fails: Callable[..., TunerError]):
    fails(InfeasibleConfiguration, "too_large.*Insufficient cpu", knobs={"cpu_cores": 64})


@pytest.mark.usefixtures("node")
def test_a_node_label_that_no_node_has_is_the_studys_fault(fails: Callable[..., TunerError]):
    nowhere = (("on_demand", (("pool", "nowhere"),)),)
    fails(UsageError, "no_such_node", capacity_labels=nowhere)


def test_a_busy_cluster_is_transient(plane: ControlPlane, node: FakeNodes, namespace: str, kubeconfig: Path):
    other = cluster_runner(kubeconfig, options(namespace, port=PORT + 1))
    hog = Configuration.of({"cpu_cores": 3.5, "memory_gib": 0.25})
    with other.deploy(hog, deployment_id="t-9-0"):
        runner = cluster_runner(kubeconfig, options(namespace, deadlines=replace(DEADLINES, schedule_s=1.0)))
        with (
            pytest.raises(TransientFailure, match=r"unschedulable.*Insufficient cpu"),
            runner.deploy(hog, deployment_id="t-1-0"),
        ):
            pytest.fail("it must not be entered")
    assert occupied(plane.admin, namespace) == []


def quota(cluster: Cluster, namespace: str, **hard: str) -> None:
    spec = {"hard": {name.replace("__", "."): amount for name, amount in hard.items()}}
    path = f"/api/v1/namespaces/{namespace}/resourcequotas"
    cluster.admin.post(path, {"kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": spec})
    await_true("the quota holds", lambda: "hard" in cluster.admin.get(f"{path}/q").get("status", {}))


def test_more_than_the_whole_quota_is_infeasible(cluster: Cluster, namespace: str, fails: Callable[..., TunerError]):
    quota(cluster, namespace, requests__cpu="100m")
    fails(InfeasibleConfiguration, "above_quota.*exceeded quota")


def test_a_quota_that_is_in_use_is_transient(plane: ControlPlane, namespace: str, kubeconfig: Path, node: FakeNodes):
    quota(plane, namespace, requests__cpu="300m")
    hurried = options(namespace, deadlines=replace(DEADLINES, schedule_s=1.0))
    runner, small = cluster_runner(kubeconfig, hurried), Configuration.of(SMALL)
    with (
        runner.deploy(small, deployment_id="t-9-0"),
        pytest.raises(TransientFailure, match="quota_full"),
        runner.deploy(small, deployment_id="t-1-0"),
    ):
        pytest.fail("it must not be entered")


def test_outside_a_limit_range_is_infeasible(cluster: Cluster, namespace: str, fails: Callable[..., TunerError]):
    limits = {"limits": [{"type": "Container", "max": {"cpu": "100m"}}]}
    path = f"/api/v1/namespaces/{namespace}/limitranges"
    cluster.admin.post(path, {"kind": "LimitRange", "metadata": {"name": "l"}, "spec": limits})
    fails(InfeasibleConfiguration, "outside_limit_range")


def test_half_a_whole_gpu_is_refused_by_the_api(fails: Callable[..., TunerError]):
    half = {"resources": {"limits": {"nvidia.com/gpu": "0.5"}}}
    fails(InfeasibleConfiguration, "invalid.*must be an integer", container=half)


def test_an_impossible_name_is_the_studys_fault(fails: Callable[..., TunerError]):
    fails(UsageError, "invalid.*ports", container={"ports": [{"name": "http", "containerPort": 99999}]})


def test_a_missing_right_is_the_studys_fault_and_is_named(stranger: Stranger, namespace: str):
    runner = cluster_runner(stranger.kubeconfig, options(namespace))
    with pytest.raises(TunerError) as caught, runner.deploy(Configuration.of(SMALL), deployment_id="t-1-0"):
        pytest.fail("it must not be entered")
    assert isinstance(caught.value, UsageError)
    assert 'cannot get resource "configmaps"' in caught.value.message


def test_a_namespace_that_is_not_there_is_the_studys_fault(fails: Callable[..., TunerError]):
    fails(UsageError, "not_found", namespace="nowhere")


def test_a_pod_that_somebody_removes_is_transient(
    plane: ControlPlane, node: FakeNodes, namespace: str, kubeconfig: Path
):
    runner = cluster_runner(kubeconfig, options(namespace))
    with runner.deploy(Configuration.of(SMALL), deployment_id="t-1-0") as deployment:
        pod = dict(deployment.facts)["pod"]
        plane.admin.delete(f"/api/v1/namespaces/{namespace}/pods/{pod}")
        with pytest.raises(TransientFailure, match=r"is gone|being removed|stopped being ready"):
            runner.telemetry(deployment)
    assert occupied(plane.admin, namespace) == []


@pytest.mark.parametrize(
    ("reason", "attempt", "reaction"),
    [
        ("OOMKilled", 0, InfeasibleConfiguration),
        ("Error", 0, TransientFailure),
        ("Error", 1, InfeasibleConfiguration),
    ],
)
def test_a_restart_in_mid_measurement_voids_it(
    plane: ControlPlane, node: FakeNodes, namespace: str, *, reason: str, attempt: int, reaction: type[TunerError]
):
    """And a second time it is no accident any more."""
    runner = cluster_runner(plane.kubeconfig(), options(namespace))
    with runner.deploy(Configuration.of(SMALL), deployment_id=f"t-1-{attempt}") as deployment:
        assert runner.telemetry(deployment).restarts == 0
        path = f"/api/v1/namespaces/{namespace}/pods/{dict(deployment.facts)['pod']}"
        status = plane.admin.get(path)["status"]["containerStatuses"][0]
        last = {"terminated": {"reason": reason, "exitCode": 137, "containerID": "containerd://1"}}
        again = {**status, "restartCount": 1, "containerID": "containerd://2", "lastState": last}
        plane.admin.patch(f"{path}/status", {"status": {"containerStatuses": [again]}})
        with pytest.raises(reaction):
            runner.telemetry(deployment)


def test_a_node_that_falls_silent_is_transient_and_its_pod_does_not_hold_up_the_study(
    plane: ControlPlane, namespace: str, kubeconfig: Path, node: FakeNodes
):
    asked = options(namespace, deadlines=replace(DEADLINES, teardown_s=4))

    def measure(deployment: Deployment, runner: KubernetesRunner) -> None:
        until_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < until_s:
            runner.telemetry(deployment)
            time.sleep(0.2)

    runner = cluster_runner(kubeconfig, asked)
    with runner.deploy(Configuration.of(SMALL), deployment_id="t-1-0") as deployment:
        begun_s = time.monotonic()
        node.silent.add(f"node-{namespace}")
        with pytest.raises(TransientFailure, match=r"stopped being ready|being removed"):
            measure(deployment, runner)
        print(f"\nnode lost: TransientFailure {time.monotonic() - begun_s:.1f} s after it fell silent")
    assert [one.split()[0] for one in occupied(plane.admin, namespace)] == ["pods"]
    node.silent.clear()
    await_true("the pod goes when the node is back", lambda: not occupied(plane.admin, namespace))
