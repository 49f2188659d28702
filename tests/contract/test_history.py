"""One suite for every History: the fake one, and Optuna's storage."""

from __future__ import annotations

import functools
import json
import math
import multiprocessing
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from wsgiref.util import setup_testing_defaults

import pytest

from tests.fakes import ListHistory
from tests.specs import a_spec
from tests.unit.test_study_loop import setting
from tuner.domain.errors import UsageError
from tuner.domain.trial import Failed, Infeasible, Trial
from tuner.history import SPEC_ATTRIBUTE, TRIAL_ATTRIBUTE, open_history, read_study, study_names
from tuner.lease import coordinating
from tuner.ports import History
from tuner.wire import trial_from_json, trial_to_json


@functools.cache
def some_trials() -> tuple[Trial, ...]:
    """A whole study's trials, with an infeasible, a failed and an infinitely late one among them."""
    study = setting(a_spec(), lambda c, _p: 0.02 if c["cpu_cores"] == 2 else 9.9)
    study.run()
    measured = study.history.trials()
    assert any(math.isinf(t.outcome.levels[0].measurement.latency_ms.p99) for t in measured)
    return (
        *measured,
        replace(measured[0], number=len(measured), outcome=Infeasible(reason="out of memory: 3 GiB of 2")),
        replace(measured[0], number=len(measured) + 1, outcome=Failed(error="port taken")),
    )


@pytest.fixture(params=["list", "sqlite", "postgres"])
def history(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[History]:
    """As tuning opens it: under the study's lease, and behind its fence."""
    if request.param == "list":
        yield ListHistory()
        return
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else f"sqlite:///{tmp_path}/h.db"
    with coordinating(url, a_spec().name) as fence:
        yield open_history(url, a_spec(), fence)


def test_what_was_appended_comes_back_in_order_and_without_loss(history: History):
    trials = some_trials()
    for trial in trials:
        history.append(trial)
    assert history.trials() == trials


def test_an_empty_history_has_no_trials(history: History):
    assert history.trials() == ()


def test_the_same_number_twice_is_refused_and_nothing_changes(history: History):
    first = some_trials()[0]
    history.append(first)
    with pytest.raises(UsageError, match="already in the history"):
        history.append(first)
    assert history.trials() == (first,)


def test_trials_that_ended_in_another_order_come_back_by_their_numbers(history: History):
    trials = some_trials()[:4]
    for position in (1, 3, 0):
        history.append(trials[position])
    assert [trial.number for trial in history.trials()] == [0, 1, 3]
    for position in (1, 3, 0):
        with pytest.raises(UsageError, match="already in the history"):
            history.append(trials[position])
    history.append(trials[2])
    assert history.trials() == trials


def test_another_process_sees_what_was_appended(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/h.db"
    writer = open_history(url, a_spec())
    trials = some_trials()
    writer.append(trials[0])
    spec, seen = read_study(url, "fake")
    assert seen == trials[:1]
    assert spec == a_spec()
    assert study_names(url) == ("fake",)


def test_a_changed_study_file_is_refused(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/h.db"
    open_history(url, a_spec())
    with pytest.raises(UsageError, match="other content"):
        open_history(url, a_spec(fingerprint="e" * 64))


def test_a_raised_budget_is_not_another_study(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/h.db"
    open_history(url, a_spec()).append(some_trials()[0])
    more = replace(a_spec().budget, trials=60)
    assert len(open_history(url, a_spec(budget=more)).trials()) == 1
    assert read_study(url, "fake")[0].budget.trials == 60


def test_an_unknown_study_is_named_with_the_known_ones(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/h.db"
    open_history(url, a_spec())
    with pytest.raises(UsageError, match=r"no study named 'other'.*fake"):
        read_study(url, "other")


def test_a_file_that_is_no_database_is_a_clear_error(tmp_path: Path):
    (tmp_path / "h.db").write_text("not a database, just text that is long enough to be looked at" * 10)
    with pytest.raises(UsageError, match="the storage cannot be used"):
        open_history(f"sqlite:///{tmp_path}/h.db", a_spec())


def test_a_damaged_trial_is_a_clear_error(tmp_path: Path):
    open_history(f"sqlite:///{tmp_path}/h.db", a_spec()).append(some_trials()[0])
    with sqlite3.connect(tmp_path / "h.db") as database:
        database.execute("update trial_user_attributes set value_json = '\"{}\"' where key = ?", (TRIAL_ATTRIBUTE,))
    database.close()
    with pytest.raises(UsageError, match="damaged"):
        read_study(f"sqlite:///{tmp_path}/h.db", "fake")


def test_a_trial_of_a_newer_format_is_refused():
    text = trial_to_json(some_trials()[0]).replace('"schema_version":1', '"schema_version":2', 1)
    with pytest.raises(UsageError, match="format 2"):
        trial_from_json(text)


def test_optunas_own_view_shows_cost_and_outcome(tmp_path: Path):
    import optuna

    url = f"sqlite:///{tmp_path}/h.db"
    history = open_history(url, a_spec())
    for trial in some_trials():
        history.append(trial)
    study = optuna.load_study(storage=url, study_name="fake")
    states = [trial.state.name for trial in study.trials]
    assert states.count("PRUNED") == states.count("FAIL") == 1
    assert study.trials[0].params.keys() == {"cpu_cores", "max_batch_size"}
    assert "fail" in study.trials[0].user_attrs["outcome"]
    assert SPEC_ATTRIBUTE in study.user_attrs


def test_optuna_dashboard_opens_it(tmp_path: Path):
    """Its own WSGI application answers with our study and its trials, asked as a browser would."""
    from optuna_dashboard import wsgi

    url = f"sqlite:///{tmp_path}/h.db"
    history = open_history(url, a_spec())
    for trial in some_trials():
        history.append(trial)

    def get(path: str) -> dict:
        environment = {"PATH_INFO": path, "QUERY_STRING": ""}
        setup_testing_defaults(environment)
        said: list[str] = []
        body = b"".join(wsgi(url)(environment, lambda status, _headers, _error=None: said.append(status)))
        assert said[0].startswith("200"), said
        return json.loads(body)

    (study,) = get("/api/studies")["study_summaries"]
    assert study["study_name"] == "fake"
    trials = get(f"/api/studies/{study['study_id']}")["trials"]
    assert [trial["state"] for trial in trials].count("Complete") == len(some_trials()) - 2


def _hold(url: str, held: multiprocessing.synchronize.Event) -> None:
    with coordinating(url, "fake"):
        held.set()
        multiprocessing.Event().wait(30)


def test_a_second_coordinator_is_refused_until_the_first_is_gone_even_by_sigkill(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/h.db"
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    other = context.Process(target=_hold, args=(url, held))
    other.start()
    assert held.wait(30)
    with pytest.raises(UsageError, match="another servetune"), coordinating(url, "fake"):
        pass
    other.kill()
    other.join()
    with coordinating(url, "fake"):
        pass
    other.close()
