"""What `doctor` looks at, and how it tells."""

from __future__ import annotations

from pathlib import Path

from tuner.assemble_cluster import Finding
from tuner.domain.errors import UsageError
from tuner.place import ClusterAccess, Place

MARKS = {True: "ok", False: "missing", None: "not checked"}


def finding_line(finding: Finding) -> str:
    """One line of `doctor`, and what the reader can do about it in another."""
    mark = "note" if finding.ok is False and not finding.needed else MARKS[finding.ok]
    remedy = f"\n{'':13s}-> {finding.remedy}" if finding.remedy else ""
    return f"{mark:13s}{finding.what}: {finding.detail}{remedy}"


def place_to_check(
    study: Path | None, *, runner: str, namespace: str, access: ClusterAccess, pull_image: bool
) -> Place:
    """Where `doctor` looks. Raises SpecError, UsageError where study and options do not go together."""
    from tuner.spec_file import load_spec

    spec = load_spec(study) if study else None
    kind = runner or (spec.runner.kind if spec else "local")
    if spec is not None and kind != spec.runner.kind:
        raise UsageError(f"the study's runner is {spec.runner.kind}", hint=f"leave --runner {runner} out")
    cluster = spec.runner.kubernetes if spec else None
    if cluster is not None and namespace not in {"", cluster.namespace}:
        raise UsageError(f"the study runs in namespace {cluster.namespace}", hint="leave --namespace out")
    if pull_image and cluster is None:
        raise UsageError("--pull-image pulls the images of a study in a cluster", hint="name its file")
    place = cluster.namespace if cluster else namespace
    return Place(runner=kind, namespace=place, access=access, study=spec, pull_image=pull_image)
