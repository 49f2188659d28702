"""Which nodes a pod may run on: GPU type and price term as labels, and the taints that come with them.

The labels' names are the providers' own; their values differ from board to board, so the study states them.
"""

from __future__ import annotations

from dataclasses import dataclass

from tuner.domain.cluster import ClusterGpu, ClusterOptions, GpuLabelScheme
from tuner.domain.cost import Term
from tuner.domain.errors import UsageError
from tuner.manifests.cluster.gpu_sharing import GpuPatch
from tuner.manifests.plain import Plain, PlainObject, objects_at

GPU_TYPE_LABELS: dict[GpuLabelScheme, str] = {
    "gfd": "nvidia.com/gpu.product",
    "gke": "cloud.google.com/gke-accelerator",
    "karpenter": "karpenter.k8s.aws/instance-gpu-name",
    "eks_auto": "eks.amazonaws.com/instance-gpu-name",
    # AKS labels the vendor only; the size of the machine says the type.
    "aks": "node.kubernetes.io/instance-type",
}
GPU_TAINT = "nvidia.com/gpu"
KARPENTER_CAPACITY = "karpenter.sh/capacity-type"
GKE_SPOT = "cloud.google.com/gke-spot"
AKS_SPOT = "kubernetes.azure.com/scalesetpriority"


@dataclass(frozen=True, slots=True)
class NodeLabel:
    """A label that nodes must carry with one of the values; without any values, one that they must not carry."""

    key: str
    values: tuple[str, ...] = ()

    @property
    def expression(self) -> dict[str, Plain]:
        """As a match expression of a node selector term."""
        if not self.values:
            return {"key": self.key, "operator": "DoesNotExist"}
        return {"key": self.key, "operator": "In", "values": list(self.values)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    labels: tuple[NodeLabel, ...] = ()
    tolerations: tuple[PlainObject, ...] = ()

    def __add__(self, other: Placement) -> Placement:
        return Placement(labels=self.labels + other.labels, tolerations=self.tolerations + other.tolerations)


def gpu_nodes(options: ClusterOptions, gpu: ClusterGpu, patch: GpuPatch) -> Placement:
    """Nodes with this type, divided as the scheme asks. Raises UsageError where no label can say so."""
    tolerations = ({"key": GPU_TAINT, "operator": "Exists", "effect": "NoSchedule"},)
    if patch.by_device:
        return Placement(tolerations=tolerations)
    if not gpu.labels:
        raise UsageError(f"nothing says how nodes with a {gpu.name} are labelled", hint=f"write gpus.{gpu.name}.labels")
    scheme = options.gpu_labels
    if scheme == "own" and not options.gpu_label_key:
        raise UsageError("nothing says which label holds the GPU type", hint="write gpu_label_key")
    key = options.gpu_label_key or GPU_TYPE_LABELS[scheme]
    labels = (NodeLabel(key, _values(options, gpu, patch)), *_division(options, patch))
    if scheme == "aks":
        labels = (*labels, NodeLabel("kubernetes.azure.com/accelerator", ("nvidia",)))
    return Placement(labels=labels, tolerations=tolerations)


def _values(options: ClusterOptions, gpu: ClusterGpu, patch: GpuPatch) -> tuple[str, ...]:
    """GPU feature discovery changes its product label where cards are divided."""
    if options.gpu_labels != "gfd":
        return gpu.labels
    if patch.mig_profile:
        return tuple(f"{label}-MIG-{patch.mig_profile}" for label in gpu.labels)
    if options.sharing.scheme in {"time_slicing", "mps"}:
        return (*gpu.labels, *(f"{label}-SHARED" for label in gpu.labels))
    return gpu.labels


def _division(options: ClusterOptions, patch: GpuPatch) -> tuple[NodeLabel, ...]:
    """How the nodes' cards are divided, where nodes say so."""
    scheme, labels = options.sharing.scheme, options.gpu_labels
    if scheme in {"mig_single", "mig_mixed"} and labels == "gke":
        if scheme == "mig_mixed":
            raise UsageError("GKE divides a node's cards alike", hint="write sharing.scheme: mig_single")
        return (NodeLabel("cloud.google.com/gke-gpu-partition-size", (patch.mig_profile,)),)
    if scheme == "mig_single" and labels != "gfd":
        raise UsageError(f"the label scheme '{labels}' does not say which MIG slices a node has", hint="use mig_mixed")
    if scheme in {"time_slicing", "mps"} and labels == "gfd":
        strategy = "time-slicing" if scheme == "time_slicing" else "mps"
        return (NodeLabel("nvidia.com/gpu.sharing-strategy", (strategy,)),)
    if scheme in {"time_slicing", "mps"} and labels == "gke":
        strategy = "time-sharing" if scheme == "time_slicing" else "mps"
        return (
            NodeLabel("cloud.google.com/gke-gpu-sharing-strategy", (strategy,)),
            NodeLabel("cloud.google.com/gke-max-shared-clients-per-gpu", (str(options.sharing.replicas),)),
        )
    return ()


def term_nodes(options: ClusterOptions, term: Term) -> Placement:
    """Nodes that are paid for under a price term. Raises UsageError where the study buys spot and no label says spot.

    Reserved and owned machines have no label of a provider's: the user's own, or none.
    """
    stated = dict(options.capacity_labels).get(term)
    if stated is not None:
        return Placement(labels=tuple(NodeLabel(key, (value,)) for key, value in stated))
    if options.gpu_labels in {"karpenter", "eks_auto"} and term in {"spot", "on_demand"}:
        return Placement(labels=(NodeLabel(KARPENTER_CAPACITY, (term.replace("_", "-"),)),))
    if options.gpu_labels in {"gke", "aks"} and term in {"spot", "on_demand"}:
        key, value = (GKE_SPOT, "true") if options.gpu_labels == "gke" else (AKS_SPOT, "spot")
        if term == "on_demand":
            return Placement(labels=(NodeLabel(key),))
        taint: PlainObject = {"key": key, "operator": "Equal", "value": value, "effect": "NoSchedule"}
        return Placement(labels=(NodeLabel(key, (value,)),), tolerations=(taint,))
    if term == "spot":
        raise UsageError("nothing says which nodes are spot machines", hint="write capacity_labels.spot: {KEY: VALUE}")
    return Placement()


def with_placement(pod_spec: PlainObject, placement: Placement) -> dict[str, Plain]:
    """The pod on these nodes only, and on those its own affinity allows: its terms are alternatives, so each gets all
    the expressions.
    """
    spec = dict(pod_spec)
    if placement.tolerations:
        own = list(objects_at(spec, "tolerations"))
        spec["tolerations"] = own + [one for one in placement.tolerations if one not in own]
    if not placement.labels:
        return spec
    added = [label.expression for label in placement.labels]
    required = ("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
    terms = objects_at(spec, *required) or ({},)
    narrowed = [{**term, "matchExpressions": [*objects_at(term, "matchExpressions"), *added]} for term in terms]
    return _set(spec, required, narrowed)


def _set(node: PlainObject, path: tuple[str, ...], value: Plain) -> dict[str, Plain]:
    below = node.get(path[0])
    inner = below if isinstance(below, dict) else {}
    return {**node, path[0]: value if len(path) == 1 else _set(inner, path[1:], value)}
