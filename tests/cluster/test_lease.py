"""One coordinator a study and namespace: taking its Lease, keeping it, losing it, and what becomes of its trials."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from runners.kubernetes_api import KubernetesApi, open_api
from runners.kubernetes_identity import refuse_another_cluster
from runners.kubernetes_lease import ClusterLease, holding
from runners.kubernetes_leftovers import cluster_leftovers, remove_cluster_leftovers, remove_earlier_trials
from runners.kubernetes_runner import KubernetesRunner
from tests.cluster.control_plane import ControlPlane
from tests.cluster.fake_node import FakeNodes
from tests.cluster.processes import await_true
from tests.cluster.runners import cluster_runner, infer, occupied, options
from tuner.clock import SystemClock
from tuner.coordination import Held, HeldByAnother, told_nobody
from tuner.domain.errors import InfrastructureError, TransientFailure, UsageError
from tuner.domain.space import Configuration

pytestmark = pytest.mark.cluster
STUDY = "cluster test"
SMALL = Configuration.of({"cpu_cores": 0.25, "memory_gib": 0.25})
LONG_S = 600.0


def leases(plane: ControlPlane, namespace: str) -> list[dict]:
    return plane.admin.items(f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases")


def path_of_lease(plane: ControlPlane, namespace: str) -> str:
    (lease,) = leases(plane, namespace)
    return f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{lease['metadata']['name']}"


def give_to(plane: ControlPlane, namespace: str, holder: str) -> None:
    """Somebody else took the lease over, as a later coordinator does."""
    path = path_of_lease(plane, namespace)
    token = plane.admin.get(path)["spec"]["leaseTransitions"]
    plane.admin.patch(path, {"spec": {"holderIdentity": holder, "leaseTransitions": token + 1}})


def lease_of(api: KubernetesApi, namespace: str, holder: str, duration_s: float = LONG_S) -> ClusterLease:
    return ClusterLease(api, namespace=namespace, study=STUDY, holder=holder, duration_s=duration_s)


def held(
    api: KubernetesApi, namespace: str, *, lease_s: float = LONG_S, tell: Callable[[str], None] = told_nobody
) -> AbstractContextManager[ClusterLease]:
    return holding(api, namespace=namespace, study=STUDY, lease_s=lease_s, clock=SystemClock(), tell=tell)


def runner_under(kubeconfig: Path, namespace: str, lease: ClusterLease) -> KubernetesRunner:
    return cluster_runner(kubeconfig, options(namespace), lease)


def test_a_lease_is_made_renewed_and_deleted_at_the_end(plane: ControlPlane, namespace: str, kubeconfig: Path):
    with held(open_api(kubeconfig), namespace, lease_s=1.0) as lease:
        first = leases(plane, namespace)[0]["spec"]
        assert first["holderIdentity"] == lease.coordinator.holder
        assert lease.coordinator.token == first["leaseTransitions"] == 1
        path = path_of_lease(plane, namespace)
        await_true(
            "it is renewed",
            lambda: plane.admin.get(path)["spec"]["renewTime"] != first["renewTime"],
            deadline_s=60,
        )
    assert leases(plane, namespace) == []


def test_a_second_coordinator_is_told_who_has_it_and_since_when(plane: ControlPlane, namespace: str, kubeconfig: Path):
    told: list[str] = []
    with held(open_api(kubeconfig), namespace, lease_s=3.0) as lease:
        since = leases(plane, namespace)[0]["spec"]["acquireTime"]
        who = (
            rf"another servetune is tuning study .* in namespace {namespace}.*{lease.coordinator.holder}, since {since}"
        )
        with pytest.raises(HeldByAnother, match=who), held(open_api(kubeconfig), namespace, tell=told.append):
            pass
    assert "waiting to see whether it still runs" in told[0]


def test_a_lease_that_stands_still_is_taken_over_after_its_duration_with_a_higher_token(
    plane: ControlPlane, namespace: str, kubeconfig: Path
):
    api = open_api(kubeconfig)
    dead = lease_of(api, namespace, "dead", duration_s=2.0)
    assert dead.attempt() == 1
    waiting = lease_of(api, namespace, "later")
    assert isinstance(waiting.attempt(), Held)
    with held(api, namespace) as lease:
        assert lease.coordinator.token == 2
        with pytest.raises(
            InfrastructureError, match=rf"no longer this process's .*{lease.coordinator.holder} took it"
        ):
            dead.renew()
        with pytest.raises(InfrastructureError):
            dead.confirm()
        dead.release(told_nobody)
        assert len(leases(plane, namespace)) == 1


def test_two_who_take_over_at_once_get_one_lease(plane: ControlPlane, namespace: str, kubeconfig: Path):
    api = open_api(kubeconfig)
    path = None
    for turn in range(3):
        one, other = (lease_of(api, namespace, f"{turn}-{who}") for who in "ab")
        assert [isinstance(found, int) for found in (one.attempt(), other.attempt())] == [True, False]
        assert isinstance(other.attempt(), Held)
        path = path or path_of_lease(plane, namespace)
        plane.admin.patch(path, {"spec": {"holderIdentity": ""}})


def test_a_lease_that_somebody_labelled_or_whose_answer_was_lost_is_still_ours(
    plane: ControlPlane, namespace: str, kubeconfig: Path
):
    lease = lease_of(open_api(kubeconfig), namespace, "me")
    lease.attempt()
    plane.admin.patch(path_of_lease(plane, namespace), {"metadata": {"labels": {"seen": "yes"}}})
    lease.renew()
    lease.confirm()


def test_a_cluster_that_does_not_answer_loses_no_lease_and_lets_nothing_be_written(
    plane: ControlPlane, namespace: str, kubeconfig: Path, tmp_path: Path
):
    away = tmp_path / "away.kubeconfig"
    away.write_text(kubeconfig.read_text().replace(plane.host, "https://127.0.0.1:1"))
    lease = lease_of(open_api(away, patience_s=0), namespace, "me")
    lease.renew()
    with pytest.raises(TransientFailure, match="could not be renewed in time"):
        lease.confirm()


def test_a_deployment_bears_its_coordinator_and_none_is_made_without_the_lease(
    plane: ControlPlane, node: FakeNodes, namespace: str, kubeconfig: Path
):
    api = open_api(kubeconfig)
    lease = lease_of(api, namespace, "first")
    lease.attempt()
    runner = runner_under(kubeconfig, namespace, lease)
    with runner.deploy(SMALL, deployment_id="x-0-0"):
        (owner,) = plane.admin.items(f"/api/v1/namespaces/{namespace}/configmaps?labelSelector=servetune/role=owner")
        assert owner["metadata"]["annotations"]["servetune/lease-holder"] == "first"
        assert owner["metadata"]["annotations"]["servetune/lease-token"] == "1"
    give_to(plane, namespace, "second")
    late = lease_of(api, namespace, "first")
    late._kept = lease._kept
    with (
        pytest.raises(InfrastructureError, match="second took it over"),
        runner_under(kubeconfig, namespace, late).deploy(SMALL, deployment_id="x-1-0"),
    ):
        pass
    assert occupied(plane.admin, namespace) == []


def test_a_late_coordinator_tears_down_its_own_trial_and_not_its_successors(
    plane: ControlPlane, node: FakeNodes, namespace: str, kubeconfig: Path
):
    """Both have trial 0: the later one's took the name of the earlier one's."""
    api = open_api(kubeconfig)
    old, new = lease_of(api, namespace, "old"), lease_of(api, namespace, "new")
    old.attempt()
    late = runner_under(kubeconfig, namespace, old).deploy(SMALL, deployment_id="x-0-0")
    late.__enter__()
    give_to(plane, namespace, "new")
    assert new.attempt() == 2
    remove_earlier_trials(api, namespace, STUDY, new, SystemClock())
    assert occupied(plane.admin, namespace) == []
    with runner_under(kubeconfig, namespace, new).deploy(SMALL, deployment_id="x-0-0") as deployment:
        before = occupied(plane.admin, namespace)
        late.__exit__(None, None, None)
        assert occupied(plane.admin, namespace) == before != []
        infer(deployment)
    assert occupied(plane.admin, namespace) == []


def test_clean_leaves_alone_what_a_running_study_owns_however_old_it_is(
    plane: ControlPlane, node: FakeNodes, namespace: str, kubeconfig: Path
):
    api = open_api(kubeconfig)
    with (
        held(api, namespace) as lease,
        runner_under(kubeconfig, namespace, lease).deploy(SMALL, deployment_id="x-0-0") as deployment,
    ):
        owners = f"/api/v1/namespaces/{namespace}/configmaps"
        (owner,) = plane.admin.items(f"{owners}?labelSelector=servetune/role=owner")
        ancient = {"metadata": {"annotations": {"servetune/expires-at": "2020-01-01T00:00:00Z"}}}
        plane.admin.patch(f"{owners}/{owner['metadata']['name']}", ancient)
        before = occupied(plane.admin, namespace)
        assert remove_cluster_leftovers(api, namespace, SystemClock()) == ()
        assert occupied(plane.admin, namespace) == before
        infer(deployment)


def test_clean_removes_the_trials_and_the_lease_of_a_dead_coordinator_after_watching_it(
    plane: ControlPlane, node: FakeNodes, namespace: str, kubeconfig: Path
):
    api = open_api(kubeconfig)
    dead = lease_of(api, namespace, "dead", duration_s=2.0)
    dead.attempt()
    abandoned = runner_under(kubeconfig, namespace, dead).deploy(SMALL, deployment_id="x-0-0")
    abandoned.__enter__()
    await_true("its time is over", lambda: len(cluster_leftovers(api, namespace)) == 2, deadline_s=60)
    trial, lease = (str(one) for one in cluster_leftovers(api, namespace))
    assert trial.startswith(f"trial 0 attempt 1 of study {STUDY} in namespace {namespace}: ")
    assert lease.startswith(f"lease of study {STUDY} in namespace {namespace}: dead renewed it last at 20")
    assert occupied(plane.admin, namespace)
    assert len(remove_cluster_leftovers(api, namespace, SystemClock())) == 2
    assert occupied(plane.admin, namespace) == []
    assert leases(plane, namespace) == []
    assert remove_cluster_leftovers(api, namespace, SystemClock()) == ()
    abandoned.__exit__(None, None, None)


def test_clean_leaves_alone_a_lease_that_is_renewed_while_it_watches(
    plane: ControlPlane, namespace: str, kubeconfig: Path
):
    """A holder whose clock is an hour late looks dead, and is not."""
    api = open_api(kubeconfig)
    with held(api, namespace, lease_s=2.0):
        path = path_of_lease(plane, namespace)

        def seems_over() -> bool:
            plane.admin.patch(path, {"spec": {"renewTime": "2020-01-01T00:00:00.000000Z"}})
            return len(cluster_leftovers(api, namespace)) == 1

        await_true("it looks dead for a moment", seems_over, deadline_s=60)
        remove_cluster_leftovers(api, namespace, SystemClock())
        assert len(leases(plane, namespace)) == 1


def test_a_study_is_kept_from_another_cluster(plane: ControlPlane, kubeconfig: Path):
    api, kept = open_api(kubeconfig), {}
    refuse_another_cluster(api, kept.setdefault)
    refuse_another_cluster(api, kept.setdefault)
    uid = plane.admin.get("/api/v1/namespaces/kube-system")["metadata"]["uid"]
    assert uid in kept["cluster"]
    kept["cluster"] = kept["cluster"].replace(uid, "another-uid")
    with pytest.raises(UsageError, match=r"ran in the cluster at .*another-uid.*; this is .*" + uid):
        refuse_another_cluster(api, kept.setdefault)


def test_who_may_not_read_the_clusters_uid_is_known_by_its_authority(plane: ControlPlane, kubeconfig: Path):
    kept: dict[str, str] = {}
    refuse_another_cluster(open_api(plane.kubeconfig("nobody")), kept.setdefault)
    refuse_another_cluster(open_api(kubeconfig), kept.setdefault)
    kept["cluster"] = kept["cluster"].replace("sha256:", "sha256:0")
    with pytest.raises(UsageError, match="ran in the cluster at"):
        refuse_another_cluster(open_api(kubeconfig), kept.setdefault)
