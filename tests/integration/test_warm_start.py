"""A study that learns from earlier ones of its storage: what it began with is part of it, whatever happens later."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from tests.benchmarks.optimizers_on_simulated_gpu import STUDY
from tuner.assemble import make_optimizer, open_bench
from tuner.commands import tune_study
from tuner.domain.errors import UsageError
from tuner.domain.events import Event, TrialFinished
from tuner.domain.slo import Slo
from tuner.domain.spec import SearchSpec, StudySpec
from tuner.domain.trial import Measured, Trial
from tuner.fingerprint import fingerprint
from tuner.history import begin_warm, open_history, read_study, read_warm
from tuner.spec_file import load_spec
from tuner.study import run_study


def a_study(name: str, *, target_rps: float = 400.0, trials: int = 6, warm_start: object = "auto") -> StudySpec:
    spec = load_spec(STUDY)
    spec = replace(
        spec,
        name=name,
        load=replace(spec.load, target_rps=target_rps),
        search=SearchSpec(optimizer="structured", seed=3, warm_start=warm_start),  # type: ignore[arg-type]
        budget=replace(spec.budget, trials=trials, wall_time_s=1e9),
    )
    return replace(spec, fingerprint=fingerprint(spec))


def tune(spec: StudySpec, storage: str) -> tuple[Trial, ...]:
    return tune_study(spec, storage, Console(quiet=True), quiet=True, verbose=False).history


class _Enough(Exception):
    """The process is gone."""


def carry_on(spec: StudySpec, storage: str, *, trials: int) -> list[Trial]:
    """The loop as `tune` runs it, killed after so many more trials; wall-clock times apart, what is on disk then."""
    history = open_history(storage, spec)
    finished: list[Trial] = []

    def watch(event: Event) -> None:
        if isinstance(event, TrialFinished):
            finished.append(event.trial)
            if len(finished) == trials:
                raise _Enough

    optimizer = make_optimizer(spec, begin_warm(storage, spec))
    with open_bench(spec, watch) as bench:
        run_study(spec, optimizer=optimizer, bench=bench, history=history, watch=watch)
    return [replace(trial, started_at="") for trial in history.trials()]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage with one finished study at 400 requests per second."""
    file = tmp_path_factory.mktemp("warm") / "studies.db"
    tune(a_study("first"), f"sqlite:///{file}")
    return file


@pytest.fixture
def storage(first: Path, tmp_path: Path) -> str:
    """A copy of its own for every test."""
    copy = tmp_path / "studies.db"
    copy.write_bytes(first.read_bytes())
    return f"sqlite:///{copy}"


def test_what_a_study_began_with_is_written_into_it(storage: str):
    tune(a_study("second", target_rps=250.0, trials=1), storage)
    warm = read_warm(storage, "second")
    assert [(study.spec.name, study.same_model) for study in warm.studies] == [("first", True)]
    assert len(warm.studies[0].trials) == len(read_study(storage, "first")[1])


def test_later_studies_change_nothing(storage: str):
    second = a_study("second", target_rps=250.0, trials=1)
    open_history(storage, second)
    begun = begin_warm(storage, second)
    tune(a_study("third", target_rps=100.0, trials=1, warm_start=()), storage)
    assert begin_warm(storage, second) == begun == read_warm(storage, "second")


def test_a_resumed_warm_study_goes_on_like_an_uninterrupted_one(storage: str, tmp_path: Path):
    copy = f"sqlite:///{tmp_path}/other.db"
    (tmp_path / "other.db").write_bytes((tmp_path / "studies.db").read_bytes())
    spec = a_study("second", target_rps=250.0, trials=4)
    with pytest.raises(_Enough):
        carry_on(spec, copy, trials=2)
    tune(a_study("between", target_rps=100.0, trials=1), copy)
    assert carry_on(spec, copy, trials=99) == carry_on(spec, storage, trials=99)


def test_a_warm_study_begins_elsewhere_than_a_cold_one(storage: str):
    spec = a_study("second", target_rps=250.0)
    open_history(storage, spec)
    warm = make_optimizer(spec, begin_warm(storage, spec)).suggest(())
    assert warm != make_optimizer(spec).suggest(())
    assert warm == make_optimizer(spec, read_warm(storage, "second")).suggest(())


def test_a_study_under_another_objective_judges_the_earlier_windows_anew(storage: str):
    strict = replace(a_study("strict", trials=1), slos=(Slo(indicator="latency_p95_ms", max=30.0),))
    open_history(storage, strict)
    (study,) = begin_warm(storage, strict).studies
    levels = [one for trial in study.trials if isinstance(trial.outcome, Measured) for one in trial.outcome.levels]
    judged = [level.measurement.tallies for level in levels]
    assert {tally.slo for tallies in judged for tally in tallies} == set(strict.slos)
    for level, (tally,) in zip(levels, judged, strict=True):
        assert tally.observed == pytest.approx(level.measurement.latency_ms.p95, rel=2e-3)


def test_a_sibling_that_is_named_is_a_prior_only(storage: str):
    other = a_study("sibling", trials=1, warm_start=("first",))
    options = dict(other.runner.options) | {"gflop_per_item": 120}
    other = replace(other, runner=replace(other.runner, options=tuple(sorted(options.items()))))
    open_history(storage, other)
    warm = begin_warm(storage, other)
    assert [study.same_model for study in warm.studies] == [False]
    assert carry_on(other, storage, trials=99)


def test_nothing_is_learned_where_nothing_is_asked_for(storage: str):
    for name, spec in (("cold", a_study("cold", warm_start=())), ("alone", a_study("alone"))):
        open_history(storage, spec)
        assert bool(begin_warm(storage, spec).studies) == (name == "alone")


def test_a_study_that_is_not_there_is_an_error(storage: str):
    spec = a_study("second", warm_start=("no-such-study",))
    open_history(storage, spec)
    with pytest.raises(UsageError, match="no-such-study"):
        begin_warm(storage, spec)
