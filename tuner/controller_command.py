"""`servetune plan --manifests - --controller IMAGE`: all that a study needs to run inside its cluster."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tuner.assemble_cluster import cluster_options
from tuner.domain.errors import UsageError
from tuner.domain.spec import StudySpec
from tuner.manifests.cluster.access import access_objects
from tuner.manifests.cluster.controller import (
    STUDY_KEY,
    HostedController,
    StorageClaim,
    StorageSecret,
    controller_objects,
)
from tuner.manifests.plain import Plain, PlainObject, value_at
from tuner.yaml_text import parse_yaml, plain, read_text

_NAMED_FILES = (("runner", "kubernetes", "base", "file"), ("prices", "book"), ("load", "arrivals", "trace"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerRequest:
    """servetune's own image, and where the history is kept: a Secret's name or a claim's, not both."""

    image: str
    storage_secret: str = ""
    storage_claim: str = ""

    @property
    def storage(self) -> StorageSecret | StorageClaim:
        """Raises UsageError."""
        if bool(self.storage_secret) == bool(self.storage_claim):
            raise UsageError(
                "where the controller keeps the study's history has to be said, once",
                hint="--storage-secret NAME (its key `url` is a PostgreSQL address) or --storage-claim NAME (SQLite)",
            )
        return StorageSecret(name=self.storage_secret) if self.storage_secret else StorageClaim(name=self.storage_claim)


def hosted_objects(spec: StudySpec, study: str, request: ControllerRequest) -> tuple[PlainObject, ...]:
    """Account, Role, binding, the study's files, and the Job. `study` is the study file's path. Raises UsageError."""
    options = cluster_options(spec)
    if "@sha256:" not in request.image:
        raise UsageError(f"--controller {request.image} is no image by digest", hint="NAME@sha256:...")
    controller = HostedController(
        study=spec.name, image=request.image, files=study_files(Path(study), spec), storage=request.storage
    )
    return (*access_objects(options), *controller_objects(options, controller))


def study_files(path: Path, spec: StudySpec) -> tuple[tuple[str, str], ...]:
    """The study file and the files it names, which lie beside it, by name. Raises UsageError for others."""
    if not path.is_file():
        raise UsageError(f"{path} is no study file", hint="the controller gets the file, so name it, not the study")
    if spec.model.path or spec.model.repository:
        raise UsageError(
            "the study names the model's files, and a ConfigMap is no place for them",
            hint="delete model.path and model.repository, and the knobs of config.pbtxt, or tune from outside",
        )
    document = parse_yaml(read_text(path), str(path))
    root = None if document.root is None else plain(document.root)
    return ((STUDY_KEY, _text(path)), *((name, _text(path.with_name(name))) for name in _named(root)))


def _named(root: Plain) -> Iterator[str]:
    found = [value_at(root, *place) for place in _NAMED_FILES]
    for name in dict.fromkeys(one for one in found if isinstance(one, str)):
        if "/" in name:
            raise UsageError(f"{name} is in another folder than the study file", hint="copy it beside the study file")
        yield name


def _text(path: Path) -> str:
    try:
        return read_text(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no text, and cannot go into a ConfigMap") from error
