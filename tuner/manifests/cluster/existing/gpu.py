"""Which GPU, and how much of it, a pod template asks for: the other way round of `gpu_sharing` and `placement`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from tuner.domain.cluster import GpuLabelScheme, ShareSchemeName
from tuner.domain.errors import UsageError
from tuner.manifests.cluster.gpu_sharing import NVIDIA_GPU
from tuner.manifests.cluster.placement import GPU_TYPE_LABELS
from tuner.manifests.cluster.quantities import parse_quantity
from tuner.manifests.plain import Plain, PlainObject, object_at, objects_at, text_at, value_at

_SHARED_GPU = "nvidia.com/gpu.shared"
_MIG = re.compile(r"nvidia\.com/mig-([0-9]g\.[0-9]{1,3}gb)")
_MIG_PRODUCT = re.compile(r"(.+)-MIG-([0-9]g\.[0-9]{1,3}gb)")
_MEMORY_LABEL = "nvidia.com/gpu.memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class PresentGpu:
    """What a pod gets today. `label` is what the type's nodes carry under the label scheme, and `pinned` whether the
    template itself says so; `share` is None where it cannot be known; `told_by` says what all this was read from.
    """

    scheme: ShareSchemeName
    share: Fraction | None
    told_by: str
    labels: GpuLabelScheme = "gfd"
    label: str = ""
    pinned: bool = False
    replicas: int | None = None
    queue: str = ""
    resource: str = ""
    mig_profile: str = ""
    memory_mib: int | None = None


def present_gpu(template: PlainObject, container: str, node: PlainObject, told_label: str = "") -> PresentGpu | None:
    """None where the container asks for no GPU. `node` is one that the pods run on; empty: nobody may read it.

    `told_label` is what its nodes carry as nvidia.com/gpu.product, where neither template nor node tells. Raises
    UsageError where it asks for more than one card, or for a claim, and where nothing says which type it gets.
    """
    served = next(one for one in objects_at(template, "spec", "containers") if text_at(one, "name") == container)
    limits = {**object_at(served, "resources", "requests"), **object_at(served, "resources", "limits")}
    amounts = {key: parse_quantity(str(value)) or Fraction(0) for key, value in limits.items()}
    labels, label, pinned = _type_label(template, node)
    label = label or told_label
    memory_mib = _whole(object_at(node, "metadata", "labels").get(_MEMORY_LABEL))
    found = _asked(template, amounts, node, memory_mib)
    if found is None:
        return None
    if not label:
        raise UsageError(
            f"the Deployment asks for {found.told_by}, and nothing that may be read says which type of GPU that is",
            hint="--gpu-label VALUE: what its nodes carry as nvidia.com/gpu.product",
        )
    product = _MIG_PRODUCT.fullmatch(label)
    plain = label.removesuffix("-SHARED") if labels == "gfd" else label
    return replace(
        found,
        labels=labels,
        label=product[1] if product else plain,
        pinned=pinned,
        memory_mib=None if product else memory_mib,
    )


def gpu_type_keys() -> tuple[str, ...]:
    """The labels by which nodes say their GPU type, of every provider."""
    return tuple(GPU_TYPE_LABELS[scheme] for scheme in _SCHEMES)


_SCHEMES: tuple[GpuLabelScheme, ...] = ("gfd", "gke", "karpenter", "eks_auto")
"""AKS names the machine and not the card, so its label says nothing by itself."""


def _type_label(template: PlainObject, node: PlainObject) -> tuple[GpuLabelScheme, str, bool]:
    """Scheme and value, and whether the template asks for it: its own words first, then what the node is."""
    wanted = {**dict(_affinity(template)), **object_at(template, "spec", "nodeSelector")}
    for source, pinned in ((wanted, True), (object_at(node, "metadata", "labels"), False)):
        for scheme in _SCHEMES:
            value = source.get(GPU_TYPE_LABELS[scheme])
            if isinstance(value, str) and value:
                return scheme, value, pinned
    return "gfd", "", False


def _affinity(template: PlainObject) -> Iterator[tuple[str, Plain]]:
    """Labels for which the required node affinity leaves one value only."""
    path = ("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
    for term in objects_at(template, "spec", *path):
        for expression in objects_at(term, "matchExpressions"):
            values = value_at(expression, "values")
            if text_at(expression, "operator") == "In" and isinstance(values, list) and len(values) == 1:
                yield text_at(expression, "key"), values[0]


def _asked(
    template: PlainObject, amounts: dict[str, Fraction], node: PlainObject, memory_mib: int | None
) -> PresentGpu | None:
    """Scheme and share by the names of what is asked for; the more special names first."""
    annotations = object_at(template, "metadata", "annotations")
    slices = [(key, found[1]) for key in amounts if (found := _MIG.fullmatch(key))]
    if slices:
        _one_only(slices[0][0], amounts)
        return PresentGpu(scheme="mig_mixed", share=None, told_by=slices[0][0], mig_profile=slices[0][1])
    if "gpu-fraction" in annotations:
        queue = text_at(template, "metadata", "labels", "kai.scheduler/queue")
        share = parse_quantity(str(annotations["gpu-fraction"]))
        return PresentGpu(scheme="kai", share=share, told_by="the annotation gpu-fraction", queue=queue or "default")
    for scheme, share, key in _by_amount(amounts, memory_mib):
        return PresentGpu(scheme=scheme, share=share, told_by=key)
    if _SHARED_GPU in amounts:
        return _divided(node, _SHARED_GPU, resource=_SHARED_GPU)
    if NVIDIA_GPU in amounts:
        _one_only(NVIDIA_GPU, amounts)
        return _card(node)
    if objects_at(template, "spec", "resourceClaims"):
        raise UsageError(
            "the Deployment claims its GPU by resourceClaims, and what a claim asks for stands elsewhere",
            hint="write base and runner.kubernetes.sharing by hand",
        )
    return None


def _by_amount(
    amounts: dict[str, Fraction], memory_mib: int | None
) -> Iterator[tuple[ShareSchemeName, Fraction | None, str]]:
    if "nvidia.com/gpumem-percentage" in amounts:
        yield "hami", amounts["nvidia.com/gpumem-percentage"] / 100, "nvidia.com/gpumem-percentage"
    if "nvidia.com/gpumem" in amounts:
        yield "hami", _part(amounts["nvidia.com/gpumem"], memory_mib), "nvidia.com/gpumem"
    if "volcano.sh/vgpu-memory" in amounts:
        yield "volcano", _part(amounts["volcano.sh/vgpu-memory"], memory_mib), "volcano.sh/vgpu-memory"
    if "aliyun.com/gpu-mem" in amounts:
        scheme: ShareSchemeName = "aliyun_cgpu" if "aliyun.com/gpu-core.percentage" in amounts else "aliyun_gpushare"
        yield scheme, _part(amounts["aliyun.com/gpu-mem"] * 1024, memory_mib), "aliyun.com/gpu-mem"


def _part(mib: Fraction, memory_mib: int | None) -> Fraction | None:
    """The share of a card, to the whole per cent that covers it."""
    return Fraction(min(100, -(-mib * 100 // memory_mib)), 100) if memory_mib else None


def _card(node: PlainObject) -> PresentGpu:
    """A whole card by its name: or a part of one, where the nodes divide cards under that name."""
    labels = object_at(node, "metadata", "labels")
    product = _MIG_PRODUCT.fullmatch(str(labels.get(GPU_TYPE_LABELS["gfd"], "")))
    if product:
        told_by = f"{NVIDIA_GPU} on nodes labelled {product[0]}"
        return PresentGpu(scheme="mig_single", share=None, told_by=told_by, mig_profile=product[2])
    if text_at(labels, "nvidia.com/gpu.sharing-strategy") in {"time-slicing", "mps"}:
        return _divided(node, NVIDIA_GPU)
    return PresentGpu(scheme="whole", share=Fraction(1), told_by=NVIDIA_GPU)


def _divided(node: PlainObject, key: str, *, resource: str = "") -> PresentGpu:
    labels = object_at(node, "metadata", "labels")
    replicas = _whole(labels.get("nvidia.com/gpu.replicas"))
    scheme: ShareSchemeName = "mps" if text_at(labels, "nvidia.com/gpu.sharing-strategy") == "mps" else "time_slicing"
    return PresentGpu(
        scheme=scheme,
        share=Fraction(1, replicas) if replicas else None,
        told_by=f"{key} on nodes that divide their cards",
        replicas=replicas,
        resource=resource,
    )


def _one_only(key: str, amounts: dict[str, Fraction]) -> None:
    if amounts[key] != 1:
        raise UsageError(
            f"the Deployment asks for {amounts[key]} of {key} in one pod",
            hint="a study's replica has one GPU, or a share of one",
        )


def _whole(value: Plain) -> int | None:
    return int(value) if isinstance(value, str) and value.isdecimal() and int(value) > 0 else None
