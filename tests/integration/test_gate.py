"""The gate as a CI job meets it, on the simulated runner: every exit code by a real run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest

from tests.gate_runs import PRICES, study_file
from tests.integration.test_command_line import Result, servetune  # noqa: F401 - the fixture
from tuner.gate_document import gate_schema
from tuner.lock_file import lock_schema

LOCK = "serving-baseline.lock.json"
SLOWER = ("cpu_ms_per_item: 8.0", "cpu_ms_per_item: 10.6")


@pytest.fixture(scope="module")
def locked_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that was tuned and locked once."""
    folder = tmp_path_factory.mktemp("locked")
    study_file(folder)
    for words in (("tune", "study.yaml", "-q"), ("baseline", "update", "study.yaml", "--reason", "first release")):
        command = [sys.executable, "-m", "tuner", *words]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def locked(servetune, locked_folder: Path, tmp_path: Path):  # noqa: F811
    """The command, in a copy of that folder."""
    shutil.copytree(locked_folder, tmp_path, dirs_exist_ok=True)
    return servetune


def gate(command, *arguments: str) -> tuple[Result, dict]:
    done = command("gate", *arguments, "--json")
    document = json.loads(done.out) if done.out else {}
    if document:
        jsonschema.validate(document, json.loads(gate_schema()))
        assert document["exit_code"] == done.code
    return done, document


def test_a_fresh_lock_passes_the_check_in_a_moment(locked):
    jsonschema.validate(json.loads(Path(LOCK).read_text()), json.loads(lock_schema()))
    done, document = gate(locked, "study.yaml", "--check")
    assert (done.code, document["outcome"]) == (0, "passed")
    assert "valid" in locked("baseline", "show").out


def test_prices_alone_fail_nothing_and_are_told_apart_from_capacity(locked, tmp_path):
    study_file(tmp_path, prices=PRICES.replace("0.03,2026-11-01", "0.09,2026-11-20"))
    done, document = gate(locked, "study.yaml", "--check")  # the storage holds the study with the prices of then
    cost = document["cost"]
    assert done.code == 0
    assert cost["price_effect"] == pytest.approx(0.12)
    assert (cost["capacity_effect"], cost["rounding_effect"]) == (0.0, 0.0)
    assert any("prices alone" in note for note in document["notes"])
    assert [one["field"] for one in document["differences"]] == ["prices"]


def test_a_tighter_limit_than_what_was_measured_fails_the_check(locked, tmp_path):
    study_file(tmp_path, ("max: 100", "max: 12"))
    done, document = gate(locked, "study.yaml", "--check", "--storage", "sqlite:///other.db")
    assert done.code == 3
    assert document["slos"][0]["verdict"] == "fail"


def test_more_load_than_was_ever_measured_is_inconclusive_and_may_only_warn(locked, tmp_path):
    study_file(tmp_path, ("target_rps: 54", "target_rps: 70"))
    words = ("study.yaml", "--check", "--storage", "sqlite:///other.db")
    done, document = gate(locked, *words)
    assert (done.code, document["outcome"]) == (4, "inconclusive")
    assert document["cost"]["after_per_hour"] == pytest.approx(2 * document["cost"]["before_per_hour"])
    assert gate(locked, *words, "--on-inconclusive", "warn")[0].code == 0


def test_a_cost_limit_is_held_at_the_prices_of_the_lock_file(locked, tmp_path):
    assert locked("baseline", "update", "study.yaml", "--reason", "cap", "--max-hourly-cost", "0.07").code == 0
    dearer = PRICES.replace("0.03,2026-11-01", "0.09,2026-11-20")
    study_file(tmp_path, prices=dearer)
    done, document = gate(locked, "study.yaml", "--check", "--storage", "sqlite:///other.db")
    assert done.code == 0
    assert any("more than the limit" in note for note in document["notes"])


def test_the_same_service_passes_verification_within_few_pairs(locked):
    done, document = gate(locked, "study.yaml", "--verify")
    assert (done.code, document["outcome"]) == (0, "passed")
    assert len(document["runs"]) >= 10
    assert [run["side"] for run in document["runs"][:2]] == ["deployed", "candidate"]
    assert {metric["metric"] for metric in document["metrics"]} >= {"saturated_rps", "latency_p99_ms", "hourly_cost"}


def test_a_slower_candidate_fails_verification_and_the_difference_is_named(locked, tmp_path):
    study_file(tmp_path / "candidate", SLOWER)
    files = {"junit": "junit.xml", "markdown": "comment.md", "openmetrics": "metrics.txt", "gate-json": "gate.json"}
    options = [word for name, file in files.items() for word in (f"--{name}", file)]
    done, document = gate(
        locked, "candidate/study.yaml", "--verify", "--deployed", "study.yaml", "--storage", "sqlite:///c.db", *options
    )
    assert done.code == 3
    worst = next(metric for metric in document["metrics"] if metric["metric"] == "saturated_rps")
    assert (worst["verdict"], worst["blocks"]) == ("REGRESSION", True)
    assert worst["change_high"] < -0.05
    assert document["differences"][0]["field"] == "model"
    assert "saturated_rps" in document["summary"]
    assert json.loads(Path("gate.json").read_text()) == document
    assert all(Path(file).stat().st_size for file in files.values())


