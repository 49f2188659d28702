"""The only importer of pandas: trials as one tidy table, a row per load level, units in the column names."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence

import pandas as pd

from tuner.domain.diagnosis import cpu_cores_used, cpu_throttled_ratio, diagnose, gpu_busy_ratio, queue_ratio
from tuner.domain.errors import UsageError
from tuner.domain.measurement import Measurement
from tuner.domain.slo import assess
from tuner.domain.spec import StudySpec
from tuner.domain.trial import Confirmation, Failed, Infeasible, Level, Measured, Trial

Value = str | int | float | bool | None
NUMBERS = {
    "trial": "Int64",
    "repeat": "Int64",
    "replicas": "Int64",
    "unit_cost_per_hour": "Float64",
    "total_cost_per_hour": "Float64",
    "offered_rps": "Float64",
    "achieved_rps": "Float64",
    "latency_p50_ms": "Float64",
    "latency_p90_ms": "Float64",
    "latency_p95_ms": "Float64",
    "latency_p99_ms": "Float64",
    "latency_p99_9_ms": "Float64",
    "requests": "Int64",
    "errors": "Int64",
    "window_s": "Float64",
    "send_lag_p99_ms": "Float64",
    "generator_cpu_ratio": "Float64",
    "cpu_cores_used": "Float64",
    "cpu_throttled_ratio": "Float64",
    "memory_peak_bytes": "Int64",
    "mean_batch_size": "Float64",
    "queue_ratio": "Float64",
    "pending_peak": "Int64",
    "gpu_busy_ratio": "Float64",
    "gpu_memory_peak_bytes": "Int64",
    "gpu_energy_j": "Float64",
    "deploy_s": "Float64",
    "load_s": "Float64",
    "teardown_s": "Float64",
    "seed": "Int64",
}
TEXTS = (
    "study",
    "started_at",
    "purpose",
    "outcome",
    "verdict",
    "doubts",
    "reason",
    "bottleneck",
    "bottleneck_evidence",
    "currency",
    "configuration",
)
ORDER = (
    "study",
    "trial",
    "started_at",
    "purpose",
    "repeat",
    "outcome",
    "replicas",
    "verdict",
    "unit_cost_per_hour",
    "total_cost_per_hour",
    "currency",
    "offered_rps",
    "achieved_rps",
    "latency_p50_ms",
    "latency_p90_ms",
    "latency_p95_ms",
    "latency_p99_ms",
    "latency_p99_9_ms",
    "requests",
    "errors",
    "window_s",
    "doubts",
    "reason",
    "send_lag_p99_ms",
    "generator_cpu_ratio",
    "bottleneck",
    "bottleneck_evidence",
    "cpu_cores_used",
    "cpu_throttled_ratio",
    "memory_peak_bytes",
    "mean_batch_size",
    "queue_ratio",
    "pending_peak",
    "gpu_busy_ratio",
    "gpu_memory_peak_bytes",
    "gpu_energy_j",
    "deploy_s",
    "load_s",
    "teardown_s",
    "seed",
    "configuration",
)


def trials_table(spec: StudySpec, trials: Sequence[Trial]) -> pd.DataFrame:
    """A row per load level, and one for each trial that was never measured; what is not known stays empty.

    Every knob has a column `knob.NAME`; `configuration` holds all of them as JSON. Phases belong to the whole trial and
    stand on each of its rows. Latencies are infinite where too many requests failed.
    """
    rows = [row for trial in trials for row in _rows(spec, trial)]
    frame = pd.DataFrame(rows, columns=_columns(trials), dtype=object)
    return frame.astype(NUMBERS | dict.fromkeys(TEXTS, "string")).infer_objects()


def _columns(trials: Sequence[Trial]) -> list[str]:
    knobs = sorted({name for trial in trials for name, _ in trial.configuration.settings})
    return [*ORDER, *(f"knob.{name}" for name in knobs)]


def trials_csv(spec: StudySpec, trials: Sequence[Trial]) -> str:
    """The same table as CSV text: infinite as `inf`, unknown as nothing, one line end everywhere.

    Text that a spreadsheet would take for a formula gets a leading apostrophe.
    """
    frame = trials_table(spec, trials)
    for column in frame.columns:
        if column not in NUMBERS:
            frame[column] = frame[column].map(_no_formula, na_action="ignore")
    return str(frame.to_csv(index=False, lineterminator="\n"))


def trials_parquet(spec: StudySpec, trials: Sequence[Trial]) -> bytes:
    """The same table, typed, as a Parquet file. Raises UsageError where the extra is not installed."""
    stream = io.BytesIO()
    try:
        trials_table(spec, trials).to_parquet(stream, engine="pyarrow", index=False)
    except ImportError as error:
        raise UsageError("Parquet needs pyarrow", hint="install servetune[parquet]") from error
    return stream.getvalue()


def trials_rows(spec: StudySpec, trials: Sequence[Trial]) -> list[dict[str, Value]]:
    """The same table as plain values, None for what is not known."""
    columns = _columns(trials)
    return [{name: row.get(name) for name in columns} for trial in trials for row in _rows(spec, trial)]


def _no_formula(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _rows(spec: StudySpec, trial: Trial) -> list[dict[str, Value]]:
    shared = _shared(spec, trial)
    match trial.outcome:
        case Measured(levels=levels):
            return [shared | _measured(trial, level) for level in levels] or [shared]
        case Infeasible(reason=text) | Failed(error=text):
            return [shared | {"reason": text}]


def _shared(spec: StudySpec, trial: Trial) -> dict[str, Value]:
    knobs: Mapping[str, Value] = {f"knob.{name}": value for name, value in trial.configuration.settings}
    return {
        "study": spec.name,
        "trial": trial.number,
        "started_at": trial.started_at,
        "purpose": trial.purpose.kind,
        "repeat": trial.purpose.repeat if isinstance(trial.purpose, Confirmation) else None,
        "outcome": trial.outcome.kind,
        "unit_cost_per_hour": trial.unit_cost_per_hour,
        "currency": spec.pricing.book.currency,
        "deploy_s": trial.phases.deploy_s,
        "load_s": trial.phases.load_s,
        "teardown_s": trial.phases.teardown_s,
        "seed": trial.seed,
        "configuration": json.dumps(trial.configuration.as_dict(), sort_keys=True),
        **knobs,
    }


def _measured(trial: Trial, level: Level) -> dict[str, Value]:
    measurement, latency = level.measurement, level.measurement.latency_ms
    broken = [
        f"{tally.slo}: {tally.bad} of {tally.requests} ({assess(tally).verdict})" for tally in measurement.tallies
    ]
    return {
        "replicas": level.replicas,
        "verdict": level.verdict.value,
        "total_cost_per_hour": level.replicas * trial.unit_cost_per_hour,
        "offered_rps": measurement.offered_rps,
        "achieved_rps": measurement.achieved_rps,
        "latency_p50_ms": latency.p50,
        "latency_p90_ms": latency.p90,
        "latency_p95_ms": latency.p95,
        "latency_p99_ms": latency.p99,
        "latency_p99_9_ms": latency.p99_9,
        "requests": measurement.requests,
        "errors": measurement.errors,
        "window_s": measurement.window_s,
        "doubts": " ".join(doubt.value for doubt in measurement.doubts),
        "reason": "; ".join(broken),
        "send_lag_p99_ms": measurement.send_lag_p99_ms,
        "generator_cpu_ratio": measurement.generator_cpu_ratio,
        **_telemetry(measurement),
    }


def _telemetry(measurement: Measurement) -> dict[str, Value]:
    """What limited it, and the server's own figures behind that; those it does not tell stay empty."""
    told, found = measurement.telemetry, diagnose(measurement)
    return {
        "bottleneck": str(found.bottleneck),
        "bottleneck_evidence": found.evidence,
        "cpu_cores_used": cpu_cores_used(measurement),
        "cpu_throttled_ratio": cpu_throttled_ratio(measurement),
        "memory_peak_bytes": told.memory_peak_bytes,
        "mean_batch_size": told.mean_batch_size,
        "queue_ratio": queue_ratio(measurement),
        "pending_peak": told.pending_peak,
        "gpu_busy_ratio": gpu_busy_ratio(measurement),
        "gpu_memory_peak_bytes": None if told.gpu is None else told.gpu.memory_peak_bytes,
        "gpu_energy_j": None if told.gpu is None else told.gpu.energy_j,
    }
