"""What each command does, between the files and the screen."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.text import Text

from tuner.answer import Answer, answer_text, tune_document
from tuner.coordination import LEASE_S
from tuner.domain.agenda import Finish, contenders, estimate, next_step, proof_s
from tuner.domain.earlier import NOTHING_EARLIER, WarmStart
from tuner.domain.errors import BudgetRefused, UsageError
from tuner.domain.recommendation import Conclusion, NoVerdict, Standing, Unproven, evidence_for
from tuner.domain.spec import StudySpec
from tuner.domain.trial import Search, Trial
from tuner.place import CLUSTER_WE_RUN_IN, ClusterAccess, Site
from tuner.storage_url import SQLITE_PREFIX, shown
from tuner.terminal import Progress, trial_line, watching

PURPOSES = {"search": "search", "confirmation": "proof"}
STUDY_SUFFIXES = (".yaml", ".yml")


def find_study(study: str, storage_url: str) -> tuple[StudySpec, tuple[Trial, ...]]:
    """A study by file or by name, with the trials it has so far. Raises SpecError, UsageError."""
    from tuner.history import read_study, read_trials
    from tuner.spec_file import load_spec

    if not study.endswith(STUDY_SUFFIXES) and not Path(study).is_file():
        refuse_missing_storage(storage_url)
        return read_study(storage_url, study)
    spec = load_spec(Path(study))
    return spec, read_trials(storage_url, spec) if storage_exists(storage_url) else ()


def storage_exists(storage_url: str) -> bool:
    """False where opening the storage would make an empty file."""
    return not storage_url.startswith(SQLITE_PREFIX) or Path(storage_url.removeprefix(SQLITE_PREFIX)).is_file()


def refuse_missing_storage(storage_url: str) -> None:
    """Raises UsageError where reading would find an empty storage that reading itself had made."""
    if not storage_exists(storage_url):
        raise UsageError(
            f"there is no storage at {shown(storage_url)}", hint="tune a study first, or name another --storage"
        )


def tune_study(
    spec: StudySpec,
    storage_url: str,
    console: Console,
    *,
    quiet: bool,
    verbose: bool,
    access: ClusterAccess = CLUSTER_WE_RUN_IN,
    lease_s: float = LEASE_S,
) -> Answer:
    """Carry the study to its conclusion, from wherever its history stands."""
    from tuner.assemble import explain, make_optimizer, open_bench
    from tuner.history import begin_warm, open_history
    from tuner.lease import coordinating
    from tuner.study import run_study

    refuse_small_budget(spec)
    for warning in price_warnings(spec):
        console.print(Text(warning), soft_wrap=True)
    progress = Progress(spec, console, verbose=verbose)

    def tell(line: str) -> None:
        console.print(Text(line), soft_wrap=True)

    with coordinating(storage_url, spec.name, lease_s=lease_s, tell=tell) as fence:
        history = open_history(storage_url, spec, fence)
        site = Site(access=access, pin=history.pinned, lease_s=lease_s, tell=tell)
        warm = begin_warm(storage_url, spec) if spec.search.optimizer == "structured" else NOTHING_EARLIER
        for line in warm_start_lines(warm):
            tell(line)
        progress.resume(history.trials())
        with watching(progress, console, quiet=quiet) as watch, open_bench(spec, watch, site) as bench:
            optimizer = make_optimizer(spec, warm)
            conclusion = run_study(spec, optimizer=optimizer, bench=bench, history=history, watch=watch)
    done = history.trials()
    explanation = explain(spec, done, conclusion, warm=warm)
    return Answer(spec=spec, history=done, conclusion=conclusion, warm=warm, explanation=explanation)


def warm_start_lines(warm: WarmStart) -> list[str]:
    """Which earlier studies a study learns from, one a line."""
    return [
        f"learns from study {study.spec.name}: {len(study.trials)} trials of "
        f"{'the same model' if study.same_model else f'another model, {study.spec.model.name}'}"
        for study in warm.studies
    ]


def refuse_small_budget(spec: StudySpec) -> None:
    """Raises BudgetRefused where not even one trial and one proof fit."""
    cost = estimate(spec, ())
    needed_s = cost.search_trial_s + proof_s(spec, (), spec.surely_at_once)
    if needed_s > spec.budget.wall_time_s:
        raise BudgetRefused(
            f"one trial and the proof of a winner take about {needed_s:.0f} s, the budget is "
            f"{spec.budget.wall_time_s:g} s",
            hint="raise budget.wall_time_s, or shorten confirm.window_s",
        )


def answer_now(spec: StudySpec, history: Sequence[Trial]) -> Answer:
    """The answer as the history stands; an unfinished study has an unproven one."""
    return Answer(spec=spec, history=tuple(history), conclusion=conclusion_now(spec, history))


def explained_now(spec: StudySpec, history: Sequence[Trial], storage_url: str) -> Answer:
    """The answer as the history stands, and why it is the answer: a second or two of computing."""
    from tuner.assemble import explain
    from tuner.history import read_warm

    answer = answer_now(spec, history)
    warm = read_warm(storage_url, spec.name) if storage_exists(storage_url) else NOTHING_EARLIER
    return replace(answer, warm=warm, explanation=explain(spec, history, answer.conclusion, warm=warm))


def conclusion_now(spec: StudySpec, history: Sequence[Trial]) -> Conclusion:
    step = next_step(spec, history)
    if isinstance(step, Finish):
        return step.conclusion
    standing = [evidence_for(candidate, history) for candidate in contenders(spec, history)]
    best = next((e for e in standing if e.standing(spec.confirm.repeats) is not Standing.REFUTED), None)
    if best is None:
        return NoVerdict(reason="the study has not finished, and nothing plausible was found yet")
    return Unproven(evidence=best, reason="the study has not finished")


def render(answer: Answer, *, json: bool) -> str:
    return tune_document(answer).model_dump_json(indent=2) if json else answer_text(answer)


def refuse_report(path: Path) -> None:
    """Raises UsageError where `write_report` would: to be asked before the hours that fill it."""
    from tuner.assemble import refuse_unknown_report

    refuse_unwritable(path)
    refuse_unknown_report(path.suffix)


def write_report(answer: Answer, path: Path) -> str:
    """Write a page, a summary or a table, by the file's suffix; whole or not at all. Raises UsageError."""
    from tuner.assemble import Told, render_report

    refuse_report(path)
    finished = isinstance(next_step(answer.spec, answer.history), Finish)
    told = Told(
        spec=answer.spec,
        history=answer.history,
        conclusion=answer.conclusion if finished else None,
        explanation=answer.explanation,
        warm=answer.warm,
    )
    return write_text(path, render_report(path.suffix, told))


