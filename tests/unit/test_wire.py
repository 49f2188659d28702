"""Trials there and back, those of an older release included."""

from __future__ import annotations

import json
from pathlib import Path

from tests.builders import a_level, a_trial
from tuner.domain.deployment import GpuUse, Telemetry
from tuner.domain.trial import Measured
from tuner.wire import trial_from_json, trial_to_json

OLD = (Path(__file__).parents[1] / "data" / "trial_of_the_first_release.json").read_text("utf-8")


def test_a_trial_with_all_a_server_can_tell_comes_back_as_it_was():
    told = Telemetry(
        inference_count=8,
        batches=((1, 4), (2, 2)),
        pending_peak=3,
        working_set_bytes=5,
        gpu=GpuUse(busy_s=1.5, energy_j=300.0, memory_peak_bytes=1 << 30, memory_of="server"),
    )
    trial = a_trial(1, outcome=Measured(levels=(a_level(1, requests=40, telemetry=told),)))
    assert trial_from_json(trial_to_json(trial)) == trial


def test_a_trial_of_the_first_release_is_still_read():
    trial = trial_from_json(OLD)
    assert isinstance(trial.outcome, Measured)
    measurement = trial.outcome.levels[0].measurement
    assert measurement.telemetry == Telemetry(
        inference_count=40,
        execution_count=31,
        queue_s=0.5,
        compute_s=0.25,
        cpu_s=0.2,
        throttled_periods=2,
        periods=30,
        memory_peak_bytes=123456789,
        machine_busy_s=0.5,
        at_s=3.5,
    )
    assert measurement.loaded_s is None
    assert json.loads(trial_to_json(trial))["schema_version"] == json.loads(OLD)["schema_version"]
