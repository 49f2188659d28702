"""SIGKILL to the controller at any moment, then the same command again: nothing lost, doubled or left behind."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tuner.domain.trial import Confirmation, Search, Trial, studied_s
from tuner.history import read_study, study_names
from tuner.spec_file import load_spec

ROOT = Path(__file__).parents[2]
SEED = 20261122
KILLS = 20

SIMULATED = """\
apiVersion: servetune/v1
kind: Study
metadata:
  name: killed
model:
  name: virtual
runner:
  kind: simulated
knobs:
  cpu_cores: [1, 2, 4]
  max_batch_size: [1, 2, 4, 8]
load:
  arrivals: poisson
  target_rps: 250
  warmup_s: 1
  window_s: 5
slos:
  - indicator: latency_p99_ms
    max: 100
prices:
  book: prices.csv
  term: on_demand
headroom: 0.1
budget:
  trials: 8
  wall_time_s: 3000
search:
  optimizer: tpe
  seed: 5
"""
PRICES = """\
resource,sku,term,currency,price_per_hour,as_of,source
cpu_core,,on_demand,USD,0.03,2026-11-01,made up for this test
memory_gib,,on_demand,USD,0.004,2026-11-01,made up for this test
"""


def study_file(folder: Path, text: str) -> Path:
    (folder / "prices.csv").write_text(PRICES)
    (folder / "study.yaml").write_text(text)
    return folder / "study.yaml"


def kill_at(study: Path, storage: str, phase: str, count: int, delay_s: float, **environment: str) -> int:
    """Run the controller until it kills itself, or ends; its exit status."""
    command = [sys.executable, "-m", "tests.integration.kill_me", study, storage, phase, str(count), str(delay_s)]
    done = subprocess.run(
        [str(word) for word in command],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "HOME": str(Path.home()), **environment},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


def trials_of(storage: str) -> list[Trial]:
    """The history, without the wall-clock time at which each trial happened to start; none before there is a study."""
    if "killed" not in study_names(storage):
        return []
    return [replace(trial, started_at="") for trial in read_study(storage, "killed")[1]]


@pytest.mark.timeout(1800)
def test_twenty_kills_leave_the_trials_of_an_undisturbed_study(tmp_path: Path):
    """Whenever a study ends before its kill came, the next one begins, until twenty kills have really happened."""
    study = study_file(tmp_path, SIMULATED)
    undisturbed = f"sqlite:///{tmp_path}/undisturbed.db"
    assert kill_at(study, undisturbed, "never", 1, 0) == 0
    wanted = trials_of(undisturbed)
    source, kills, studies = random.Random(SEED), 0, 1
    while kills < KILLS:
        killed = f"sqlite:///{tmp_path}/killed-{studies}.db"
        phase = source.choice(["deploy", "load", "teardown", "append", "append", "confirm"])
        delay_s = source.choice([0.0, source.uniform(0.0, 0.02)])
        if kill_at(study, killed, phase, source.choice([1, 1, 2]), delay_s) != 0:
            kills += 1
            assert trials_of(killed) == wanted[: len(trials_of(killed))]
        else:
            studies += 1
            assert trials_of(killed) == wanted
    assert kill_at(study, killed, "never", 1, 0) == 0
    assert trials_of(killed) == wanted


PARALLEL = SIMULATED.replace("  kind: simulated\n", "  kind: simulated\n  parallel_trials: 3\n")


def test_six_kills_of_a_study_of_three_at_once_lose_and_double_nothing(tmp_path: Path):
    """What ran is lost, and its numbers are given again: what was recorded stays, and nothing is tried twice."""
    study = study_file(tmp_path, PARALLEL)
    alone = f"sqlite:///{tmp_path}/alone.db"
    assert kill_at(study, alone, "never", 1, 0) == 0
    source, kills, storage, studies = random.Random(SEED), 0, f"sqlite:///{tmp_path}/killed-1.db", 1
    while kills < 6:
        phase = source.choice(["deploy", "load", "append", "append", "confirm"])
        before = trials_of(storage)
        killed = kill_at(study, storage, phase, source.choice([1, 2, 3, 4]), 0.0) != 0
        after = trials_of(storage)
        assert {trial.number: trial for trial in after}.items() >= {trial.number: trial for trial in before}.items()
        searched = [trial.configuration for trial in after if isinstance(trial.purpose, Search)]
        assert len(searched) == len(set(searched)) <= 8
        kills += killed
        if not killed:
            studies += 1
            storage = f"sqlite:///{tmp_path}/killed-{studies}.db"
    assert kill_at(study, storage, "never", 1, 0) == 0
    whole = trials_of(storage)
    assert [trial.number for trial in whole] == list(range(len(whole)))
    assert sum(isinstance(trial.purpose, Confirmation) for trial in whole) >= 3
    assert studied_s(whole) < sum(trial.phases.elapsed_s for trial in whole) / 2


LOCAL = """\
apiVersion: servetune/v1
kind: Study
metadata:
  name: killed
model:
  path: cls.onnx
runner:
  kind: local
knobs:
  cpu_cores: [1]
  max_batch_size: [1, 4]
load:
  arrivals: poisson
  target_rps: 40
  warmup_s: 0.2
  window_s: 1
  payload:
    kind: image
    shape: [3, 48, 192]
slos:
  - indicator: latency_p90_ms
    max: 2000
prices:
  book: prices.csv
  term: on_demand
headroom: 0.1
confirm:
  window_s: 1
budget:
  trials: 2
  wall_time_s: 3000
  failed_trials: 10
search:
  optimizer: random
  seed: 5
"""


def remains(mark: str) -> list[str]:
    """Whatever bears the mark of the study: processes, control groups, temporary folders, shared memory."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if any(mark in value for name, value in process.environ().items() if name.startswith("SERVETUNE_")):
                found.append(f"process {process.pid} {process.name()}")
    places = [Path("/sys/fs/cgroup"), Path(tempfile.gettempdir()), Path("/dev/shm")]
    for place in places:
        found += [str(path) for depth in ("*", "*/*", "*/*/*") for path in place.glob(f"{depth}{mark}*")]
    return found


@pytest.mark.triton
@pytest.mark.timeout(1800)
def test_twenty_kills_of_real_servers_leave_nothing_behind_after_the_resume(tmp_path: Path):
    """Delays are drawn too, so that the kill falls into the start of the server, its warm-up, its window, its end."""
    shutil.copy(ROOT / "examples/quickstart/cls.onnx", tmp_path)
    study, storage = study_file(tmp_path, LOCAL), f"sqlite:///{tmp_path}/h.db"
    mark = load_spec(study).fingerprint[:8]
    state = {"XDG_STATE_HOME": str(tmp_path / "state")}
    source, kills, seen = random.Random(SEED), 0, 0
    while kills < KILLS:
        phase = source.choice(["deploy", "load", "load", "teardown", "append", "confirm"])
        if kill_at(study, storage, phase, 1, source.uniform(0.0, 1.5), **state) != 0:
            kills += 1
            seen += bool(remains(mark))
            numbers = [trial.number for trial in trials_of(storage)]
            assert numbers == list(range(len(numbers)))
        else:
            storage = f"sqlite:///{tmp_path}/h-{kills}.db"
    assert seen >= 3, "kills that never left anything behind show nothing about cleaning up"
    before = trials_of(storage)
    assert kill_at(study, storage, "never", 1, 0, **state) == 0
    after = trials_of(storage)
    assert after[: len(before)] == before
    assert sum(isinstance(trial.purpose, Confirmation) for trial in after) == 3
    assert remains(mark) == []
    assert list((tmp_path / "state").rglob("*.json")) == []
