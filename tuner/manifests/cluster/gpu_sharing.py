"""How a share of a GPU is asked for: one strategy for each scheme, in a plain dict.

A share that a scheme cannot express is refused here, before anything is sent to a cluster. Where a scheme can hold back
compute as well as memory, both get the same share: a trial then sees what a card full of neighbours would leave it.
Sources: the schemes' own documents, as listed in docstrings; resource names and annotations are theirs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from tuner.domain.cluster import ClusterGpu, GpuSharing, Pairs, ShareSchemeName
from tuner.domain.errors import UsageError
from tuner.manifests.cluster.mig import mig_profile
from tuner.manifests.plain import Plain, PlainObject

NVIDIA_GPU = "nvidia.com/gpu"
CLAIM = "gpu"
"""The name of a pod's resource claim and of the request in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareAsk:
    """What is asked for: so much of one GPU of this type, for this container."""

    gpu: ClusterGpu
    share: Fraction
    sharing: GpuSharing
    container: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuPatch:
    """What a pod has to say to get its share; `claim` is the spec of a ResourceClaim where one is needed.

    `mig_profile` is set where nodes are labelled by it; `by_device` says that the claim, not a node label, picks the
    type.
    """

    limits: Pairs = ()
    labels: Pairs = ()
    annotations: Pairs = ()
    scheduler: str = ""
    mig_profile: str = ""
    claim: PlainObject | None = None
    by_device: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareScheme:
    """`enforced`: a server cannot use more memory than its share. `shares` says in words what can be asked for."""

    enforced: bool
    shares: str
    ask: Callable[[ShareAsk], GpuPatch]


def _whole(ask: ShareAsk) -> GpuPatch:
    """NVIDIA's device plugin: whole cards."""
    if ask.share != 1:
        raise _inexpressible(ask, "the scheme 'whole' gives whole cards only")
    return GpuPatch(limits=_one(ask))


def _one_of_replicas(ask: ShareAsk) -> GpuPatch:
    """NVIDIA's device plugin with `sharing.timeSlicing` or `sharing.mps`: the nodes' configuration sets the share."""
    replicas = ask.sharing.replicas
    if replicas is None or replicas < 2:
        raise UsageError(
            f"the scheme '{ask.sharing.scheme}' needs to know into how many the nodes divide a GPU",
            hint="write sharing.replicas, at least 2",
        )
    if round(float(ask.share), 3) != round(1 / replicas, 3):
        raise _inexpressible(ask, f"the nodes divide a GPU by {replicas}, so a share is {1 / replicas:.3f}")
    return GpuPatch(limits=_one(ask))


def _mig_single(ask: ShareAsk) -> GpuPatch:
    """NVIDIA's device plugin with `mig.strategy: single`: slices are called GPUs, and nodes are labelled by profile."""
    return GpuPatch(limits=_one(ask), mig_profile=mig_profile(ask.gpu, ask.share))


def _mig_mixed(ask: ShareAsk) -> GpuPatch:
    """NVIDIA's device plugin with `mig.strategy: mixed`: each profile is a resource of its own."""
    return GpuPatch(limits=((f"nvidia.com/mig-{mig_profile(ask.gpu, ask.share)}", "1"),))


def _hami(ask: ShareAsk) -> GpuPatch:
    """HAMi: percentages of one card's memory and cores, held by a library in the container."""
    percent = str(_percent(ask))
    return GpuPatch(
        limits=(*_one(ask), ("nvidia.com/gpumem-percentage", percent), ("nvidia.com/gpucores", percent)),
    )


def _kai(ask: ShareAsk) -> GpuPatch:
    """KAI scheduler: a fraction of a card; with the default settings nothing holds the memory back."""
    if not ask.sharing.queue:
        raise UsageError("the scheme 'kai' needs a queue", hint="write sharing.queue")
    queued: Pairs = (("kai.scheduler/queue", ask.sharing.queue),)
    if ask.share == 1:
        return GpuPatch(limits=_one(ask), labels=queued, scheduler="kai-scheduler")
    return GpuPatch(
        labels=queued,
        annotations=(
            ("gpu-fraction", f"{_percent(ask) / 100:g}"),
            ("gpu-fraction-container-name", ask.container),
        ),
        scheduler="kai-scheduler",
    )


