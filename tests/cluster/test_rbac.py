"""The printed Role is enough for everything the runner does, each verb of it is used, and a missing one is named."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runners.kubernetes_admission import KubernetesAdmission
from runners.kubernetes_api import KubernetesApi, open_api
from runners.kubernetes_checks import check_access
from runners.kubernetes_lease import holding
from runners.kubernetes_leftovers import remove_cluster_leftovers, remove_earlier_trials
from runners.kubernetes_load import ClusterLoadGenerator
from runners.kubernetes_trial import make_owned, make_owner
from tests.cluster.control_plane import ControlPlane
from tests.cluster.fault_proxy import Plan, fault_proxy, told
from tests.cluster.kserve_pod import MODEL
from tests.cluster.loading_node import LoadingNodes, loading_nodes
from tests.cluster.processes import await_true
from tests.cluster.runners import IMAGE, cluster_runner, occupied, options
from tests.clusters import served
from tests.contract.load_generator_contract import a_profile
from tests.specs import a_spec
from tuner.assemble_load import load_engine
from tuner.clock import SystemClock
from tuner.coordination import told_nobody
from tuner.domain.admission import Admitted
from tuner.domain.cluster import ClusterOptions, LoadPods
from tuner.domain.deployment import ModelRef
from tuner.domain.errors import InfeasibleConfiguration
from tuner.domain.space import Configuration
from tuner.manifests.cluster.access import RIGHTS, access_objects, rights
from tuner.manifests.cluster.trial_objects import trial_objects

pytestmark = pytest.mark.cluster
SMALL = {"cpu_cores": 0.25, "memory_gib": 0.25}
NODE = "rbac0"
Used = set[tuple[str, str, str]]
NOT_GRANTED: Used = {("", "nodes", "list"), ("", "namespaces", "get")}
"""Asked for all the same, and done without where it is refused; the optional ClusterRole grants the first.

