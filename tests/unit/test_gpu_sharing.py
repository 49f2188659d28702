"""What each GPU-sharing scheme asks for, and which shares it refuses before anything is sent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.clusters import A100, T4, cluster, served
from tuner.domain.cluster import ClusterGpu, GpuSharing
from tuner.domain.cost import Footprint
from tuner.domain.errors import UsageError
from tuner.domain.space import Knob, SearchSpace
from tuner.manifests.cluster.gpu_sharing import SHARE_SCHEMES, ShareAsk, ask_for_share
from tuner.manifests.cluster.placement import gpu_nodes, term_nodes
from tuner.manifests.cluster.quantities import cpu_quantity, exact, memory_quantity, parse_quantity
from tuner.manifests.cluster.trial import gpu_patch, placement, refuse_impossible


def ask(scheme: Any, share: float, gpu: ClusterGpu = A100, **sharing: Any) -> Any:
    settings = GpuSharing(scheme=scheme, **sharing)
    return ask_for_share(ShareAsk(gpu=gpu, share=exact(share), sharing=settings, container="server"))


LIMITS: dict[str, tuple[Any, dict[str, str]]] = {
    "whole": (("whole", 1), {"nvidia.com/gpu": "1"}),
    "time slice": (("time_slicing", 0.25, T4, {"replicas": 4}), {"nvidia.com/gpu": "1"}),
    "time slice under another name": (
        ("time_slicing", 0.333, T4, {"replicas": 3, "resource": "nvidia.com/gpu.shared"}),
        {"nvidia.com/gpu.shared": "1"},
    ),
    "MPS": (("mps", 0.5, A100, {"replicas": 2}), {"nvidia.com/gpu": "1"}),
    "MIG, all alike": (("mig_single", 0.25), {"nvidia.com/gpu": "1"}),
    "MIG, mixed": (("mig_mixed", 0.5), {"nvidia.com/mig-3g.20gb": "1"}),
    "MIG of a type nobody listed": (
        ("mig_mixed", 0.25, ClusterGpu(name="RTX-PRO-6000", labels=("x",), slices=(("1g.24gb", 0.25),))),
        {"nvidia.com/mig-1g.24gb": "1"},
    ),
    "HAMi": (
        ("hami", 0.07),
        {"nvidia.com/gpu": "1", "nvidia.com/gpumem-percentage": "7", "nvidia.com/gpucores": "7"},
    ),
    "KAI, whole": (("kai", 1, A100, {"queue": "q"}), {"nvidia.com/gpu": "1"}),
    "KAI, a fraction": (("kai", 0.35, A100, {"queue": "q"}), {}),
    "Volcano": (
        ("volcano", 0.33),
        {"volcano.sh/vgpu-number": "1", "volcano.sh/vgpu-memory": "13516", "volcano.sh/vgpu-cores": "33"},
    ),
    "Aliyun gpushare": (("aliyun_gpushare", 0.3), {"aliyun.com/gpu-mem": "12"}),
    "Aliyun cGPU": (
        ("aliyun_cgpu", 0.2, T4),
        {"aliyun.com/gpu-mem": "3", "aliyun.com/gpu-core.percentage": "20"},
    ),
    "DRA": (("dra", 1), {}),
}


@pytest.mark.parametrize("row", LIMITS)
def test_what_is_asked_for(row: str):
    arguments, limits = LIMITS[row]
    scheme, share, gpu, sharing = (*arguments, A100, {})[:4] if len(arguments) < 3 else (*arguments, {})[:4]
    assert dict(ask(scheme, share, gpu, **sharing).limits) == limits


def test_kai_says_which_container_gets_the_fraction():
    patch = ask("kai", 0.35, queue="research")
    assert dict(patch.annotations) == {"gpu-fraction": "0.35", "gpu-fraction-container-name": "server"}
    assert (patch.scheduler, dict(patch.labels)) == ("kai-scheduler", {"kai.scheduler/queue": "research"})


REFUSED: dict[str, tuple[Any, str]] = {
    "half of a whole": (("whole", 0.5, A100, {}), "whole cards only"),
    "half of a device": (("dra", 0.5, A100, {}), "whole cards only"),
    "no number of replicas": (("time_slicing", 0.5, A100, {}), "into how many"),
    "another share than the nodes'": (("mps", 0.5, A100, {"replicas": 4}), "a share is 0.250"),
    "the whole of a divided card": (("time_slicing", 1, A100, {"replicas": 4}), "a share is 0.250"),
    "no MIG share": (("mig_mixed", 0.375, A100, {}), "MIG cannot cut 0.375"),
    "a card without MIG": (("mig_single", 0.5, T4, {}), "no MIG profiles are known for T4"),
    "part of a per cent": (("hami", 0.125, A100, {}), "whole per cent"),
    "KAI without a queue": (("kai", 0.5, A100, {}), "needs a queue"),
    "part of a GiB": (("aliyun_gpushare", 0.33, A100, {}), "13.2 is none"),
    "memory not known": (("volcano", 0.5, ClusterGpu(name="L4", labels=("x",)), {}), "that of L4 is not stated"),
    "nothing": (("hami", 0.0, A100, {}), "no share of a GPU"),
    "more than one": (("hami", 1.5, A100, {}), "no share of a GPU"),
}


@pytest.mark.parametrize("row", REFUSED)
def test_what_a_scheme_cannot_express_is_refused(row: str):
    (scheme, share, gpu, sharing), message = REFUSED[row]
    with pytest.raises(UsageError, match=message) as caught:
        ask(scheme, share, gpu, **sharing)
    assert caught.value.hint


def test_which_schemes_hold_a_server_to_its_memory():
    lax = {name for name, scheme in SHARE_SCHEMES.items() if not scheme.enforced}
    assert lax == {"time_slicing", "kai", "aliyun_gpushare"}


def labels(options: Any, gpu: ClusterGpu, share: float) -> dict[str, Any]:
    patch = ask_for_share(ShareAsk(gpu=gpu, share=exact(share), sharing=options.sharing, container="server"))
    return {label.key: label.values for label in gpu_nodes(options, gpu, patch).labels}


NODES: dict[str, tuple[dict[str, Any], float, dict[str, Any]]] = {
    "GPU feature discovery": ({}, 1, {"nvidia.com/gpu.product": A100.labels}),
    "its slices": (
        {"sharing": GpuSharing(scheme="mig_single")},
        0.125,
        {"nvidia.com/gpu.product": ("NVIDIA-A100-SXM4-40GB-MIG-1g.5gb",)},
    ),
    "its shared cards": (
        {"sharing": GpuSharing(scheme="mps", replicas=2)},
        0.5,
        {
            "nvidia.com/gpu.product": ("NVIDIA-A100-SXM4-40GB", "NVIDIA-A100-SXM4-40GB-SHARED"),
            "nvidia.com/gpu.sharing-strategy": ("mps",),
        },
    ),
    "GKE's shared cards": (
        {"gpu_labels": "gke", "sharing": GpuSharing(scheme="time_slicing", replicas=2)},
        0.5,
        {
            "cloud.google.com/gke-accelerator": A100.labels,
            "cloud.google.com/gke-gpu-sharing-strategy": ("time-sharing",),
            "cloud.google.com/gke-max-shared-clients-per-gpu": ("2",),
        },
    ),
    "EKS Auto Mode": ({"gpu_labels": "eks_auto"}, 1, {"eks.amazonaws.com/instance-gpu-name": A100.labels}),
    "AKS": (
        {"gpu_labels": "aks"},
        1,
        {"node.kubernetes.io/instance-type": A100.labels, "kubernetes.azure.com/accelerator": ("nvidia",)},
    ),
    "the user's own": ({"gpu_labels": "own", "gpu_label_key": "rack/gpu"}, 1, {"rack/gpu": A100.labels}),
    "claims pick the device themselves": ({"sharing": GpuSharing(scheme="dra")}, 1, {}),
}


@pytest.mark.parametrize("row", NODES)
def test_which_nodes_have_the_type(row: str):
    changes, share, expected = NODES[row]
    assert labels(cluster(**changes), A100, share) == expected


@pytest.mark.parametrize(
    ("changes", "gpu", "message"),
    [
        ({}, replace(A100, labels=()), "how nodes with a A100-40 are labelled"),
        ({"gpu_labels": "own"}, A100, "which label holds the GPU type"),
        ({"gpu_labels": "gke", "sharing": GpuSharing(scheme="mig_mixed")}, A100, "alike"),
        ({"gpu_labels": "karpenter", "sharing": GpuSharing(scheme="mig_single")}, A100, "which MIG slices"),
    ],
)
def test_nodes_that_no_label_tells_apart_are_refused(changes: Any, gpu: ClusterGpu, message: str):
    with pytest.raises(UsageError, match=message):
        labels(cluster(**changes), gpu, 1)


TERMS: dict[str, tuple[dict[str, Any], str, dict[str, Any]]] = {
    "spot at Karpenter": ({"gpu_labels": "karpenter"}, "spot", {"karpenter.sh/capacity-type": ("spot",)}),
    "on demand at Karpenter": (
        {"gpu_labels": "karpenter"},
        "on_demand",
        {"karpenter.sh/capacity-type": ("on-demand",)},
    ),
    "spot at GKE": ({"gpu_labels": "gke"}, "spot", {"cloud.google.com/gke-spot": ("true",)}),
    "on demand at GKE": ({"gpu_labels": "gke"}, "on_demand", {"cloud.google.com/gke-spot": ()}),
    "spot at AKS": ({"gpu_labels": "aks"}, "spot", {"kubernetes.azure.com/scalesetpriority": ("spot",)}),
    "one's own machines": ({}, "owned", {}),
    "one's own label": ({"capacity_labels": (("spot", (("pool", "cheap"),)),)}, "spot", {"pool": ("cheap",)}),
}


@pytest.mark.parametrize("row", TERMS)
def test_nodes_are_those_whose_price_is_paid(row: str):
    changes, term, expected = TERMS[row]
    found = term_nodes(cluster(**changes), term)  # type: ignore[arg-type]
    assert {label.key: label.values for label in found.labels} == expected


def test_spot_nodes_that_nobody_can_name_are_refused():
    with pytest.raises(UsageError, match="which nodes are spot"):
        term_nodes(cluster(), "spot")


def test_a_type_the_cluster_section_does_not_list_is_refused():
    with pytest.raises(UsageError, match="nothing of the GPU type L4") as caught:
        gpu_patch(cluster(), served({"gpu_type": "L4"}))
    assert "A100-40, T4" in caught.value.hint


def test_cpu_only_trials_ask_for_no_card():
    assert gpu_patch(cluster(), served()) is None
    assert placement(cluster(), served(), None).labels == ()


def a_space(**knobs: tuple[Any, ...]) -> SearchSpace:
    return SearchSpace(knobs=tuple(Knob(name, values) for name, values in knobs.items()))


def test_a_space_is_refused_for_one_share_in_it():
    options = cluster(sharing=GpuSharing(scheme="mig_mixed"))
    good = a_space(cpu_cores=(1, 2), gpu_type=("A100-40",), gpu_memory_share=(0.25, 0.5), max_batch_size=(1, 2, 4))
    refuse_impossible(options, good, Footprint(), "on_demand")
    bad = a_space(cpu_cores=(1, 2), gpu_type=("A100-40",), gpu_memory_share=(0.25, 0.375))
    with pytest.raises(UsageError, match=r"MIG cannot cut 0\.375"):
        refuse_impossible(options, bad, Footprint(), "on_demand")


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"preprocess": ("split",)}, "cannot set preprocess"),
        ({"cpu_cores": (0.0005,)}, "whole number of thousandths"),
        ({"cpu_cores": (1,), "variant": ("fp16",)}, "variant changes nothing"),
        ({"cpu_cores": (1,), "memory_gib": (0.5,)}, "leaves nothing beside"),
    ],
)
def test_what_a_cluster_cannot_be_asked_for_is_refused(knobs: Any, message: str):
    with pytest.raises(UsageError, match=message):
        refuse_impossible(cluster(), a_space(**knobs), Footprint(), "on_demand")


@pytest.mark.parametrize(
    ("cores", "text"), [(1, "1"), (0.1, "100m"), (0.3, "300m"), (1.5, "1500m"), (2.0, "2"), (0.001, "1m"), (64, "64")]
)
def test_cores_are_exact(cores: float, text: str):
    assert cpu_quantity(cores) == text


@pytest.mark.parametrize(
    ("memory_gib", "text"), [(4, "4Gi"), (1.5, "1536Mi"), (0.0009765625, "1Mi"), (0.1, "107374182"), (0.7, "751619277")]
)
def test_memory_is_exact_to_the_byte(memory_gib: float, text: str):
    assert memory_quantity(memory_gib) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [("250m", 0.25), ("1Ki", 1024), ("1.5Gi", 1.5 * 2**30), ("2e3", 2000), ("12E", 12e18), ("100", 100)],
)
def test_quantities_are_read(text: str, value: float):
    assert parse_quantity(text) == value


@pytest.mark.parametrize("text", ["", "x", "1ki", "1 Gi", "1mi", "--1", "1e", "9" * 99])
def test_what_is_no_quantity_is_none(text: str):
    assert parse_quantity(text) is None
