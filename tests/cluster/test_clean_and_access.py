"""What a crash leaves is found and removed; which right is missing is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from runners.kubernetes_api import open_api
from runners.kubernetes_checks import check_access
from runners.kubernetes_leftovers import cluster_leftovers, remove_cluster_leftovers
from runners.kubernetes_trial import make_owned, make_owner
from tests.cluster.foreign import Cluster
from tests.cluster.processes import await_true
from tests.cluster.runners import occupied, options
from tests.cluster.strangers import Stranger
from tests.clusters import served
from tuner.clock import SystemClock
from tuner.domain.errors import UsageError
from tuner.domain.space import Configuration
from tuner.manifests.cluster.access import RIGHTS, access_objects
from tuner.manifests.cluster.trial_objects import trial_objects

pytestmark = pytest.mark.cluster


def abandon(kubeconfig: Path, namespace: str, *, expires_at: str) -> None:
    """A trial whose controller is gone."""
    small = Configuration.of({"cpu_cores": 0.25, "memory_gib": 0.25})
    objects = trial_objects(options(namespace), served(configuration=small, expires_at=expires_at))
    api = open_api(kubeconfig)
    make_owned(api, objects, make_owner(api, objects))


def test_a_trial_past_its_expiry_is_listed_and_then_removed_whole(cluster: Cluster, namespace: str, kubeconfig: Path):
    abandon(kubeconfig, namespace, expires_at="2020-01-01T00:00:00Z")
    pods = f"/api/v1/namespaces/{namespace}/pods"
    await_true("its pod is made", lambda: bool(cluster.admin.items(pods)))
    api = open_api(kubeconfig)
    listed = cluster_leftovers(api, namespace)
    assert [one.trial.study for one in listed] == ["resnet50 on cards"]
    assert "Deployment" in str(listed[0])
    assert occupied(cluster.admin, namespace)
    assert len(remove_cluster_leftovers(api, namespace, SystemClock())) == 1
    assert occupied(cluster.admin, namespace) == []
    assert remove_cluster_leftovers(api, namespace, SystemClock()) == ()


def test_a_trial_that_may_still_run_is_left_alone(cluster: Cluster, namespace: str, kubeconfig: Path):
    abandon(kubeconfig, namespace, expires_at="2999-01-01T00:00:00Z")
    before = [one for one in occupied(cluster.admin, namespace) if "configmaps" in one]
    assert remove_cluster_leftovers(open_api(kubeconfig), namespace, SystemClock()) == ()
    assert [one for one in occupied(cluster.admin, namespace) if "configmaps" in one] == before != []


def test_who_may_do_nothing_is_told_every_right_that_is_missing(stranger: Stranger, namespace: str):
    found = check_access(open_api(stranger.kubeconfig), namespace)
    assert not any(one.ok for one in found)
    assert [one.needed for one in found] == [True] * len(RIGHTS) + [False] * 2


def test_the_printed_role_is_sufficient_and_a_verb_taken_from_it_is_named(
    cluster: Cluster, stranger: Stranger, namespace: str
):
    role = next(dict(one) for one in access_objects(options(namespace)) if one["kind"] == "Role")
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    cluster.admin.post(f"{rbac}/roles", role)
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "servetune"}
    binding = {"metadata": {"name": "b"}, "roleRef": reference, "subjects": [stranger.subject]}
    cluster.admin.post(f"{rbac}/rolebindings", binding)
    api = open_api(stranger.kubeconfig)
    await_true(
        "the role holds", lambda: all(one.ok for one in check_access(api, namespace) if one.needed), deadline_s=10
    )
    rules = [{**rule, "verbs": [v for v in rule["verbs"] if v != "watch"]} for rule in role["rules"]]
    cluster.admin.patch(f"{rbac}/roles/servetune", {"rules": rules})

    def told() -> bool:
        pods = next(one for one in check_access(api, namespace) if one.what.startswith("pods ("))
        return not pods.ok and "may not watch" in pods.detail

    await_true("the missing verb is named", told)


def test_a_context_that_is_not_in_the_file_is_refused(kubeconfig: Path):
    with pytest.raises(UsageError, match="no cluster to talk to"):
        open_api(kubeconfig, context="production")
