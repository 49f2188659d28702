"""Recordings of arrivals: read whole, or refused with the line that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuner.domain.errors import UsageError
from tuner.traces import read_trace


@pytest.mark.parametrize(
    "text",
    [
        "3.5\n1\n2\n",
        "timestamp_s\n1\n2\n3.5\n",
        "name,timestamp_s\na,1\nb,2\n\nc,3.5\n",
        "\ufeff1;x\n"[:2] + "\n2\n3.5\n",
    ],
)
def test_times_are_ordered_and_count_from_the_first(text: str, tmp_path: Path):
    path = tmp_path / "trace.csv"
    path.write_text(text)
    assert read_trace(path).starts_s == (0.0, 1.0, 2.5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1\nx\n", ":2:"),
        ("", "0 timestamps"),
        ("timestamp_s\n", "0 timestamps"),
        ("t\nnan\n", ":2:"),
        ("nan\n1\n", ":1:"),
        ("2026-11-22T10:00:00\n2026-11-22T10:00:01\n", ":1:"),
        ("0\n1e308\n", "more than a year"),
        ("-1e308\n1e308\n", "more than a year"),
        ("1700000000000000000\n1700000100000000000\n", "more than a year"),
    ],
)
def test_what_is_no_recording_is_refused(text: str, said: str, tmp_path: Path):
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(UsageError, match=said):
        read_trace(path)
