"""Whether a trial's pods find room in a cluster now, beside everything that is there or is about to come.

First fit, node by node, over what the scheduler itself counts: labels, taints, allocatable amounts (any extended
resource among them, so that whole GPUs are never given twice), host ports and required pod anti-affinity; and over the
namespace's quotas. CPU is counted in requests, which are limits in everything servetune makes: trials on one node may
still share caches and memory bandwidth. Not counted: volumes, topology spread, pod affinity, priorities (nobody is
preempted for a trial), and the devices behind claims of DRA, which nodes do not advertise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from tuner.domain.admission import Admitted, Never, Room, Wait
from tuner.manifests.cluster.gpu_sharing import NVIDIA_GPU
from tuner.manifests.cluster.scheduling import NOT_ADVERTISED, Fit, amount_of, fit, holds, matches, pod_requests
from tuner.manifests.plain import Plain, PlainObject, number_at, object_at, objects_at, text_at, value_at

Amounts = Mapping[str, Fraction]
_ONE = Fraction(1)
_NONE = Fraction(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSeen:
    """What a look at the cluster showed. No nodes: they may not be looked at. `pods` of all namespaces, if allowed."""

    nodes: tuple[PlainObject, ...]
    pods: tuple[PlainObject, ...]
    quotas: tuple[PlainObject, ...] = ()
    namespace: str = ""
    autoscaled: bool = False


@dataclass(slots=True)
class _Node:
    """A node that takes pods, and what is left of it."""

    manifest: PlainObject
    free: dict[str, Fraction]
    pods: list[PlainObject] = field(default_factory=list)

    def take(self, pod: PlainObject, asked: Amounts) -> None:
        self.pods.append(pod)
        for name, amount in asked.items():
            self.free[name] = self.free.get(name, _NONE) - amount


def admit(seen: ClusterSeen, wanted: Sequence[PlainObject], unseen: Sequence[PlainObject] = ()) -> Room:
    """Whether all the pods `wanted` find room at once.

    `unseen` are pods that trials which run already will still make. Room is kept for them, and for pods of others that
    wait to be placed, as far as these find any.
    """
    too_large = next((pod for pod in wanted if fit(pod, seen.nodes) is Fit.TOO_LARGE), None)
    if too_large is not None and not seen.autoscaled:
        return Never(f"no node is large enough for {_in_words(asked_of(too_large))}")
    quota = _quota(seen, wanted, unseen)
    if not isinstance(quota, Admitted) or seen.autoscaled or not seen.nodes:
        return quota
    nodes = _open_nodes(seen)
    for pod in (*_unplaced(seen.pods), *unseen):
        _place(pod, nodes)
    for pod in wanted:
        if not _place(pod, nodes):
            return Wait(f"no node has {_in_words(asked_of(pod))} free for it")
    return Admitted()


def asked_of(pod: PlainObject) -> dict[str, Fraction]:
    """What a pod that is still to be placed will take of a node, itself among the pods it may have.

    A fraction under KAI's scheduler asks for no GPU: a pod of the scheduler's own takes the whole card for it.
    """
    asked = {name: amount for name, amount in pod_requests(pod).items() if name not in NOT_ADVERTISED}
    if text_at(pod, "metadata", "annotations", "gpu-fraction"):
        asked[NVIDIA_GPU] = asked.get(NVIDIA_GPU, _NONE) + _ONE
    return {**asked, "pods": _ONE}


def is_over(pod: PlainObject) -> bool:
    """It holds nothing any more."""
    return text_at(pod, "status", "phase") in {"Succeeded", "Failed"}


def _unplaced(pods: Iterable[PlainObject]) -> list[PlainObject]:
    """Pods that the scheduler may place any moment. One behind a gate does not wait for room."""
    waiting = (pod for pod in pods if not is_over(pod) and not text_at(pod, "spec", "nodeName"))
    return [pod for pod in waiting if not objects_at(pod, "spec", "schedulingGates")]


def _open_nodes(seen: ClusterSeen) -> list[_Node]:
    bound: dict[str, list[PlainObject]] = {}
    for pod in seen.pods:
        name = text_at(pod, "spec", "nodeName")
        if name and not is_over(pod):
            bound.setdefault(name, []).append(pod)
    nodes = []
    for manifest in seen.nodes:
        allocatable = object_at(manifest, "status", "allocatable").items()
        node = _Node(
            manifest, {name: amount for name, value in allocatable if (amount := amount_of(value)) is not None}
        )
        for pod in bound.get(text_at(manifest, "metadata", "name"), ()):
            node.take(pod, {**pod_requests(pod), "pods": _ONE})
        nodes.append(node)
    return nodes


def _place(pod: PlainObject, nodes: Sequence[_Node]) -> bool:
    asked = asked_of(pod)
    for node in nodes:
        enough = all(node.free.get(name, _NONE) >= amount for name, amount in asked.items())
        if enough and _takes(node.manifest, pod) and _ports_free(pod, node) and _apart(pod, node, nodes):
            node.take(pod, asked)
            return True
    return False


def _takes(node: PlainObject, pod: PlainObject) -> bool:
    ready = any(
        text_at(one, "type") == "Ready" and text_at(one, "status") == "True"
        for one in objects_at(node, "status", "conditions")
    )
    if not ready or value_at(node, "spec", "unschedulable") is True or not matches(pod, node):
        return False
    hindering = [one for one in objects_at(node, "spec", "taints") if text_at(one, "effect") != "PreferNoSchedule"]
    return all(any(_tolerates(one, taint) for one in objects_at(pod, "spec", "tolerations")) for taint in hindering)


def _tolerates(toleration: PlainObject, taint: PlainObject) -> bool:
    key, effect = text_at(toleration, "key"), text_at(toleration, "effect")
    if effect and effect != text_at(taint, "effect"):
        return False
    if text_at(toleration, "operator") == "Exists":
        return not key or key == text_at(taint, "key")
    return key == text_at(taint, "key") and text_at(toleration, "value") == text_at(taint, "value")


def _ports_free(pod: PlainObject, node: _Node) -> bool:
    wanted = _host_ports(pod)
    return not wanted or all(wanted.isdisjoint(_host_ports(other)) for other in node.pods)


def _host_ports(pod: PlainObject) -> set[int]:
    on_host = value_at(pod, "spec", "hostNetwork") is True
    ports = [port for one in objects_at(pod, "spec", "containers") for port in objects_at(one, "ports")]
    return {number_at(port, "hostPort") or (number_at(port, "containerPort") if on_host else 0) for port in ports} - {0}


def _apart(pod: PlainObject, node: _Node, nodes: Sequence[_Node]) -> bool:
    """Neither wants to be apart from the other, within what each means by apart."""
    return not any(
        _same_place(term, node, other) and _meant(term, by, of)
        for other in nodes
        for there in other.pods
        for by, of in ((pod, there), (there, pod))
        for term in objects_at(
            by, "spec", "affinity", "podAntiAffinity", "requiredDuringSchedulingIgnoredDuringExecution"
        )
    )


def _same_place(term: PlainObject, one: _Node, other: _Node) -> bool:
    key = text_at(term, "topologyKey")
    place = object_at(one.manifest, "metadata", "labels").get(key)
    return place is not None and place == object_at(other.manifest, "metadata", "labels").get(key)


def _meant(term: PlainObject, by: PlainObject, of: PlainObject) -> bool:
    """Without namespaces, pods of the same one are meant."""
    listed = value_at(term, "namespaces")
    namespaces = listed if isinstance(listed, list | tuple) and listed else [text_at(by, "metadata", "namespace")]
    labels = object_at(of, "metadata", "labels")
    wanted = object_at(term, "labelSelector", "matchLabels")
    return (
        text_at(of, "metadata", "namespace") in namespaces
        and all(labels.get(key) == value for key, value in wanted.items())
        and all(holds(one, labels) for one in objects_at(term, "labelSelector", "matchExpressions"))
    )


def _quota(seen: ClusterSeen, wanted: Sequence[PlainObject], unseen: Sequence[PlainObject]) -> Room:
    """A quota counts every pod that is seen. One with scopes is left out: what it means shows when pods are made."""
    for quota in seen.quotas:
        if object_at(quota, "spec", "scopeSelector") or value_at(quota, "spec", "scopes"):
            continue
        name = text_at(quota, "metadata", "name")
        hard, used = object_at(quota, "spec", "hard"), object_at(quota, "status", "used")
        for key, limit in _amounts(hard).items():
            more = sum((_counted(pod, key) for pod in wanted), _NONE)
            if more > limit:
                return Never(f"the quota {name} has {_amount(limit)} {key} at most, and this takes {_amount(more)}")
            coming = sum((_counted(pod, key) for pod in unseen), _NONE)
            taken = _amounts(used).get(key, _NONE) + coming
            if more and taken + more > limit:
                return Wait(
                    f"of the quota {name} {_amount(max(limit - taken, _NONE))} {key} are left, "
                    f"and this takes {_amount(more)}"
                )
    return Admitted()


def _counted(pod: PlainObject, key: str) -> Fraction:
    """What a pod takes of a quota. Limits are requests in everything servetune makes."""
    if key in {"pods", "count/pods"}:
        return _ONE
    return pod_requests(pod).get(key.removeprefix("requests.").removeprefix("limits."), _NONE)


def _amounts(node: Mapping[str, Plain]) -> dict[str, Fraction]:
    return {name: amount for name, value in node.items() if (amount := amount_of(value)) is not None}


def _in_words(asked: Amounts) -> str:
    return ", ".join(f"{name} {_amount(amount)}" for name, amount in sorted(asked.items()) if name != "pods")


def _amount(amount: Fraction) -> str:
    gib = 2**30
    return f"{float(amount / gib):.4g}Gi" if amount >= gib else f"{float(amount):.4g}"
