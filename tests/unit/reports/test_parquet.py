from __future__ import annotations

import io
import math

import pandas as pd

from reports.tables import trials_csv, trials_parquet, trials_rows
from tests.studies import a_proven_study


def test_parquet_has_the_columns_and_values_of_the_csv():
    spec, trials, _ = a_proven_study()
    typed = pd.read_parquet(io.BytesIO(trials_parquet(spec, trials)))
    text = pd.read_csv(io.StringIO(trials_csv(spec, trials)))
    assert list(typed.columns) == list(text.columns)
    assert (
        typed["latency_p99_ms"].map(math.isinf, na_action="ignore").sum()
        == text["latency_p99_ms"].map(math.isinf).sum()
    )
    for column in ("trial", "requests", "total_cost_per_hour", "knob.cpu_cores"):
        pd.testing.assert_series_equal(
            typed[column].astype("Float64"), text[column].astype("Float64"), check_names=False
        )


def test_parquet_is_the_same_bytes_every_time():
    spec, trials, _ = a_proven_study()
    assert trials_parquet(spec, trials) == trials_parquet(spec, trials)


def test_rows_are_plain_values():
    spec, trials, _ = a_proven_study()
    rows = trials_rows(spec, trials)
    assert len(rows) == len(trials_csv(spec, trials).splitlines()) - 1
    assert {type(cell) for row in rows for cell in row.values()} <= {str, int, float, bool, type(None)}