def test_a_waiver_lets_a_regression_pass_until_its_last_day(locked, tmp_path, monkeypatch):
    study_file(tmp_path / "candidate", ("cpu_ms_per_item: 8.0", "cpu_ms_per_item: 9.4"))
    words = ["candidate/study.yaml", "--verify", "--deployed", "study.yaml", "--storage", "sqlite:///c.db"]
    waived = ["--waive", "saturated_rps=0.5", "--waive", "latency_p99_ms=3", "--owner", "ada", "--expires"]
    assert locked("baseline", "update", "study.yaml", "--reason", "known", *waived, "2099-01-01").code == 0
    done, document = gate(locked, *words)
    assert done.code == 0, done.err
    assert {metric["waived_by"] for metric in document["metrics"]} >= {"ada"}
    monkeypatch.setattr("tuner.gate.lock.Waiver.expired", lambda *_: True)
    done = locked("gate", *words)
    assert done.code == 6
    assert "the waiver of ada" in done.err


def test_noise_above_the_margin_is_inconclusive_when_the_budget_ends(locked, tmp_path):
    unsteady = ("cpu_ms_per_item: 8.0", "cpu_ms_per_item: 8.0\n    node_spread: 0.09")
    study_file(tmp_path / "unsteady", unsteady)
    study = "unsteady/study.yaml"
    assert locked("tune", study, "-q", "--storage", "sqlite:///u.db").code == 0
    update = ("baseline", "update", study, "--reason", "first", "--lock", "u.json", "--storage", "sqlite:///u.db")
    assert locked(*update, "--set", "saturated_rps=error:0.01").code == 0
    done, document = gate(
        locked, study, "--verify", "--lock", "u.json", "--max-duration", "12m", "--storage", "sqlite:///u.db"
    )
    assert done.code == 4, document
    assert "undecided" in document["summary"]


def test_a_budget_too_small_is_refused_before_anything_starts(locked):
    done = locked("gate", "study.yaml", "--verify", "--max-duration", "60s")
    assert (done.code, done.out) == (8, "")
    done = locked("gate", "study.yaml", "--verify", "--max-cost", "0.0001")
    assert (done.code, done.out) == (8, "")
    assert "--max-cost" in done.err


def test_retuning_proposes_a_lock_file_and_changes_none(locked):
    before = Path(LOCK).read_bytes()
    done, document = gate(locked, "study.yaml", "--retune", "--propose", "proposed.json", "-q")
    assert (done.code, document["outcome"]) == (0, "passed")
    assert Path(LOCK).read_bytes() == before
    assert locked("baseline", "show", "--lock", "proposed.json").code == 0


def test_nothing_feasible_any_more_is_exit_5(locked, tmp_path):
    study_file(tmp_path, ("max: 100", "max: 3"))
    done, document = gate(locked, "study.yaml", "--retune", "-q", "--storage", "sqlite:///other.db")
    assert (done.code, document["outcome"]) == (5, "nothing_feasible")


def test_an_unproven_study_is_not_locked(locked, tmp_path):
    study_file(tmp_path, ("max: 100", "max: 3"))
    assert locked("tune", "study.yaml", "-q", "--storage", "sqlite:///other.db").code == 5
    done = locked(
        "baseline", "update", "study.yaml", "--reason", "no", "--lock", "x.json", "--storage", "sqlite:///other.db"
    )
    assert done.code == 5
    assert not Path("x.json").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--set", "latency_p98_ms=error"), "unknown metric 'latency_p98_ms'"),
        (("--waive", "speed=0.1", "--owner", "a", "--expires", "2099-01-01"), "unknown metric 'speed'"),
        (("--waive", "latency_p99_ms=0.1"), "needs an owner"),
        (("--waive", "latency_p99_ms=0.1", "--owner", "a", "--expires", "2001-01-01"), "expired"),
        (("--waive", "latency_p99_ms=nan", "--owner", "a", "--expires", "2099-01-01"), "is no share"),
        (("--set", "saturated_rps=error:1.5"), "is no share"),
        (("--set", "saturated_rps=perhaps"), "is no rule"),
        (("--max-hourly-cost", "0.001"), "more than the limit"),
        (("--max-hourly-cost", "nan"), "more than the limit"),
    ],
)
def test_what_a_lock_file_cannot_hold_is_refused_and_nothing_is_written(locked, words, said):
    before = Path(LOCK).read_bytes()
    done = locked("baseline", "update", "study.yaml", "--reason", "a reason", *words)
    assert done.code == 2
    assert said in done.err
    assert Path(LOCK).read_bytes() == before