def refuse_unwritable(path: Path) -> None:
    """Raises UsageError where no file of this name can be written."""
    if path.is_dir() or not path.name:
        raise UsageError(f"cannot write {path}: it is a folder", hint="name a file")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        why = "it may not be written to" if path.parent.is_dir() else "there is no such folder"
        raise UsageError(f"cannot write {path}: {why}", hint="name a file in a folder of your own")


def write_text(path: Path, text: str | bytes) -> str:
    """Whole or not at all; says what was written. Raises UsageError."""
    refuse_unwritable(path)
    partial = path.with_name(path.name + ".part")
    try:
        partial.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    return f"wrote {path}"


def describe(spec: StudySpec) -> str:
    """A valid study in a few lines."""
    knobs = ", ".join(f"{knob.name} ({len(knob.values)})" for knob in spec.space.knobs)
    return "\n".join(
        [
            f"{spec.name}: valid",
            f"  knobs   {knobs}: {len(spec.space)} configurations",
            f"  load    {spec.load.arrivals} {spec.load.target_rps:g} rps, {spec.required_rps:g} with headroom",
            f"  SLOs    {'; '.join(str(slo) for slo in spec.slos)}",
            f"  runner  {spec.runner.kind}, optimizer {spec.search.optimizer} with seed {spec.search.seed}",
        ]
    )


