"""Reading a study file: text in, a frozen StudySpec out, or every problem at once, each with its line and column."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tuner.domain.arrival_kinds import KINDS, Arrivals, arrivals_from
from tuner.domain.cluster import ClusterOptions
from tuner.domain.cost import Footprint, PriceBook, Pricing
from tuner.domain.deployment import ModelRef
from tuner.domain.errors import Problem, SpecError, UsageError
from tuner.domain.load import Payload
from tuner.domain.space import Knob, KnobValue, SearchSpace
from tuner.domain.spec import Budget, ConfirmSpec, LoadSpec, RunnerSpec, SearchSpec, StudySpec
from tuner.fingerprint import fingerprint
from tuner.model_files import find_model
from tuner.prices import load_price_book
from tuner.spec_checks import check_prices, check_together
from tuner.spec_cluster import check_cluster, cluster_options, read_base
from tuner.spec_messages import findings_of
from tuner.spec_model import FootprintSection, KnobsSection, LoadSection, SearchSection, StudyDraft, StudyFile
from tuner.spec_problems import Finding, in_file_order
from tuner.spec_problems import Path as KeyPath
from tuner.traces import read_trace
from tuner.yaml_text import ListNode, MapNode, Node, Plain, ScalarNode, parse_yaml, plain, read_text


def load_spec(path: Path) -> StudySpec:
    """The study in a file, with its model found and its prices read; nothing is started and nothing is written.

    Raises SpecError with every problem in the study file and its price book, UsageError if the file is unreadable.
    """
    file = str(path)
    document = parse_yaml(read_text(path), file)
    if document.root is None:
        raise SpecError(in_file_order(document.problems))
    draft, findings = _read(document.root)
    model, wrong_model = _model(draft, path.parent)
    book, wrong_book, book_problems = _book(draft, path.parent)
    arrivals, wrong_trace = _arrivals(draft, path.parent)
    cluster, wrong_cluster = _cluster(draft, path.parent)
    findings += (*check_together(draft), *wrong_model, *wrong_book, *wrong_trace, *wrong_cluster)
    # What the reader could not make sense of is already listed: that it is missing as well is no news.
    taken = {(problem.line, problem.column) for problem in document.problems}
    located = [finding.located(document.root, file) for finding in findings]
    fresh = [problem for problem in located if (problem.line, problem.column) not in taken]
    problems = in_file_order([*document.problems, *fresh, *book_problems])
    if problems or model is None or book is None or not isinstance(draft, StudyFile):
        raise SpecError(problems)
    return _spec(draft, model, book, arrivals, cluster)


def _read(root: Node) -> tuple[StudyDraft, tuple[Finding, ...]]:
    """The whole file if every section is right by itself, else the sections that are, and what is wrong with others."""
    data = plain(root)
    if not isinstance(data, dict):
        return StudyDraft(), (Finding((), "a study file holds keys and values", "start with apiVersion: servetune/v1"),)
    errors: list[ErrorDetails] = []
    whole: StudyFile | None = None
    try:
        whole = StudyFile.model_validate(data)
    except ValidationError as error:
        errors = error.errors(include_url=False)
    empty = tuple(Finding(path, "no value", "write one, or delete the key") for path in _empty_values(root, ()))
    empty_paths = {finding.path for finding in empty}
    findings = (*empty, *(finding for finding in findings_of(errors, data) if finding.path not in empty_paths))
    if whole is not None and not findings:
        return whole, ()
    return _draft(data, wrong={str(finding.path[0]) for finding in findings}), findings


def _empty_values(node: Node, path: KeyPath) -> Iterator[KeyPath]:
    """Where nothing stands: YAML's null would otherwise pass for a key that was left out."""
    match node:
        case ScalarNode():
            if node.value is None:
                yield path
        case ListNode():
            for position, item in enumerate(node.items):
                yield from _empty_values(item, (*path, position))
        case MapNode():
            for key, value in node.entries:
                yield from _empty_values(value, (*path, str(key.value)))


def _draft(data: dict[str, Plain], wrong: set[str]) -> StudyDraft:
    right = {key: data[key] for key in StudyDraft.model_fields if key in data and key not in wrong}
    absent = {key: field.default for key, field in StudyFile.model_fields.items() if key not in data}
    defaults = {key: value for key, value in absent.items() if not StudyFile.model_fields[key].is_required()}
    return StudyDraft.model_validate(right).model_copy(update=defaults)


def _model(draft: StudyDraft, folder: Path) -> tuple[ModelRef | None, tuple[Finding, ...]]:
    if draft.model is None:
        return None, ()
    found = find_model(draft.model, folder, default_name=draft.metadata.name if draft.metadata else "")
    return (None, (found,)) if isinstance(found, Finding) else (found, ())