Pods of the whole cluster are asked for like those of the namespace, and count here as these.
"""
OPEN_TO_ALL = "authorization.k8s.io"


class FirstAnswersLost(Plan):
    """Of every creation, so that it is looked up."""

    def __init__(self) -> None:
        super().__init__()
        self._seen = set[str]()

    def draw(self, path: str) -> Any:
        kinds = ("configmaps", "deployments", "services", "jobs", "leases", "networkpolicies")
        first = path not in self._seen and path.endswith(kinds)
        self._seen.add(path)
        return "lost" if first else None


@pytest.fixture(scope="module")
def loads(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoadingNodes]:
    with loading_nodes(plane, NODE, tmp_path_factory.mktemp("loads")) as running:
        yield running


def asked(namespace: str) -> ClusterOptions:
    here = (("pool", NODE),)
    load = LoadPods(image=IMAGE, workers=1, cpu_cores=0.25, memory_gib=0.25, node_labels=here)
    return options(namespace, load=load, capacity_labels=(("on_demand", here),), port=18082)


def grant(plane: ControlPlane, chosen: ClusterOptions) -> str:
    """Apply what is printed; the token of the account it is for."""
    for one in access_objects(chosen):
        group = "apis/rbac.authorization.k8s.io/v1" if "rbac" in str(one["apiVersion"]) else "api/v1"
        plural = f"{str(one['kind']).lower()}s"
        plane.admin.post(f"/{group}/namespaces/{chosen.namespace}/{plural}", one)
    path = f"/api/v1/namespaces/{chosen.namespace}/serviceaccounts/servetune/token"
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    return plane.admin.post(path, review)["status"]["token"]


def kubeconfig_of(plane: ControlPlane, host: str, token: str, folder: Path) -> Path:
    config = json.loads(plane.kubeconfig().read_text())
    config["clusters"][0]["cluster"]["server"] = host
    config["users"][0]["user"] = {"token": token}
    path = folder / "servetune.kubeconfig"
    path.write_text(json.dumps(config))
    return path


def granted(chosen: ClusterOptions) -> Used:
    return {(right.group, right.resource, verb) for right in rights(chosen) for verb in right.verbs}


def all_right(api: KubernetesApi, namespace: str) -> bool:
    return all(one.ok for one in check_access(api, namespace) if one.needed)


def whole_study(api: KubernetesApi, kubeconfig: Path, chosen: ClusterOptions) -> None:
    """One of everything: the lease, a look for remains, a trial under load from the cluster, and one that fails."""
    clock = SystemClock()
    with holding(
        api, namespace=chosen.namespace, study="cluster test", lease_s=3.0, clock=clock, tell=told_nobody
    ) as lease:
        remove_earlier_trials(api, chosen.namespace, "cluster test", lease, clock)
        runner = cluster_runner(kubeconfig, chosen, lease)
        spec = a_spec(name="cluster test", model=ModelRef(name=MODEL, image=IMAGE, digest=IMAGE))
        assert KubernetesAdmission(api, spec, chosen).room(1, Configuration.of(SMALL), ()) == Admitted()
        with runner.deploy(Configuration.of(SMALL), deployment_id="t-1-0") as deployment:
            before = runner.telemetry(deployment)
            load = ClusterLoadGenerator(
                api=api, options=chosen, engine=load_engine(), place=runner.place_for_load, clock=clock
            )
            run = load.drive(deployment, a_profile())
            after = runner.telemetry(deployment)
            assert (after.inference_count or 0) - (before.inference_count or 0) == len(run.samples)
        with (
            pytest.raises(InfeasibleConfiguration),
            runner.deploy(Configuration.of(SMALL | {"env.FAULT": "oom"}), deployment_id="t-2-0"),
        ):
            pytest.fail("it must not be entered")


@pytest.mark.parametrize("network", ["host", "pod"])
def test_the_role_is_enough_for_a_whole_study_and_nothing_in_it_is_unused(
    plane: ControlPlane, loads: LoadingNodes, namespace: str, tmp_path: Path, network: str
):
    chosen = asked(namespace)
    on_network = replace(chosen, network="pod") if network == "pod" else chosen
    token = grant(plane, on_network)
    with fault_proxy(plane, FirstAnswersLost()) as proxy:
        kubeconfig = kubeconfig_of(plane, proxy.host, token, tmp_path)
        api = open_api(kubeconfig)
        await_true("the role holds", lambda: all_right(api, namespace), deadline_s=60)
        if network == "host":
            whole_study(api, kubeconfig, chosen)
        left(api, on_network)
    assert occupied(plane.admin, namespace) == []
    used = {one for one in proxy.used() if one[0] != OPEN_TO_ALL and one[1]}
    print(f"\n{network}: {told(proxy.calls)}")
    assert used - granted(on_network) <= NOT_GRANTED
    if network == "host":
        assert granted(on_network) - used == set()
    else:
        assert {one for one in granted(on_network) - used if one[1] == "networkpolicies"} == set()


def left(api: KubernetesApi, chosen: ClusterOptions) -> None:
    """What a crash leaves, found and removed."""
    trial = served(configuration=Configuration.of(SMALL), expires_at="2020-01-01T00:00:00Z")
    objects = trial_objects(chosen, trial)
    make_owned(api, objects, make_owner(api, objects))
    assert len(remove_cluster_leftovers(api, chosen.namespace, SystemClock())) == 1


def missing(api: KubernetesApi, namespace: str) -> list[tuple[str, str]]:
    """Resource and what may not be done, as doctor names them."""
    found = [one for one in check_access(api, namespace) if one.needed and not one.ok]
    return [(one.what.split(" (")[0], one.detail) for one in found]


def test_each_verb_that_is_taken_away_is_named_and_no_other(plane: ControlPlane, namespace: str, tmp_path: Path):
    chosen = asked(namespace)
    token = grant(plane, chosen)
    api = open_api(kubeconfig_of(plane, plane.host, token, tmp_path))
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles/servetune"
    rules = plane.admin.get(path)["rules"]
    await_true("the role holds", lambda: all_right(api, namespace), deadline_s=60)
    for place, right in enumerate(RIGHTS):
        for verb in right.verbs:
            fewer = [dict(rule) for rule in rules]
            fewer[place]["verbs"] = [one for one in right.verbs if one != verb]
            # A rule without any verb is none.
            plane.admin.patch(path, {"rules": [rule for rule in fewer if rule["verbs"]]})
            expected = [(right.resource, f"may not {verb} in namespace {namespace}")]
            await_true(f"{verb} {right.resource} is named", named(api, namespace, expected), deadline_s=60)


def named(api: KubernetesApi, namespace: str, expected: list[tuple[str, str]]) -> Callable[[], bool]:
    return lambda: missing(api, namespace) == expected
