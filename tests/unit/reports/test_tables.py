import csv
import io
import math
from dataclasses import replace

import pytest

from reports.tables import trials_csv, trials_table
from tests.builders import a_level, a_trial
from tests.studies import SLOS, a_proven_study, a_told_spec, search_trials
from tuner.domain.trial import Failed, Infeasible, Measured


def test_a_row_per_load_level_and_one_for_what_was_never_measured():
    two = Measured(levels=(a_level(1, median_ms=300.0), a_level(2)))
    trials = (a_trial(0, outcome=two), a_trial(1, outcome=Infeasible(reason="no")), a_trial(2))
    frame = trials_table(a_told_spec(), trials)
    assert list(frame["trial"]) == [0, 0, 1, 2]
    assert list(frame["replicas"].fillna(0)) == [1, 2, 0, 1]
    assert list(frame["outcome"]) == ["measured", "measured", "infeasible", "measured"]


def test_columns_have_units_and_numbers_are_numbers():
    spec, trials, _ = a_proven_study()
    frame = trials_table(spec, trials)
    for column in ("latency_p99_ms", "offered_rps", "total_cost_per_hour", "deploy_s"):
        assert frame[column].dtype == "Float64"
    assert frame["knob.cpu_cores"].dtype.kind == "i"
    assert list(frame["repeat"].dropna()) == [0, 1, 2]
    row = frame[frame["trial"] == 3].iloc[0]
    assert row["total_cost_per_hour"] == pytest.approx(0.1)
    assert row["latency_p99_ms"] == trials[3].outcome.levels[0].measurement.latency_ms.p99


def test_the_columns_are_the_same_for_an_empty_study():
    spec, trials, _ = a_proven_study()
    full, empty = trials_table(spec, trials), trials_table(spec, ())
    assert list(empty.columns) == [column for column in full.columns if not column.startswith("knob.")]
    assert len(empty) == 0


def test_csv_reads_back_with_infinity_and_gaps():
    spec = a_told_spec()
    dead = Measured(levels=(a_level(1, requests=200, failed=200, slos=SLOS),))
    rows = list(csv.DictReader(io.StringIO(trials_csv(spec, (a_trial(0, outcome=dead), *search_trials()[1:3])))))
    assert [row["trial"] for row in rows] == ["0", "1", "2"]
    assert math.isinf(float(rows[0]["latency_p99_ms"]))
    assert (rows[1]["latency_p99_ms"], rows[1]["reason"], rows[2]["reason"]) == ("", "out of memory", "port was taken")


@pytest.mark.parametrize("text", ["=1+1", "+x", "-x", "@x", "\tx"])
def test_text_is_no_formula_in_a_spreadsheet(text: str):
    rows = list(csv.DictReader(io.StringIO(trials_csv(a_told_spec(), (a_trial(0, outcome=Failed(error=text)),)))))
    assert rows[0]["reason"] == f"'{text}"


def test_line_breaks_and_quotes_in_a_reason_survive():
    reason = 'a "b",\nc'
    trials = (a_trial(0, outcome=Failed(error=reason)),)
    rows = list(csv.DictReader(io.StringIO(trials_csv(a_told_spec(), trials), newline="")))
    assert rows[0]["reason"] == reason


def test_the_same_trials_give_the_same_text():
    spec, trials, _ = a_proven_study()
    assert trials_csv(spec, trials) == trials_csv(replace(spec), tuple(trials))