def test_a_reason_and_exactly_one_mode_are_needed(locked):
    assert locked("baseline", "update", "study.yaml", "--reason", "  ").code == 2
    assert locked("gate", "study.yaml").code == 2
    assert locked("gate", "study.yaml", "--check", "--verify").code == 2
    assert locked("gate", "study.yaml", "--check", "--accept", "weather").code == 2


def test_a_model_that_is_not_the_locked_one_is_exit_6_and_is_named(locked, tmp_path):
    study_file(tmp_path / "candidate", SLOWER)
    for mode in ("--check", "--verify"):
        done = locked("gate", "candidate/study.yaml", mode, "--storage", "sqlite:///c.db")
        assert (done.code, done.out) == (6, "")
        assert "virtual simulated sha256:" in done.err


def test_another_load_than_the_locked_one_is_exit_6_for_verification(locked, tmp_path):
    study_file(tmp_path, ("arrivals: poisson", "arrivals: constant"))
    done = locked("gate", "study.yaml", "--verify", "--storage", "sqlite:///other.db")
    assert done.code == 6
    assert "load:" in done.err


def test_pairs_are_kept_and_used_again_until_they_are_too_old(locked):
    words = ("study.yaml", "--verify", "--cache-dir", "cache")
    first, document = gate(locked, *words)
    again, reused = gate(locked, *words)
    assert (first.code, again.code) == (0, 0)
    assert reused["metrics"] == document["metrics"]
    assert all(run["reused"] for run in reused["runs"])
    assert any("reused" in note for note in reused["notes"])
    for file in Path("cache").rglob("*.json"):
        os.utime(file, (time.time() - 7200, time.time() - 7200))
    stale = gate(locked, *words, "--cache-age", "1h")[1]
    assert not any(run["reused"] for run in stale["runs"])
    damaged = next(Path("cache").rglob("pair-0.json"))
    damaged.write_text(damaged.read_text()[:100])
    runs = gate(locked, *words)[1]["runs"]
    assert [run["reused"] for run in runs[:4]] == [False, False, True, True]


def test_a_candidate_that_cannot_be_deployed_fails_the_gate(locked, tmp_path):
    tight = (("    cpu_ms_per_item: 8.0", "    cpu_ms_per_item: 8.0\n    host_memory_gib: 4.0"),
             ("headroom: 0.1", "headroom: 0.1\nfootprint:\n  memory_gib: 2"))  # fmt: skip
    prices = PRICES + "memory_gib,,on_demand,USD,0.004,2026-11-01,made up for this test\n"
    study_file(tmp_path / "candidate", *tight, prices=prices)
    done, document = gate(
        locked, "candidate/study.yaml", "--verify", "--deployed", "study.yaml", "--storage", "sqlite:///c.db"
    )
    assert done.code == 3
    assert "out of memory" in document["summary"]


def test_github_gets_a_summary_and_annotations(locked, tmp_path, monkeypatch):
    assert locked("gate", "study.yaml", "--check", "--github").code == 2
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    (tmp_path / "summary.md").write_text("before\n")
    study_file(tmp_path, ("max: 100", "max: 12"))
    done = locked("gate", "study.yaml", "--check", "--github", "--storage", "sqlite:///other.db")
    assert done.code == 3
    assert (tmp_path / "summary.md").read_text().startswith("before\n### ❌ Gate failed")
    assert done.err.startswith("::error title=servetune gate%3A latency_p99_ms <= 12::")


def test_an_interrupted_gate_ends_with_130(locked, tmp_path):
    slow = subprocess.Popen(
        [sys.executable, "-m", "tuner", "gate", "study.yaml", "--verify"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert slow.stderr is not None
    slow.stderr.readline()
    slow.send_signal(signal.SIGINT)
    out, err = slow.communicate(timeout=240)
    assert (slow.returncode, out) == (130, "")
    assert "no verdict" in err


def test_a_service_that_no_load_saturates_is_exit_7_and_may_be_tried_again(servetune, tmp_path):  # noqa: F811
    fast = ("cpu_ms_per_item: 8.0", "cpu_ms_per_item: 0.01")
    study_file(
        tmp_path,
        fast,
        ("target_rps: 54", "target_rps: 12"),
        ("window_s: 30", "window_s: 60"),
        ("window_s: 5", "window_s: 12"),
    )
    assert servetune("tune", "study.yaml", "-q").code == 0
    assert servetune("baseline", "update", "study.yaml", "--reason", "fast").code == 0
    done = servetune("gate", "study.yaml", "--verify")
    assert (done.code, done.out) == (7, "")
    assert "was not saturated" in done.err


def test_an_output_that_cannot_be_written_is_refused_before_anything_is_measured(locked):
    done = locked("gate", "study.yaml", "--check", "--junit", "no-such-folder/junit.xml")
    assert (done.code, done.out) == (2, "")
