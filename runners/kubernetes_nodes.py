"""Which nodes of a cluster could hold the servers of a study, by GPU type."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

from runners.findings import Finding
from runners.kubernetes_api import ApiRefused, KubernetesApi
from runners.kubernetes_paths import collection
from tuner.domain.cluster import ClusterOptions
from tuner.manifests.cluster.demands import Demand
from tuner.manifests.cluster.quantities import parse_quantity
from tuner.manifests.cluster.scheduling import Fit, fit
from tuner.manifests.plain import PlainObject, object_at, text_at

MOST_NAMES = 4


def check_nodes(api: KubernetesApi, options: ClusterOptions, sizes: Sequence[Demand]) -> tuple[Finding, ...]:
    """A line for each GPU type, or one for all servers without a GPU. Raises ApiRefused."""
    types = dict.fromkeys(size.trial.gpu_type for size in sizes)
    try:
        nodes = api.list(collection("v1", "Node", "")).items
    except ApiRefused as refused:
        if refused.status != 403:
            raise
        remedy = "the optional ClusterRole lets them be listed; else: kubectl get nodes --show-labels"
        unseen = "this identity may not look at nodes"
        return tuple(Finding(_named(one), ok=None, detail=unseen, remedy=remedy) for one in types)
    return tuple(
        finding
        for one in types
        for finding in _of_type(one, nodes, options, [size for size in sizes if size.trial.gpu_type == one])
    )


def _named(gpu_type: str) -> str:
    return f"GPU type {gpu_type}" if gpu_type else "nodes"


def _of_type(
    gpu_type: str, nodes: Sequence[PlainObject], options: ClusterOptions, sizes: list[Demand]
) -> Iterator[Finding]:
    what, smallest = _named(gpu_type), sizes[0]
    alike = [node for node in nodes if any(fit(size.pod, [node]) is not Fit.NO_SUCH_NODE for size in sizes)]
    if not alike:
        detail = f"none of {len(nodes)} nodes has {_wanted(smallest)}; there is {_values(smallest, nodes)}"
        come = "they may come, the study says" if options.autoscaled else "label nodes, or mend gpus or the knobs"
        yield Finding(what, ok=False, needed=not options.autoscaled, detail=detail, remedy=come)
        return
    names = sorted(text_at(node, "metadata", "name") for node in alike)
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    told = f"{len(alike)} of {len(nodes)} nodes: {', '.join(names[:MOST_NAMES])}{more}"
    large = [size for size in sizes if not any(fit(size.pod, [node]) is Fit.BUSY for node in alike)]
    resources = dict.fromkeys(name for size in sizes for name, _ in (size.patch.limits if size.patch else ()))
    amounts = "".join(f"; {name} {_allocatable(name, alike)}" for name in resources)
    if len(large) == len(sizes):
        detail = f"{told}{amounts}; none could hold any size, the first: {_size(smallest)}"
        remedy = "does the nodes' device plugin advertise what sharing.scheme asks for?" if gpu_type else "lower knobs"
        yield Finding(what, ok=False, needed=not options.autoscaled, detail=detail, remedy=remedy)
        return
    yield Finding(what, ok=True, detail=f"{told}{amounts}")
    if large:
        detail = f"{len(large)} of {len(sizes)} sizes fit no node, the first: {_size(large[0])}"
        yield Finding(what, ok=False, needed=False, detail=detail, remedy="their trials end as infeasible")


def _wanted(size: Demand) -> str:
    labels = [f"{one.key}={'|'.join(one.values)}" if one.values else f"no {one.key}" for one in size.placement.labels]
    return ", ".join(labels) or "what the template's own selector asks for"


def _values(size: Demand, nodes: Sequence[PlainObject]) -> str:
    """What the nodes carry under the labels that are asked for."""
    keys = [one.key for one in size.placement.labels]
    found = {f"{key}={value}" for node in nodes for key in keys if (value := _label(node, key))}
    return ", ".join(sorted(found)[:MOST_NAMES]) or "none with that label"


def _label(node: PlainObject, key: str) -> str:
    return text_at(object_at(node, "metadata", "labels"), key)


def _allocatable(resource: str, nodes: Sequence[PlainObject]) -> str:
    amounts = [parse_quantity(str(object_at(node, "status", "allocatable").get(resource, "0"))) for node in nodes]
    return f"{float(sum((amount or Fraction(0)) for amount in amounts)):g} allocatable"


def _size(size: Demand) -> str:
    settings = size.trial.configuration.settings
    told = (f"{name} {value if isinstance(value, str) else format(value, 'g')}" for name, value in settings)
    return ", ".join(told) or "the footprint"