def _book(draft: StudyDraft, folder: Path) -> tuple[PriceBook | None, tuple[Finding, ...], tuple[Problem, ...]]:
    """The price book, or what is wrong with the study's words on it, and what is wrong in it."""
    if draft.prices is None:
        return None, (), ()
    try:
        path = folder / draft.prices.book
        book = load_price_book(path, currency=draft.prices.currency, term=draft.prices.term)
    except UsageError as error:
        return None, (Finding(("prices", "book"), error.message, error.hint or f"relative to {folder}"),), ()
    except SpecError as error:
        return None, (), error.problems
    return book, tuple(check_prices(draft, book)), ()


def _arrivals(draft: StudyDraft, folder: Path) -> tuple[Arrivals, tuple[Finding, ...]]:
    """The arrivals, and what is wrong with the recording they replay. Poisson stands in for what is wrong elsewhere."""
    if draft.load is None:
        return "poisson", ()
    section = draft.load.arrivals
    if section.trace is not None:
        path = (folder / section.trace).resolve()
        wrong = Finding(
            ("load", "arrivals", "trace"), "the path leaves the study file's folder", "copy the trace there"
        )
        if not path.is_relative_to(folder.resolve()):
            return "poisson", (wrong,)
        try:
            return read_trace(path), ()
        except UsageError as error:
            return "poisson", (
                replace(wrong, message=error.message.replace(str(path), section.trace), hint=error.hint),
            )
    settings = section.model_dump(exclude_unset=True)
    try:
        return arrivals_from(
            section.kind if settings.keys() == {"kind"} and section.kind not in KINDS else settings
        ), ()
    except (TypeError, KeyError):  # a setting too many or too few, which check_together reports
        return "poisson", ()


def _cluster(draft: StudyDraft, folder: Path) -> tuple[ClusterOptions | None, tuple[Finding, ...]]:
    """What the cluster's runner is told, or what is wrong with it; None where the study has another runner."""
    if draft.runner is None:
        return None, ()
    wrong = tuple(check_cluster(draft))
    section = draft.runner.kubernetes
    if section is None or draft.runner.kind != "kubernetes":
        return None, wrong
    base = read_base(section.base, folder) if section.base else None
    if isinstance(base, Finding):
        return None, (*wrong, base)
    image = (draft.model.image if draft.model else None) or ""
    return cluster_options(section, load_s=draft.runner.ready_timeout_s, base=base, image=image), wrong


def _spec(
    file: StudyFile, model: ModelRef, book: PriceBook, arrivals: Arrivals, cluster: ClusterOptions | None
) -> StudySpec:
    spec = StudySpec(
        name=file.metadata.name,
        model=model,
        runner=RunnerSpec(
            kind=file.runner.kind,
            ready_timeout_s=file.runner.ready_timeout_s,
            options=tuple(sorted(file.runner.options.items())),
            kubernetes=cluster,
            parallel_trials=file.runner.parallel_trials,
        ),
        space=_space(file.knobs),
        load=_load(file.load, arrivals),
        slos=tuple(slo for section in file.slos if (slo := section.slo())),
        pricing=Pricing(book=book, footprint=_footprint(file.footprint)),
        headroom=file.headroom,
        max_replicas=file.replicas.max,
        confirm=ConfirmSpec(repeats=file.confirm.repeats, window_s=file.confirm.window_s),
        budget=Budget(
            trials=file.budget.trials,
            wall_time_s=file.budget.wall_time_s,
            failed_trials=file.budget.failed_trials,
        ),
        search=_search(file.search),
    )
    return replace(spec, fingerprint=fingerprint(spec))


def _space(knobs: KnobsSection) -> SearchSpace:
    return SearchSpace(knobs=tuple(Knob(name=name, values=_ordered(values)) for name, values in knobs.values().items()))


def _ordered(values: list[KnobValue]) -> tuple[KnobValue, ...]:
    """Numbers ascending, as a knob promises; texts as listed."""
    numbers = [value for value in values if not isinstance(value, str)]
    return tuple(sorted(numbers)) if len(numbers) == len(values) else tuple(values)


def _search(search: SearchSection) -> SearchSpec:
    asked = search.warm_start
    names = () if asked == ["none"] else tuple(asked)
    return SearchSpec(optimizer=search.optimizer, seed=search.seed, warm_start="auto" if asked == ["auto"] else names)


def _load(load: LoadSection, arrivals: Arrivals) -> LoadSpec:
    shape = load.payload.shape
    return LoadSpec(
        arrivals=arrivals,
        target_rps=load.target_rps,
        warmup_s=load.warmup_s,
        window_s=load.window_s,
        timeout_s=load.timeout_s,
        payload=Payload(
            kind=load.payload.kind, shape=None if shape is None else tuple(shape), count=load.payload.count
        ),
        protocol=load.protocol,
    )


def _footprint(footprint: FootprintSection) -> Footprint:
    return Footprint(**footprint.model_dump(exclude_none=True))