def plan_text(spec: StudySpec, history: Sequence[Trial]) -> str:
    """What tuning would do, and take. Raises BudgetRefused."""
    refuse_small_budget(spec)
    cost = estimate(spec, history)
    searched = sum(isinstance(trial.purpose, Search) for trial in history)
    trials = max(0, spec.budget.trials - searched)
    proving_s = proof_s(spec, history, spec.surely_at_once)
    room_s = max(0.0, spec.budget.wall_time_s - cost.elapsed_s - proving_s)
    rounds = int(room_s // cost.search_trial_s)
    fitting = min(trials, len(spec.space), rounds * spec.surely_at_once)
    proof_rounds = math.ceil(spec.confirm.repeats / spec.surely_at_once)
    searching_s = math.ceil(fitting / spec.surely_at_once) * cost.search_trial_s
    to_do = (
        f"{fitting} search trials of about {cost.search_trial_s:.0f} s, then {spec.confirm.repeats} proofs of about "
        f"{proving_s / proof_rounds:.0f} s{_side_by_side(spec)}: about {(searching_s + proving_s) / 60:.1f} minutes"
    )
    if isinstance(next_step(spec, history), Finish):
        to_do = "nothing: the study has its answer"
    unit_costs = [spec.pricing.unit_cost_per_hour(configuration) for configuration in spec.space]
    currency = spec.pricing.book.currency
    return "\n".join(
        [
            describe(spec),
            f"  done    {len(history)} trials in {cost.elapsed_s:.0f} s",
            f"  to do   {to_do}",
            f"  budget  {spec.budget.trials} trials, {spec.budget.wall_time_s:g} s",
            f"  prices  {min(unit_costs):.4f} to {max(unit_costs):.4f} {currency} per replica and hour"
            f" ({spec.pricing.book.term})",
        ]
    )


def _side_by_side(spec: StudySpec) -> str:
    """Where the cluster's room decides how many, the time is that of one after the other: at most."""
    asked = spec.runner.parallel_trials
    if asked == "auto":
        return f", up to {spec.at_once} at once where there is room, and one after the other where not"
    return "" if asked == 1 else f", {asked} at once"


def status_text(spec: StudySpec, history: Sequence[Trial]) -> str:
    lines = [
        f"trial {trial.number:3d}  {PURPOSES[trial.purpose.kind]:6s}  {trial_line(trial, spec)}" for trial in history
    ]
    return "\n".join([*lines, answer_text(answer_now(spec, history))])


def list_studies(storage_url: str) -> str:
    from tuner.history import study_names

    refuse_missing_storage(storage_url)
    return "\n".join(study_names(storage_url))


def prices_text(spec: StudySpec) -> str:
    """The study's price book as a table."""
    from rich.table import Table

    book = spec.pricing.book
    table = Table("resource", "sku", "term", f"{book.currency} per hour", "as of", "source", box=None)
    for price in book.prices:
        marker = "" if price.term == book.term else " (not used)"
        table.add_row(
            price.resource,
            price.sku,
            price.term + marker,
            f"{price.price_per_hour:.6g}",
            price.as_of,
            price.source,
        )
    console = Console(width=160)
    with console.capture() as captured:
        console.print(table)
    return captured.get().rstrip()


def imported_prices(file: Path, book: Path, *, region: str, as_of: date, term: Literal["on_demand", "spot"]) -> str:
    """Rows for a price book, from a public price list. Raises SpecError, UsageError."""
    from tuner.price_import import gpu_rows, read_machines
    from tuner.prices import load_price_book

    priced = load_price_book(book, currency="USD", term=term)
    return "\n".join(gpu_rows(read_machines(file), priced, region=region, as_of=as_of, source=file.name))


def schema_of(kind: str) -> str:
    """JSON Schema (draft 2020-12) of study files, lock files, or the gate's document."""
    from tuner.gate_document import gate_schema
    from tuner.lock_file import lock_schema
    from tuner.spec_schema import study_schema

    return {"study": study_schema, "lock": lock_schema, "gate": gate_schema}[kind]()


def price_warnings(spec: StudySpec) -> tuple[str, ...]:
    """What a reader of the prices in use should know of their dates."""
    from tuner.fingerprint import prices_used
    from tuner.prices import doubtful_dates

    return doubtful_dates(prices_used(spec.pricing, spec.space), today=datetime.now(UTC).date())
