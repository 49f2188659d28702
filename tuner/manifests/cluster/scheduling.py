"""Whether any node could ever hold a pod: the scheduler says only that none does now."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from fractions import Fraction

from tuner.manifests.cluster.quantities import parse_quantity
from tuner.manifests.plain import Plain, PlainObject, object_at, objects_at, text_at, value_at

# HAMi's own scheduler counts these; nodes advertise the card only.
NOT_ADVERTISED = ("nvidia.com/gpumem", "nvidia.com/gpumem-percentage", "nvidia.com/gpucores")


class Fit(Enum):
    """`UNKNOWN`: the nodes may not be looked at."""

    UNKNOWN = "unknown"
    NO_SUCH_NODE = "no such node"
    TOO_LARGE = "too large"
    BUSY = "busy"


def fit(pod: PlainObject, nodes: Sequence[PlainObject]) -> Fit:
    """By labels and allocatable amounts; taints and other pods are the scheduler's matter."""
    if not nodes:
        return Fit.UNKNOWN
    alike = [node for node in nodes if matches(pod, node)]
    if not alike:
        return Fit.NO_SUCH_NODE
    asked = pod_requests(pod)
    return Fit.BUSY if any(_holds(node, asked) for node in alike) else Fit.TOO_LARGE


def pod_requests(pod: PlainObject) -> dict[str, Fraction]:
    """What a pod needs at once: its containers together, or its largest init container where that is more."""
    together: dict[str, Fraction] = {}
    for container in objects_at(pod, "spec", "containers"):
        for name, amount in _requests(container).items():
            together[name] = together.get(name, Fraction(0)) + amount
    for container in objects_at(pod, "spec", "initContainers"):
        for name, amount in _requests(container).items():
            together[name] = max(together.get(name, Fraction(0)), amount)
    return together


def _requests(container: PlainObject) -> dict[str, Fraction]:
    """A limit without a request is one."""
    stated = {
        **object_at(container, "resources", "limits"),
        **object_at(container, "resources", "requests"),
    }
    amounts = ((name, amount_of(value)) for name, value in stated.items())
    return {name: amount for name, amount in amounts if amount is not None}


def _holds(node: PlainObject, asked: dict[str, Fraction]) -> bool:
    """Of devices, what the node ever had: a device plugin that is away for a moment makes them unallocatable."""
    allocatable, capacity = (object_at(node, "status", key) for key in ("allocatable", "capacity"))

    def most(name: str) -> Fraction:
        stated = (allocatable.get(name), capacity.get(name) if "/" in name else None)
        return max(amount_of(one) or Fraction(0) for one in stated)

    counted = {name: amount for name, amount in asked.items() if name not in NOT_ADVERTISED}
    return all(most(name) >= amount for name, amount in counted.items())


def amount_of(value: Plain) -> Fraction | None:
    """The number that a quantity in an object stands for; None where it is none."""
    return parse_quantity(str(value)) if isinstance(value, str | int) else None


def matches(pod: PlainObject, node: PlainObject) -> bool:
    """Whether the node has the labels that the pod asks for."""
    labels = object_at(node, "metadata", "labels")
    selector = object_at(pod, "spec", "nodeSelector")
    if any(labels.get(key) != value for key, value in selector.items()):
        return False
    required = ("spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
    terms = objects_at(pod, *required, "nodeSelectorTerms")
    return not terms or any(all(holds(one, labels) for one in objects_at(term, "matchExpressions")) for term in terms)


def holds(expression: PlainObject, labels: PlainObject) -> bool:
    """Whether labels are as a match expression asks. Operators that cannot be judged count as true: only certain
    misfits are called so.
    """
    key, listed = text_at(expression, "key"), value_at(expression, "values")
    values = listed if isinstance(listed, list | tuple) else ()
    match text_at(expression, "operator"):
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    return True
