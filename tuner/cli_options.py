"""The command line's options, one name each, for the commands of `tuner.cli`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tuner.load_help import ARRIVALS_HELP, PAYLOAD_HELP, SLO_HELP, TRACE_HELP

StudyArgument = Annotated[str, typer.Argument(help="A study file, or the name of a study in the storage.")]
StorageOption = Annotated[
    str,
    typer.Option(
        "--storage", envvar="SERVETUNE_STORAGE", help="Where studies are kept: sqlite:///FILE, postgresql://..."
    ),
]
LeaseOption = Annotated[
    str,
    typer.Option("--lease", envvar="SERVETUNE_LEASE", help="How long a study stays its coordinator's if that dies."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress; the answer is always printed.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="A line for every phase of every trial.")]
DEFAULT_STORAGE = "sqlite:///servetune.db"


class ProtocolChoice(StrEnum):
    """What a server may speak."""

    KSERVE = "kserve_http"
    KSERVE_GRPC = "kserve_grpc"
    TENSORFLOW = "tensorflow_rest"
    HTTP = "http"


class RunnerChoice(StrEnum):
    """Runners that need something of where they run, and can leave something behind."""

    LOCAL = "local"
    KUBERNETES = "kubernetes"


class TermChoice(StrEnum):
    """Terms that public price lists have."""

    ON_DEMAND = "on_demand"
    SPOT = "spot"


class SchemaChoice(StrEnum):
    """Files with a JSON Schema."""

    STUDY = "study"
    LOCK = "lock"
    GATE = "gate"


TargetOption = Annotated[
    str, typer.Option("--target", help="http://HOST:PORT of a running server; grpc://HOST:PORT for kserve_grpc.")
]
ModelOption = Annotated[str, typer.Option("--model", help="The model's name there; for plain HTTP not needed.")]
RateOption = Annotated[float | None, typer.Option("--rate", help="Requests per second. With --trace: its own.")]
DurationOption = Annotated[str, typer.Option("--duration", help="How long to measure: 20s, 2m.")]
WarmupOption = Annotated[str, typer.Option("--warmup", help="Load before that, not measured.")]
TimeoutOption = Annotated[
    str | None, typer.Option("--timeout", help="When an answer no longer counts; default 1s or 5 x the widest limit.")
]
ArrivalsOption = Annotated[str, typer.Option("--arrivals", help=ARRIVALS_HELP)]
TraceOption = Annotated[Path | None, typer.Option("--trace", help=TRACE_HELP)]
SloOption = Annotated[list[str] | None, typer.Option("--slo", help=SLO_HELP)]
PayloadOption = Annotated[
    list[str] | None,
    typer.Option("--payload", help=PAYLOAD_HELP),
]
ShapeOption = Annotated[str, typer.Option("--shape", help="Sizes for free dimensions, without the batch: 3,224,224.")]
ProtocolOption = Annotated[
    ProtocolChoice, typer.Option("--protocol", help="What the server speaks: KServe v2, TensorFlow Serving, any POST.")
]
AllowOption = Annotated[
    list[str] | None, typer.Option("--allow-target", help="HOST:PORT you may put load on; this machine always is.")
]
CapacityOption = Annotated[
    bool, typer.Option("--find-capacity", help="Search the highest load at which every SLO holds, from --rate on.")
]
MetricsOption = Annotated[
    str, typer.Option("--metrics-url", help="http://HOST:PORT/metrics of the same server, for what only they tell.")
]
WorkersOption = Annotated[int, typer.Option("--workers", min=1, max=64, help="Load processes on this machine.")]
ExpectOption = Annotated[
    int | None,
    typer.Option(
        "--expect-workers", min=1, max=1000, help="So many `servetune load-worker` of other machines instead."
    ),
]
BindOption = Annotated[
    str | None, typer.Option("--bind", help="HOST:PORT where they are awaited; default 127.0.0.1:5557.")
]
RunnerOption = Annotated[RunnerChoice, typer.Option("--runner", help="Which runner's.")]
CheckedStudyArgument = Annotated[
    Path | None, typer.Argument(help="A study file: what it needs of its runner is looked for as well.")
]
CheckedRunnerOption = Annotated[RunnerChoice | None, typer.Option("--runner", help="Default: the study's, else local.")]
PullImageOption = Annotated[
    bool, typer.Option("--pull-image", help="kubernetes: make a short-lived pod that pulls the study's images.")
]
NamespaceOption = Annotated[str, typer.Option("--namespace", help="kubernetes: where the studies run.")]
KubeconfigOption = Annotated[
    Path | None,
    typer.Option("--kubeconfig", envvar="KUBECONFIG", help="kubernetes: without it, the cluster we run in."),
]
ContextOption = Annotated[str, typer.Option("--context", help="kubernetes: instead of the file's current one.")]
MaxWaitOption = Annotated[str, typer.Option("--max-wait", help="How long to wait for the other side: 60s, 5m.")]
FromClusterOption = Annotated[
    str,
    typer.Option("--from-cluster", help="deploy/NAME: a study of a Deployment that is there; only read."),
]
OutputOption = Annotated[Path | None, typer.Option("--output", "-o", help="The same as PATH.")]
ContainerOption = Annotated[str, typer.Option("--container", help="Of the Deployment: the one that serves.")]
ServedModelOption = Annotated[str, typer.Option("--model", help="The served model's name, where nothing there tells.")]
LoadImageOption = Annotated[str, typer.Option("--load-image", help="servetune's own image, by digest.")]
GpuLabelOption = Annotated[
    str, typer.Option("--gpu-label", help="The GPU's nvidia.com/gpu.product, where no node may be read.")
]
NotSecretOption = Annotated[
    list[str] | None, typer.Option("--not-secret", help="An env or flag that looks like a secret and is none.")
]
ManifestsOption = Annotated[
    str, typer.Option("--manifests", help="kubernetes: instead, what one trial deploys, into a folder or - (stdout).")
]
ControllerOption = Annotated[
    str,
    typer.Option("--controller", help="With --manifests: a Job of this image (servetune's own) that tunes in there."),
]
StorageSecretOption = Annotated[
    str, typer.Option("--storage-secret", help="With --controller: a Secret; its key `url` is the storage's address.")
]
StorageClaimOption = Annotated[
    str, typer.Option("--storage-claim", help="With --controller: a volume claim for an SQLite file, made with it.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="KNOB=VALUE of that trial; else the cheapest that can be deployed.")
]
