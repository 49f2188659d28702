"""What `servetune export` does: a study's answer, checked, and written as one kind of file."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from tuner.answer import EXIT_CODES
from tuner.commands import conclusion_now, find_study, write_text
from tuner.domain.cluster import ClusterOptions
from tuner.domain.deployable import Deployable, deployable
from tuner.domain.errors import LockUnusable, SpecError, TunerError, UsageError
from tuner.domain.recommendation import Proven, Unproven
from tuner.domain.spec import StudySpec
from tuner.domain.trial import Trial
from tuner.lock_file import read_lock
from tuner.locked_answer import LOCK_SUFFIX, deployable_of_lock
from tuner.manifests.exports.place import Exported, ExportPlace
from tuner.manifests.plain import PlainObject
from tuner.spec_file import load_spec
from tuner.yaml_text import parse_yaml, plain, read_text


class NothingToExport(TunerError):
    """There is no answer to deploy, or it is not proven; the exit code is the one of `tune`."""

    def __init__(self, message: str, hint: str, exit_code: int) -> None:
        super().__init__(message, hint)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnPaths:
    """The user's files; None where they are not named. `cluster` is a study file with a runner.kubernetes section."""

    cluster: Path | None = None
    config: Path | None = None
    values: Path | None = None
    value_paths: Path | None = None
    inference: Path | None = None


@dataclass(frozen=True, slots=True)
class ExportOrder:
    """The command line of an export."""

    source: str
    storage: str
    kind: str
    place: ExportPlace
    own: OwnPaths
    _: KW_ONLY
    unproven: bool
    output: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """An answer, and the study behind it with its trials; a lock file has None and none."""

    of: Deployable
    spec: StudySpec | None
    trials: tuple[Trial, ...]


def exported(order: ExportOrder) -> Exported:
    """The file's content. Raises NothingToExport, UsageError, SpecError."""
    from tuner.assemble_export import ExportRequest, OwnFiles, Recorded, export

    own = order.own
    source = source_of(order.source, order.storage)
    of = proven_or_allowed(source.of, unproven=order.unproven)
    if own.cluster is not None:
        of = replace(of, cluster=_cluster_of(own.cluster))
    files = OwnFiles(
        config_pbtxt=_config_text(own.config, source.spec),
        values_name=str(own.values or ""),
        values=_text(own.values) if own.values else "",
        paths=_mapping(own.value_paths) if own.value_paths else {},
        inference=_mapping(own.inference) if own.inference else {},
    )
    recorded = None if source.spec is None else Recorded(spec=source.spec, trials=source.trials)
    return export(order.kind, ExportRequest(of=of, place=order.place, recorded=recorded, own=files))


def source_of(name: str, storage: str) -> Source:
    """A study by file or name, or a lock file (NAME.json).

    Raises NothingToExport where a study has no answer, LockUnusable, UsageError, SpecError.
    """
    if name.endswith(LOCK_SUFFIX):
        return Source(of=_locked(Path(name)), spec=None, trials=())
    spec, history = find_study(name, storage)
    return Source(of=answer_of(spec, history), spec=spec, trials=tuple(history))


def answer_of(spec: StudySpec, history: tuple[Trial, ...]) -> Deployable:
    """The answer of a study as it stands. Raises NothingToExport where it has none."""
    conclusion = conclusion_now(spec, history)
    if isinstance(conclusion, Proven | Unproven):
        return deployable(spec, history, conclusion)
    raise NothingToExport(
        f"study {spec.name} has no spec to deploy: {conclusion.reason}",
        "`servetune recommend` shows how near it came",
        EXIT_CODES[type(conclusion)],
    )


def proven_or_allowed(of: Deployable, *, unproven: bool) -> Deployable:
    """The same. Raises NothingToExport for one that is not proven, unless that is wanted."""
    if of.unproven and not unproven:
        raise NothingToExport(
            f"study {of.study} is not proven: {of.unproven}",
            "tune on, or export it as it is with --unproven",
            EXIT_CODES[Unproven],
        )
    return of


def written(order: ExportOrder, found: Exported) -> str:
    """What goes to stdout: the file, or where it was written. Raises UsageError."""
    if order.output is not None:
        return write_text(order.output, found.content)
    if isinstance(found.content, bytes):
        raise UsageError(f"{order.kind} is not text", hint="add --output FILE")
    return found.content.removesuffix("\n")


def _cluster_of(path: Path) -> ClusterOptions:
    options = load_spec(path).runner.kubernetes
    if options is None:
        raise UsageError(f"{path} has no runner.kubernetes section", hint="name a study file of the runner kubernetes")
    return options


def _locked(path: Path) -> Deployable:
    try:
        return deployable_of_lock(read_lock(path, today=datetime.now(UTC).date()))
    except ValueError as error:
        raise LockUnusable(f"{path} cannot be exported: {error}") from error


def _config_text(named: Path | None, spec: StudySpec | None) -> str:
    """The model's own config.pbtxt: the file named, else the one of the study's model repository, where it is here."""
    own = Path(spec.model.repository) / spec.model.name / "config.pbtxt" if spec and spec.model.repository else None
    path = named or (own if own is not None and own.is_file() else None)
    return "" if path is None else _text(path)


def _text(path: Path) -> str:
    try:
        return read_text(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8", hint="save the file as UTF-8") from error


def _mapping(path: Path) -> PlainObject:
    document = parse_yaml(read_text(path), str(path))
    if document.problems:
        raise SpecError(document.problems)
    found = plain(document.root) if document.root is not None else None
    if not isinstance(found, dict):
        raise UsageError(f"{path} holds no mapping")
    return found
