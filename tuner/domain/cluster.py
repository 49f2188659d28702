"""What a study asks of a Kubernetes cluster, as frozen values; `tuner.spec_cluster` reads them from a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Network = Literal["pod", "host"]
GpuLabelScheme = Literal["gfd", "gke", "karpenter", "eks_auto", "aks", "own"]
ShareSchemeName = Literal[
    "whole",
    "time_slicing",
    "mps",
    "mig_single",
    "mig_mixed",
    "hami",
    "kai",
    "volcano",
    "aliyun_gpushare",
    "aliyun_cgpu",
    "dra",
    "dra_mig",
    "dra_mps",
]
LoadFrom = Literal["pods", "controller", "port_forward"]
Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelClaim:
    """The model's files in a PersistentVolumeClaim. `path` is the folder that holds one version of the model.

    `{variant}` in the path stands for the knob of that name.
    """

    claim: str
    path: str
    kind: Literal["claim"] = "claim"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelImage:
    """The model's files in an image. `volume` mounts it (Kubernetes 1.33 and later), `copy` has an init container
    copy `path` out of it, as KubeDL does with a ModelVersion: the image then needs a shell.
    """

    image: str
    path: str
    way: Literal["volume", "copy"]
    kind: Literal["image"] = "image"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelBucket:
    """The model's files in an object store, fetched by an init container of the user's image and command.

    The command finds the address in MODEL_URL and the folder to fill in MODEL_FOLDER. `secret` names a Secret of the
    namespace whose keys become its environment; empty: none.
    """

    url: str
    image: str
    command: tuple[str, ...]
    secret: str = ""
    kind: Literal["bucket"] = "bucket"


ModelSource = ModelClaim | ModelImage | ModelBucket


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineBuild:
    """An engine built on the target GPU before the server starts, kept in a claim under a name made of its content.

    The command writes the file named by ENGINE_FILE, and finds the model's files in MODEL_FOLDER.
    """

    image: str
    command: tuple[str, ...]
    cache_claim: str
    file_name: str = "model.plan"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterGpu:
    """What the cluster's nodes say of one GPU type of the study.

    `labels` are the values its nodes carry under the scheme's label; `memory_mib` is the memory of one whole card (GPU
    feature discovery: nvidia.com/gpu.memory); `slices` are MIG profiles and the share of the memory each has, for types
    that servetune does not list.
    """

    name: str
    labels: tuple[str, ...]
    memory_mib: int | None = None
    slices: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSharing:
    """How GPUs are shared out on this cluster.

    `replicas`: into how many the nodes' device plugin divides a GPU; `queue`: KAI's; `resource`: what the nodes
    advertise where that is not nvidia.com/gpu. `neighbours`: trials that run at once may share a card.
    """

    scheme: ShareSchemeName = "whole"
    replicas: int | None = None
    queue: str = ""
    resource: str = ""
    neighbours: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseDeadlines:
    """Seconds from the begin of each phase after which it has failed. They come on top of one another."""

    schedule_s: float = 300.0
    pull_s: float = 900.0
    prepare_s: float = 1800.0
    load_s: float = 300.0
    teardown_s: float = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BasePod:
    """The user's own pod template, as JSON text, and the container in it that serves.

    `repository` is where that container has its Triton model repository; empty: it is not stated.
    """

    template_json: str
    container: str
    repository: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPods:
    """The pods that send the load: the project's own image, so many workers of so much each.

    `sent_from` the controller there are none of them, and every measurement says so: straight to the server's address,
    or through a port-forward, where no network joins the controller with the pods.
    """

    image: str
    workers: int = 1
    cpu_cores: float = 1.0
    memory_gib: float = 1.0
    service_account: str = ""
    node_labels: Pairs = ()
    sent_from: LoadFrom = "pods"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterOptions:
    """Everything the cluster runner is told. `base` or `image`, not both; `autoscaled`: new nodes may come.

    `host_address` is what a server on the host's network listens on. `capacity_labels` are the user's own labels for
    spot and on-demand nodes, by price term. `service_account` is the server's, as a store of models may ask for one;
    its token is not mounted.
    """

    namespace: str
    load: LoadPods
    image: str = ""
    base: BasePod | None = None
    model: ModelSource | None = None
    engine: EngineBuild | None = None
    network: Network = "pod"
    host_address: str = "127.0.0.1"
    run_as_user: int = 1000
    shared_memory_mib: int = 1024
    gpu_labels: GpuLabelScheme = "gfd"
    gpu_label_key: str = ""
    gpus: tuple[ClusterGpu, ...] = ()
    sharing: GpuSharing = GpuSharing()
    capacity_labels: tuple[tuple[str, Pairs], ...] = ()
    pull_secrets: tuple[str, ...] = ()
    service_account: str = ""
    autoscaled: bool = False
    deadlines: PhaseDeadlines = PhaseDeadlines()

    def gpu(self, name: str) -> ClusterGpu | None:
        """What the cluster says of a GPU type; None where the study does not list it."""
        return next((gpu for gpu in self.gpus if gpu.name == name), None)
