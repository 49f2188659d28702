"""The command `servetune init`: its options, and one call."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tuner.cli_options import (
    ContainerOption,
    ContextOption,
    FromClusterOption,
    GpuLabelOption,
    KubeconfigOption,
    LoadImageOption,
    NamespaceOption,
    NotSecretOption,
    OutputOption,
    ServedModelOption,
)
from tuner.cli_output import say


def init(
    path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("study.yaml"),
    output: OutputOption = None,
    from_cluster: FromClusterOption = "",
    namespace: NamespaceOption = "",
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = "",
    container: ContainerOption = "",
    model: ServedModelOption = "",
    load_image: LoadImageOption = "",
    gpu_label: GpuLabelOption = "",
    not_secret: NotSecretOption = None,
) -> None:
    """Write a commented study file to start from: a plain one, or one for a Deployment that is already there."""
    from tuner.init_command import ClusterStart, init_from_cluster, write_template
    from tuner.place import ClusterAccess, Place

    if not from_cluster:
        say(write_template(output or path))
        return
    access = ClusterAccess(kubeconfig=kubeconfig, context=context)
    start = ClusterStart(
        deployment=from_cluster,
        place=Place(runner="kubernetes", namespace=namespace, access=access),
        container=container,
        model=model,
        load_image=load_image,
        gpu_label=gpu_label,
        not_secret=tuple(not_secret or ()),
    )
    say(init_from_cluster(output or path, start))
