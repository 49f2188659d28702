"""The `kubernetes` section of a study file's runner, as pydantic models: which keys exist, and what may stand there."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.types import StringConstraints

from tuner.domain.cluster import GpuLabelScheme, LoadFrom, Network, ShareSchemeName
from tuner.domain.cost import Term

DNS_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
DNS_NAME_PATTERN = r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$"
DIGEST_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._/:-]{0,254}@sha256:[0-9a-f]{64}$"
LABEL_KEY_PATTERN = r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"
LABEL_VALUE_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"
MIG_PATTERN = r"^[0-9]g\.[0-9]{1,3}gb$"

DnsLabel = Annotated[str, StringConstraints(pattern=DNS_PATTERN)]
DnsName = Annotated[str, StringConstraints(pattern=DNS_NAME_PATTERN)]
ImageByDigest = Annotated[str, StringConstraints(pattern=DIGEST_PATTERN)]
LabelKey = Annotated[str, StringConstraints(pattern=LABEL_KEY_PATTERN)]
LabelValue = Annotated[str, StringConstraints(pattern=LABEL_VALUE_PATTERN)]
# A device's product name, which a claim selects by, has spaces; a node's label has none.
GpuLabel = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,61}$")]
GpuName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
MigProfile = Annotated[str, StringConstraints(pattern=MIG_PATTERN)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
Command = Annotated[list[Text], Field(min_length=1, max_length=256)]
Labels = Annotated[dict[LabelKey, LabelValue], Field(max_length=32)]
PhaseSeconds = Annotated[float, Field(gt=0, le=86_400)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class BaseSection(_Part):
    """The user's own pod template, with the knobs patched into one of its containers."""

    file: Text = Field(description="A Deployment, Pod or PodTemplate as YAML, under the study file's folder.")
    container: DnsLabel | None = Field(default=None, description="The container that serves, where there are several.")
    repository: Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9._/-]{0,254}$")] | None = Field(
        default=None, description="Its folder with the model repository, where batching is tuned and `model` absent."
    )


class ClusterModelSection(_Part):
    """Where pods find the model's files: exactly one of `claim`, `image` and `url`. The folder is one version's."""

    claim: DnsName | None = Field(default=None, description="A PersistentVolumeClaim that holds the model.")
    image: ImageByDigest | None = Field(default=None, description="An image that holds it, or that fetches the url.")
    url: Text | None = Field(default=None, description="An object store's address, fetched by `image` and `command`.")
    path: Text | None = Field(default=None, description="Where in claim or image; {variant} stands for that knob.")
    way: Literal["volume", "copy"] | None = Field(
        default=None, description="image: mounted (Kubernetes 1.33), or copied out by an init container."
    )
    command: Command | None = Field(default=None, description="url: reads MODEL_URL, fills MODEL_FOLDER.")
    secret: DnsName | None = Field(default=None, description="url: a Secret whose keys become its environment.")


class EngineSection(_Part):
    """An engine is built on the GPU it will run on, once for equal content."""

    image: ImageByDigest
    command: Command = Field(description="Writes the file $(ENGINE_FILE); finds the model in $(MODEL_FOLDER).")
    cache_claim: DnsName = Field(description="A PersistentVolumeClaim that keeps engines.")
    file_name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")] = "model.plan"


class ClusterGpuSection(_Part):
    """What the cluster says of one GPU type."""

    labels: Annotated[list[GpuLabel], Field(min_length=1, max_length=32)] = Field(
        description="The values its nodes carry (for DRA: its product names)."
    )
    memory_mib: Annotated[int, Field(ge=1, le=10_000_000)] | None = Field(
        default=None, description="Of one whole card, as in the label nvidia.com/gpu.memory."
    )
    slices: Annotated[dict[MigProfile, Annotated[float, Field(gt=0, le=1)]], Field(max_length=32)] = Field(
        default={}, description="MIG profiles and the share of the memory each has, for types servetune does not list."
    )


class SharingSection(_Part):
    """How GPUs are shared out on this cluster."""

    scheme: ShareSchemeName = "whole"
    replicas: Annotated[int, Field(ge=2, le=128)] | None = Field(
        default=None, description="time_slicing, mps: into how many the nodes divide a GPU."
    )
    queue: LabelValue | None = Field(default=None, description="kai: the queue that trials wait in.")
    resource: LabelKey | None = Field(default=None, description="What the nodes advertise, if not nvidia.com/gpu.")
    neighbours: bool = Field(default=False, description="Trials that run at once may share a card.")


class DeadlinesSection(_Part):
    """Seconds for each phase of a trial, one after the other; loading has runner.ready_timeout_s."""

    schedule_s: PhaseSeconds = 300.0
    pull_s: PhaseSeconds = 900.0
    prepare_s: PhaseSeconds = 1800.0
    teardown_s: PhaseSeconds = 120.0


class LoadPodsSection(_Part):
    """The pods that send the load."""

    image: ImageByDigest = Field(description="servetune's own image.")
    workers: Annotated[int, Field(ge=1, le=1000)] = 1
    cpu_cores: Annotated[float, Field(gt=0, le=1024)] = 1.0
    memory_gib: Annotated[float, Field(gt=0, le=65_536)] = 1.0
    service_account: DnsName | None = None
    node_labels: Labels = {}
    sent_from: LoadFrom = Field(
        default="pods",
        description="controller, port_forward: from servetune's own process, straight or by the API server; a doubt.",
    )


class KubernetesSection(_Part):
    """The cluster runner's settings."""

    namespace: DnsLabel
    load: LoadPodsSection
    image: ImageByDigest | None = Field(default=None, description="The server's image, where there is no base.")
    base: BaseSection | None = None
    model: ClusterModelSection | None = None
    engine: EngineSection | None = None
    network: Network = Field(default="pod", description="host: for clusters without pod networking.")
    host_address: Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F.:]{2,45}$")] = "127.0.0.1"
    run_as_user: Annotated[int, Field(ge=1, le=2_147_483_647)] = 1000
    shared_memory_mib: Annotated[int, Field(ge=1, le=1_000_000)] = 1024
    gpu_labels: GpuLabelScheme = "gfd"
    gpu_label_key: LabelKey | None = Field(default=None, description="own: the label that holds the GPU type.")
    gpus: Annotated[dict[GpuName, ClusterGpuSection], Field(max_length=64)] = {}
    sharing: SharingSection = SharingSection()
    capacity_labels: dict[Term, Labels] = Field(
        default={}, description="Your own labels of spot, on-demand, reserved and owned nodes."
    )
    pull_secrets: Annotated[list[DnsName], Field(max_length=16)] = Field(
        default=[], description="Secrets with which images are pulled."
    )
    service_account: DnsName | None = Field(
        default=None, description="The server's, where a workload identity fetches the model; no token is mounted."
    )
    autoscaled: bool = Field(default=False, description="New nodes may come: wait where none fits.")
    deadlines: DeadlinesSection = DeadlinesSection()