def _volcano(ask: ShareAsk) -> GpuPatch:
    """Volcano vGPU in its hami-core mode: MiB and per cent of one card."""
    return GpuPatch(
        limits=(
            ("volcano.sh/vgpu-number", "1"),
            ("volcano.sh/vgpu-memory", str(_card_memory_mib(ask) * ask.share // 1)),
            ("volcano.sh/vgpu-cores", str(_percent(ask))),
        ),
        annotations=(("volcano.sh/vgpu-mode", "hami-core"),),
        scheduler="volcano",
    )


def _aliyun_gpushare(ask: ShareAsk) -> GpuPatch:
    """Aliyun gpushare: whole GiB of one card."""
    card_gib = _card_memory_mib(ask) // 1024
    wanted_gib = card_gib * ask.share
    if wanted_gib.denominator != 1:
        reason = f"Aliyun shares count whole GiB, and the card has {card_gib}: {float(wanted_gib):g} is none"
        raise _inexpressible(ask, reason)
    return GpuPatch(limits=(("aliyun.com/gpu-mem", str(wanted_gib)),))


def _aliyun_cgpu(ask: ShareAsk) -> GpuPatch:
    """Aliyun cGPU: whole GiB of one card, and per cent of its compute."""
    return GpuPatch(
        limits=(*_aliyun_gpushare(ask).limits, ("aliyun.com/gpu-core.percentage", str(_percent(ask)))),
    )


def _dra(ask: ShareAsk) -> GpuPatch:
    """NVIDIA's DRA driver: whole cards."""
    if ask.share != 1:
        raise _inexpressible(ask, "the scheme 'dra' gives whole cards only")
    return GpuPatch(claim=_claim("gpu.nvidia.com", _product(ask)), by_device=True)


def _dra_mig(ask: ShareAsk) -> GpuPatch:
    """NVIDIA's DRA driver: one MIG slice, by profile."""
    profile = json.dumps(mig_profile(ask.gpu, ask.share))
    expression = f'{_product(ask)} && device.attributes["gpu.nvidia.com"].profile == {profile}'
    return GpuPatch(claim=_claim("mig.nvidia.com", expression), by_device=True)


def _dra_mps(ask: ShareAsk) -> GpuPatch:
    """NVIDIA's DRA driver with its MPSSupport gate (alpha): a card of which the claim may use so much.

    Every pod gets a claim, and so a card, of its own: the rest of the card stays empty during the trial.
    """
    memory_mib = _card_memory_mib(ask) * ask.share // 1
    settings: PlainObject = {
        "apiVersion": "resource.nvidia.com/v1beta1",
        "kind": "GpuConfig",
        "sharing": {
            "strategy": "MPS",
            "mpsConfig": {
                "defaultActiveThreadPercentage": _percent(ask),
                "defaultPinnedDeviceMemoryLimit": f"{memory_mib}Mi",
            },
        },
    }
    opaque: PlainObject = {"requests": [CLAIM], "opaque": {"driver": "gpu.nvidia.com", "parameters": settings}}
    return GpuPatch(claim=_claim("gpu.nvidia.com", _product(ask), opaque), by_device=True)


SHARE_SCHEMES: dict[ShareSchemeName, ShareScheme] = {
    "whole": ShareScheme(enforced=True, shares="1", ask=_whole),
    "time_slicing": ShareScheme(enforced=False, shares="1 / sharing.replicas", ask=_one_of_replicas),
    "mps": ShareScheme(enforced=True, shares="1 / sharing.replicas", ask=_one_of_replicas),
    "mig_single": ShareScheme(enforced=True, shares="the type's MIG profiles", ask=_mig_single),
    "mig_mixed": ShareScheme(enforced=True, shares="the type's MIG profiles", ask=_mig_mixed),
    "hami": ShareScheme(enforced=True, shares="whole per cent", ask=_hami),
    "kai": ShareScheme(enforced=False, shares="whole per cent", ask=_kai),
    "volcano": ShareScheme(enforced=True, shares="whole per cent", ask=_volcano),
    "aliyun_gpushare": ShareScheme(enforced=False, shares="whole GiB", ask=_aliyun_gpushare),
    "aliyun_cgpu": ShareScheme(enforced=True, shares="whole GiB and whole per cent", ask=_aliyun_cgpu),
    "dra": ShareScheme(enforced=True, shares="1", ask=_dra),
    "dra_mig": ShareScheme(enforced=True, shares="the type's MIG profiles", ask=_dra_mig),
    "dra_mps": ShareScheme(enforced=True, shares="whole per cent", ask=_dra_mps),
}


def ask_for_share(ask: ShareAsk) -> GpuPatch:
    """What a pod has to say. Raises UsageError where the cluster's scheme cannot express the share."""
    if not 0 < ask.share <= 1:
        raise UsageError(f"{float(ask.share):g} is no share of a GPU", hint="more than 0, at most 1")
    return SHARE_SCHEMES[ask.sharing.scheme].ask(ask)


def _one(ask: ShareAsk) -> Pairs:
    return ((ask.sharing.resource or NVIDIA_GPU, "1"),)


def _percent(ask: ShareAsk) -> int:
    percent = ask.share * 100
    if percent.denominator != 1:
        raise _inexpressible(ask, f"the scheme '{ask.sharing.scheme}' counts in whole per cent")
    return int(percent)


def _card_memory_mib(ask: ShareAsk) -> int:
    if ask.gpu.memory_mib is None:
        raise UsageError(
            f"the scheme '{ask.sharing.scheme}' counts in memory, and that of {ask.gpu.name} is not stated",
            hint=f"write gpus.{ask.gpu.name}.memory_mib, as in the nodes' label nvidia.com/gpu.memory",
        )
    return ask.gpu.memory_mib


def _inexpressible(ask: ShareAsk, reason: str) -> UsageError:
    can = SHARE_SCHEMES[ask.sharing.scheme].shares
    return UsageError(
        f"{float(ask.share):g} of a {ask.gpu.name} cannot be asked for: {reason}", hint=f"shares it can express: {can}"
    )


def _product(ask: ShareAsk) -> str:
    """A CEL expression that is true of the type's devices."""
    names = ", ".join(json.dumps(label) for label in ask.gpu.labels)
    return f'device.attributes["gpu.nvidia.com"].productName in [{names}]'


def _claim(device_class: str, expression: str, *config: PlainObject) -> PlainObject:
    request: dict[str, Plain] = {
        "name": CLAIM,
        "exactly": {"deviceClassName": device_class, "selectors": [{"cel": {"expression": expression}}]},
    }
    devices: dict[str, Plain] = {"requests": [request]}
    return {"devices": {**devices, "config": list(config)} if config else devices}
