"""Reading a recording of arrivals: a CSV file whose first column (or the one named timestamp_s) holds seconds."""

from __future__ import annotations

import csv
import math
from pathlib import Path

from tuner.domain.arrival_kinds import Replay
from tuner.domain.errors import UsageError

COLUMN = "timestamp_s"
MOST_REQUESTS = 20_000_000
LONGEST_S = 366 * 86_400.0


def read_trace(path: Path) -> Replay:
    """The times counted from the first one, in order. Raises UsageError with the line that is wrong."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"cannot read the trace {path}: {error}") from error
    column, first = 0, 0
    if rows and _is_name(rows[0]):
        first, column = 1, rows[0].index(COLUMN) if COLUMN in rows[0] else 0
    times_s: list[float] = []
    for line, row in enumerate(rows[first:], first + 1):
        if not row:
            continue
        if len(row) <= column or not _is_number(row[column]):
            raise UsageError(f"{path}:{line}: no timestamp in seconds in column {column + 1}")
        times_s.append(float(row[column]))
    if not 0 < len(times_s) <= MOST_REQUESTS:
        raise UsageError(f"{path}: {len(times_s):,} timestamps", hint=f"1 to {MOST_REQUESTS:,} can be replayed")
    times_s.sort()
    if times_s[-1] - times_s[0] > LONGEST_S:
        hint = "seconds are meant; milliseconds or nanoseconds have to be divided first"
        raise UsageError(f"{path}: from the first to the last timestamp is more than a year", hint=hint)
    return Replay(starts_s=tuple(time_s - times_s[0] for time_s in times_s))


def _is_name(row: list[str]) -> bool:
    """Whether the first row names its columns. What holds a timestamp in another form is no name."""
    try:
        float(row[0])
    except (IndexError, ValueError):
        return not row or COLUMN in row or not row[0][:1].isdigit()
    return False


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
