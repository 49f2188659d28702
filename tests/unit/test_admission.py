"""Room for a trial's pods: what a cluster has left, and what is kept for others."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.clusters import IMAGE, T4, a_node, a_pod, cluster, served
from tuner.domain.admission import Admitted, Never, Wait
from tuner.domain.cluster import GpuSharing
from tuner.manifests.cluster.admission import ClusterSeen, admit
from tuner.manifests.cluster.scheduling import pod_requests
from tuner.manifests.cluster.server_pod import server_template

GPU = "nvidia.com/gpu"
TAINT = {"key": GPU, "effect": "NoSchedule"}


def seen(*nodes: Any, pods: tuple[Any, ...] = (), quotas: tuple[Any, ...] = (), **changes: Any) -> ClusterSeen:
    return ClusterSeen(nodes=nodes, pods=pods, quotas=quotas, namespace="s", **changes)


def pod(node: str = "", *, metadata: Any = None, spec: Any = None, **limits: str) -> Any:
    sizes = {name.replace("__", "/"): amount for name, amount in ({"cpu": "1", "memory": "1Gi"} | limits).items()}
    made = a_pod(node=node, spec=spec or {}, metadata={"namespace": "s", **(metadata or {})})
    made["spec"]["containers"][0]["resources"] = {"limits": sizes, "requests": sizes}
    return made


def quota(used: dict[str, str] | None = None, **hard: str) -> Any:
    hard = {name.replace("__", "/").replace("_", "."): amount for name, amount in hard.items()}
    return {"metadata": {"name": "q"}, "spec": {"hard": hard}, "status": {"used": used or {}}}


def gpu_node(name: str, count: int, **labels: str) -> Any:
    node = a_node(name, labels=labels)
    node["status"]["allocatable"][GPU] = str(count)
    return node


def tainted(node: Any, *taints: Any, **spec: Any) -> Any:
    return {**node, "spec": {"taints": list(taints), **spec}}


def test_a_node_with_room_takes_it():
    assert admit(seen(a_node()), [pod()]) == Admitted()


def test_devices_whose_plugin_is_away_are_waited_for_and_not_given_up():
    """It takes them out of what is allocatable only: one moment of that must not make a card infeasible for good."""
    node = gpu_node("node0", 0)
    node["status"]["capacity"] = {GPU: "2"}
    assert isinstance(admit(seen(node), [pod(**{GPU: "1"})]), Wait)
    assert isinstance(admit(seen(node), [pod(**{GPU: "3"})]), Never)


def test_a_strangers_pod_behind_a_gate_does_not_wait_for_room():
    node = gpu_node("node0", 1)
    gated = pod(spec={"schedulingGates": [{"name": "example.com/quota"}]}, **{GPU: "1"})
    assert admit(seen(node, pods=(gated,)), [pod(**{GPU: "1"})]) == Admitted()
    assert isinstance(admit(seen(node, pods=(pod(**{GPU: "1"}),)), [pod(**{GPU: "1"})]), Wait)


def test_what_runs_there_and_what_is_still_to_come_is_not_given_twice():
    node = gpu_node("node0", 2)
    one, taken = pod(**{GPU: "1"}), pod("node0", **{GPU: "1"})
    assert admit(seen(node), [one], unseen=[one]) == Admitted()
    assert admit(seen(node, pods=(taken,)), [one]) == Admitted()
    assert isinstance(admit(seen(node, pods=(taken,)), [one], unseen=[one]), Wait)
    assert isinstance(admit(seen(node, pods=(taken, taken)), [one]), Wait)


def test_pods_that_are_over_hold_nothing():
    over = pod("node0", cpu="8")
    over["status"]["phase"] = "Succeeded"
    assert admit(seen(a_node(), pods=(over,)), [pod(cpu="8")]) == Admitted()


def test_somebody_elses_pod_that_waits_for_a_node_comes_first_where_it_fits():
    waiting, hopeless = pod(cpu="8"), pod(cpu="80")
    assert isinstance(admit(seen(a_node(), pods=(waiting,)), [pod()]), Wait)
    assert admit(seen(a_node(), pods=(hopeless,)), [pod()]) == Admitted()


def test_what_no_node_could_ever_hold_never_fits_but_where_nodes_may_come():
    assert isinstance(admit(seen(a_node()), [pod(cpu="9")]), Never)
    assert admit(seen(a_node(), autoscaled=True), [pod(cpu="9")]) == Admitted()


def test_all_pods_of_a_trial_find_room_or_none_does():
    assert admit(seen(a_node()), [pod(cpu="4"), pod(cpu="4")]) == Admitted()
    assert isinstance(admit(seen(a_node()), [pod(cpu="4"), pod(cpu="4"), pod(cpu="1")]), Wait)
    assert admit(seen(a_node("a"), a_node("b")), [pod(cpu="6"), pod(cpu="6")]) == Admitted()


@pytest.mark.parametrize(
    "node",
    [
        a_node(ready="Unknown"),
        tainted(a_node(), TAINT),
        tainted(a_node(), unschedulable=True),
        a_node(pods="0"),
    ],
)
def test_a_node_that_takes_no_pods_has_no_room(node: Any):
    assert not isinstance(admit(seen(node), [pod()]), Admitted)


@pytest.mark.parametrize(
    "toleration",
    [
        {"key": GPU, "operator": "Exists", "effect": "NoSchedule"},
        {"operator": "Exists"},
        {"key": GPU, "operator": "Equal", "value": ""},
    ],
)
def test_a_taint_that_is_tolerated_does_not_hinder(toleration: Any):
    node = tainted(a_node(), {**TAINT, "value": ""}, {"key": "x", "effect": "PreferNoSchedule"})
    assert admit(seen(node), [pod(spec={"tolerations": [toleration]})]) == Admitted()


def test_a_port_of_the_host_is_given_once():
    def serving(node: str, number: int) -> Any:
        made = pod(node, spec={"hostNetwork": True})
        made["spec"]["containers"][0]["ports"] = [{"containerPort": number}]
        return made

    there = seen(a_node(), pods=(serving("node0", 20000),))
    assert isinstance(admit(there, [serving("", 20000)]), Wait)
    assert admit(there, [serving("", 20003)]) == Admitted()


def shared_trial(**changes: Any) -> Any:
    options = cluster(sharing=GpuSharing(scheme="time_slicing", replicas=4, **changes))
    knobs = {"gpu_type": "T4", "gpu_memory_share": 0.25}
    template = server_template(options, served(knobs, beside_others=True))
    return {**template, "metadata": {**template["metadata"], "namespace": options.namespace}}


def t4_node(name: str) -> Any:
    labels = {"nvidia.com/gpu.product": f"{T4.labels[0]}-SHARED", "nvidia.com/gpu.sharing-strategy": "time-slicing"}
    return gpu_node(name, 8, **labels)


def on(node: str, made: Any) -> Any:
    return {**made, "spec": {**made["spec"], "nodeName": node}, "status": {"phase": "Running"}}


def test_shares_of_cards_are_kept_on_nodes_of_their_own_unless_neighbours_are_asked_for():
    one = shared_trial()
    assert admit(seen(t4_node("a")), [one]) == Admitted()
    assert isinstance(admit(seen(t4_node("a"), pods=(on("a", one),)), [one]), Wait)
    assert isinstance(admit(seen(t4_node("a")), [one], unseen=[one]), Wait)
    assert admit(seen(t4_node("a"), t4_node("b"), pods=(on("a", one),)), [one]) == Admitted()
    neighbour = shared_trial(neighbours=True)
    assert admit(seen(t4_node("a"), pods=(on("a", neighbour),)), [neighbour]) == Admitted()
    assert isinstance(admit(seen(t4_node("a"), pods=(on("a", one),)), [neighbour]), Wait), "it was promised to be alone"


def test_one_trial_at_a_time_and_whole_cards_need_no_rule():
    knobs = {"gpu_type": "T4", "gpu_memory_share": 0.25}
    options = cluster(sharing=GpuSharing(scheme="time_slicing", replicas=4))
    alone, whole = served(knobs), served({"gpu_type": "T4"}, beside_others=True)
    assert "podAntiAffinity" not in server_template(options, alone)["spec"]["affinity"]
    assert "podAntiAffinity" not in server_template(cluster(image=IMAGE), whole)["spec"]["affinity"]


def test_a_fraction_under_kai_takes_a_card_that_nobody_has():
    node = gpu_node("node0", 1)
    fraction = pod(metadata={"annotations": {"gpu-fraction": "0.5"}})
    assert admit(seen(node), [fraction]) == Admitted()
    assert isinstance(admit(seen(node), [fraction], unseen=[fraction]), Wait)


def test_quotas_count_what_is_used_and_what_is_still_to_come():
    left_two = quota(used={"requests.cpu": "6"}, requests_cpu="8", pods="10")
    assert admit(seen(a_node(), quotas=(left_two,)), [pod(cpu="2")]) == Admitted()
    assert isinstance(admit(seen(a_node(), quotas=(left_two,)), [pod(cpu="3")]), Wait)
    assert isinstance(admit(seen(a_node(), quotas=(left_two,)), [pod(cpu="2")], unseen=[pod()]), Wait)
    assert isinstance(admit(seen(a_node(), quotas=(quota(limits_memory="512Mi"),)), [pod()]), Never)
    assert isinstance(admit(seen(quotas=(quota(pods="0"),)), [pod()]), Never), "without a look at nodes too"
    scoped = {**left_two, "spec": {**left_two["spec"], "scopes": ["BestEffort"]}}
    assert admit(seen(a_node(), quotas=(scoped,)), [pod(cpu="3")]) == Admitted()


def test_without_a_look_at_nodes_nothing_is_held_back():
    assert admit(seen(), [pod(cpu="900")]) == Admitted()


sizes = st.integers(1, 4)


@settings(deadline=None)
@given(cores=st.lists(st.integers(1, 8), min_size=1, max_size=4), asked=st.lists(st.tuples(sizes, sizes), max_size=12))
def test_whoever_is_admitted_is_never_more_than_there_is(cores: list[int], asked: list[tuple[int, int]]):
    """Each admitted trial stays, not yet visible: together they fit into the cluster, node sums aside."""
    nodes = [a_node(f"n{k}", cpu=str(count)) for k, count in enumerate(cores)]
    running: list[Any] = []
    for first, second in asked:
        wanted = [pod(cpu=str(first)), pod(cpu=str(second))]
        room = admit(seen(*nodes), wanted, unseen=running)
        if isinstance(room, Admitted):
            running += wanted
        assert isinstance(room, Never) == (max(first, second) > max(cores))
    assert sum((pod_requests(one)["cpu"] for one in running), Fraction(0)) <= sum(cores)


def test_a_quota_without_numbers_says_nothing():
    odd = {"metadata": {"name": "q"}, "spec": {"hard": {"requests.cpu": "many"}}}
    assert admit(replace(seen(a_node()), quotas=(odd,)), [pod()]) == Admitted()
