"""`servetune export` and `servetune diff`: registered by `tuner.cli`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from tuner.cli_options import DEFAULT_STORAGE, JsonOption, StorageOption
from tuner.cli_output import say, stderr


class FormatChoice(StrEnum):
    """What can be written."""

    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"
    KUSTOMIZE = "kustomize"
    MANIFESTS = "manifests"
    CONFIG_PBTXT = "config-pbtxt"
    HELM_VALUES = "helm-values"
    KSERVE = "kserve"
    SELDON = "seldon"
    KUBEDL = "kubedl"
    HPA = "hpa"
    KEDA = "keda"


SourceArgument = Annotated[str, typer.Argument(help="A study file, a study's name in the storage, or a lock file.")]
KindOption = Annotated[FormatChoice, typer.Option("--format", "-f", help="Which kind of file.")]
OutputOption = Annotated[Path | None, typer.Option("--output", "-o", help="The file to write; else stdout.")]
UnprovenOption = Annotated[bool, typer.Option("--unproven", help="Export an answer that is not proven, marked.")]
ClusterOption = Annotated[
    Path | None, typer.Option("--cluster", help="A study file whose runner.kubernetes says how the cluster is.")
]
NameOption = Annotated[str, typer.Option("--name", help="The Deployment's; default: the model's.")]
NamespaceOption = Annotated[str, typer.Option("--namespace", help="Without it, kubectl's own holds.")]
ImageOption = Annotated[str, typer.Option("--image", help="What serves, by digest.")]
ContainerOption = Annotated[str, typer.Option("--container", help="kustomize, kubedl: the one that serves.")]
RepositoryOption = Annotated[str, typer.Option("--repository", help="kserve, seldon: s3://, gs://, pvc://, ...")]
ModelFormatOption = Annotated[str, typer.Option("--model-format", help="kserve: onnx, tensorrt, ...")]
InferenceOption = Annotated[Path | None, typer.Option("--inference", help="kubedl: your own Inference.")]
PredictorOption = Annotated[str, typer.Option("--predictor", help="kubedl: the one that is tuned.")]
ConfigOption = Annotated[Path | None, typer.Option("--config", help="Your own config.pbtxt, to be merged into.")]
ValuesOption = Annotated[Path | None, typer.Option("--values", help="helm-values: your own values.yaml.")]
MapOption = Annotated[Path | None, typer.Option("--map", help="helm-values: YAML, knob: dotted.path.")]
PrometheusOption = Annotated[str, typer.Option("--prometheus", help="keda: http://HOST:PORT.")]
RateMetricOption = Annotated[str, typer.Option("--rate-metric", help="hpa, keda: what counts requests.")]
LeastOption = Annotated[int | None, typer.Option("--min-replicas", min=1, help="hpa, keda: at least.")]
MostOption = Annotated[int | None, typer.Option("--max-replicas", min=1, help="hpa, keda: at most.")]
DEFAULT_RATE_METRIC = "nv_inference_request_success"


def export(
    source: SourceArgument,
    kind: KindOption,
    output: OutputOption = None,
    storage: StorageOption = DEFAULT_STORAGE,
    unproven: UnprovenOption = False,
    cluster: ClusterOption = None,
    name: NameOption = "",
    namespace: NamespaceOption = "",
    image: ImageOption = "",
    container: ContainerOption = "",
    repository: RepositoryOption = "",
    model_format: ModelFormatOption = "",
    inference: InferenceOption = None,
    predictor: PredictorOption = "",
    config: ConfigOption = None,
    values: ValuesOption = None,
    value_paths: MapOption = None,
    prometheus: PrometheusOption = "",
    rate_metric: RateMetricOption = DEFAULT_RATE_METRIC,
    min_replicas: LeastOption = None,
    max_replicas: MostOption = None,
) -> None:
    """Write a study's proven spec as a file that a team deploys; exit 4, 5 or 8 as for tune where there is none.

    Never touches a cluster, and writes no secret. What was not measured or stated is noted on stderr, not invented.
    """
    from tuner.export_command import ExportOrder, OwnPaths, exported, written
    from tuner.manifests.exports.place import ExportPlace

    place = ExportPlace(
        name=name,
        namespace=namespace,
        image=image,
        container=container,
        repository=repository,
        model_format=model_format,
        prometheus=prometheus,
        rate_metric=rate_metric,
        least=min_replicas,
        most=max_replicas,
        predictor=predictor,
    )
    own = OwnPaths(cluster=cluster, config=config, values=values, value_paths=value_paths, inference=inference)
    order = ExportOrder(source, storage, kind.value, place, own, unproven=unproven, output=output)
    found = exported(order)
    say(written(order, found))
    for note in found.notes:
        stderr().print(Text(f"note: {note}"), soft_wrap=True)


def diff(
    before: SourceArgument, after: SourceArgument, storage: StorageOption = DEFAULT_STORAGE, json: JsonOption = False
) -> None:
    """Show what changes from one answer to another: knobs, capacity, and cost with the prices' part told apart."""
    from tuner.diff_command import diff_text

    say(diff_text(before, after, storage, json=json))
