"""The command as users and CI jobs meet it: streams, exit codes, and no traceback for anything they did."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from tests.integration.test_kill_and_resume import SIMULATED, study_file
from tests.postgres import PostgresServer
from tuner import cli
from tuner.answer import TuneDocument
from tuner.history import open_history, read_study

ROOT = Path(__file__).parents[2]


class Result:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def servetune(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run the command in this process, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SERVETUNE_STORAGE", raising=False)

    def run(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["servetune", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_info:
            cli.main()
        caught = capsys.readouterr()
        assert "Traceback" not in caught.err + caught.out
        return Result(int(exit_info.value.code or 0), caught.out, caught.err)

    return run


@pytest.fixture
def study(tmp_path: Path) -> str:
    return str(study_file(tmp_path, SIMULATED))


def changed(path: str, old: str, new: str) -> None:
    text = Path(path).read_text()
    assert old in text
    Path(path).write_text(text.replace(old, new))


def test_tune_json_is_one_document_on_stdout_and_progress_is_on_stderr(servetune, study):
    done = servetune("tune", study, "--json")
    assert done.code == 0
    document = json.loads(done.out)
    jsonschema.validate(document, TuneDocument.model_json_schema())
    recommendation = document["recommendation"]
    assert recommendation["verdict"] == "pass"
    assert recommendation["measurement"]["latency_p99_ms"] <= 100
    assert recommendation["measurement"]["requests"] > 1000
    assert recommendation["hourly_cost_usd"] > 0
    assert document["trials"]["total"] == document["trials"]["confirmations"] + 8
    assert "trial  1/8" in done.err
    assert "proof  3/3" in done.err


def test_quiet_keeps_the_answer_and_nothing_else(servetune, study):
    done = servetune("tune", study, "--quiet")
    assert done.out.startswith("killed: proven")
    assert done.err == ""


def test_a_finished_study_answers_again_at_once_by_file_and_by_name(servetune, study):
    first = servetune("tune", study, "--json")
    again = servetune("tune", study, "--json")
    by_name = servetune("recommend", "killed", "--json")
    assert json.loads(first.out) == json.loads(again.out) == json.loads(by_name.out)
    trials = json.loads(first.out)["trials"]["total"]
    assert f"going on after {trials} trials" in again.err
    assert servetune("status").out.strip() == "killed"
    assert servetune("status", "killed").out.count("\ntrial") == trials - 1


def test_an_unfinished_study_has_no_proven_answer(servetune, study):
    servetune("tune", study, "-q")
    spec, trials = read_study("sqlite:///servetune.db", "killed")
    part = open_history("sqlite:///part.db", spec)
    for trial in trials[:9]:  # the search, and one proof of several
        part.append(trial)
    done = servetune("recommend", "killed", "--storage", "sqlite:///part.db", "--json")
    document = json.loads(done.out)
    assert (done.code, document["conclusion"]) == (4, "unproven")
    assert document["recommendation"]["verdict"] == "undecided"


def test_nothing_feasible_is_exit_5_with_the_closest_miss(servetune, study):
    changed(study, "max: 100", "max: 3")
    done = servetune("tune", study)
    assert done.code == 5
    assert "closest" in done.out


def test_a_budget_too_small_for_a_proof_is_exit_8_before_anything_starts(servetune, study, tmp_path: Path):
    changed(study, "wall_time_s: 3000", "wall_time_s: 60")
    done = servetune("tune", study)
    assert (done.code, done.out) == (8, "")
    assert "raise budget.wall_time_s" in done.err
    assert servetune("plan", study).code == 8
    assert list(tmp_path.glob("*.db*")) == []


def test_a_budget_that_ends_before_the_proof_is_exit_4(servetune, study):
    changed(study, "wall_time_s: 3000", "wall_time_s: 120")
    changed(study, "[1, 2, 4]", "[4]")
    changed(study, "kind: simulated", "kind: simulated\n  options:\n    teardown_s: 60")
    done = servetune("tune", study)
    assert done.code == 4
    assert "unproven" in done.out


def test_a_wrong_file_is_exit_2_with_its_place(servetune, study):
    changed(study, "cpu_cores", "cpu_coers")
    for command in ("validate", "plan", "tune", "recommend", "status", "report", "prices"):
        done = servetune(command, study)
        assert (done.code, done.out) == (2, "")
        assert "study.yaml:10:3: " in done.err
        assert "did you mean cpu_cores" in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("tune",),
        ("tune", "no-such-study"),
        ("tune", "no-such-file.yaml"),
        ("status",),
        ("nonsense",),
        ("clean", "--runner", "nonsense"),
    ],
)
def test_what_cannot_be_done_is_exit_2(servetune, arguments):
    done = servetune(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert done.err


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("max_batch_size: [1, 2, 4, 8]", "preprocess: [in_server, split]", "knows no knob 'preprocess'"),
        ("kind: simulated", "kind: simulated\n  options:\n    speed: 3", "no option 'speed'"),
        ("kind: simulated", "kind: local", "no model is named"),
    ],
)
def test_what_a_runner_cannot_do_is_exit_2_before_anything_starts(servetune, study, old: str, new: str, message: str):
    changed(study, old, new)
    done = servetune("tune", study)
    assert (done.code, done.out) == (2, "")
    assert message in done.err


def test_more_cores_than_the_machine_has_are_refused_by_plan(servetune, study, tmp_path: Path):
    shutil.copy(ROOT / "examples/quickstart/cls.onnx", tmp_path)
    changed(study, "name: virtual", "path: cls.onnx")
    changed(study, "kind: simulated", "kind: local")
    changed(study, "[1, 2, 4]", "[1, 1000]")
    done = servetune("plan", study)
    assert done.code == 2
    assert "cpu_cores 1000" in done.err


def test_looking_at_nothing_makes_no_storage(servetune, study, tmp_path: Path):
    servetune("recommend", study)
    servetune("recommend", "killed")
    servetune("status")
    assert list(tmp_path.glob("*.db*")) == []


def test_a_storage_in_a_folder_that_is_not_there_is_exit_2(servetune, study):
    done = servetune("tune", study, "--storage", "sqlite:///no/such/folder/x.db")
    assert done.code == 2
    assert "folder" in done.err


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ("sqlite:///", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("postgresql://127.0.0.1/none", "the storage cannot be used"),
        ("sqlite:////sys/x.db", "lock cannot be made"),
        ("nonsense", "the storage cannot be used"),
    ],
)
def test_a_storage_that_would_keep_nothing_is_exit_2_before_anything_starts(servetune, study, storage, message):
    done = servetune("tune", study, "--storage", storage)
    assert (done.code, done.out) == (2, "")
    assert message in done.err


def test_looking_at_a_study_by_file_writes_nothing(servetune, study, tmp_path: Path):
    servetune("tune", study, "-q")
    changed(study, "trials: 8", "trials: 10")
    before = (tmp_path / "servetune.db").read_bytes()
    for command in ("plan", "status", "recommend", "report"):
        servetune(command, study)
    assert (tmp_path / "servetune.db").read_bytes() == before


def test_a_changed_study_is_refused_not_mixed(servetune, study):
    servetune("tune", study, "-q")
    changed(study, "max: 100", "max: 90")
    done = servetune("tune", study)
    assert done.code == 2
    assert "other content" in done.err
    assert "slos" in done.err


def test_the_report_is_one_file_and_the_same_every_time(servetune, study, tmp_path: Path):
    servetune("tune", study, "--report", "a.html")
    done = servetune("report", "killed", "-o", "b.html")
    assert done.code == 0
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert "killed" in (tmp_path / "a.html").read_text()


def test_the_report_is_also_a_summary_and_a_table(servetune, study, tmp_path: Path):
    servetune("tune", study, "-q")
    for name in ("r.md", "r.csv"):
        assert servetune("report", "killed", "-o", name).code == 0
    assert "killed" in (tmp_path / "r.md").read_text()
    trials = json.loads(servetune("recommend", "killed", "--json").out)["trials"]["total"]
    lines = (tmp_path / "r.csv").read_text().splitlines()
    assert "knob.cpu_cores" in lines[0]
    assert len(lines) >= 1 + trials
    done = servetune("report", "killed", "-o", "r.pdf")
    assert (done.code, (tmp_path / "r.pdf").exists()) == (2, False)


def test_a_report_that_cannot_be_written_is_exit_2(servetune, study):
    unwritable = ("no/such/folder/r.html", ".", "")
    for place, said in (*((place, "cannot write") for place in unwritable), ("r.pdf", "no report")):
        done = servetune("report", study, "-o", place)
        assert (done.code, done.out) == (2, "")
        assert said in done.err


def test_a_report_that_cannot_be_written_is_refused_before_the_study_starts(servetune, study, tmp_path: Path):
    for place in ("no/such/folder/r.html", ".", "report.docx"):
        done = servetune("tune", study, "--report", place)
        assert (done.code, done.out) == (2, "")
        assert "writ" in done.err
    assert list(tmp_path.glob("*.db*")) == []


def test_a_template_in_place_of_a_folder_is_exit_2(servetune):
    assert servetune("init", ".").code == 2


def test_init_writes_a_study_that_tunes_and_never_over_another(servetune, tmp_path: Path):
    assert servetune("init").code == 0
    text = (tmp_path / "study.yaml").read_text()
    assert "apiVersion: servetune/v1" in text
    assert "\nresource,sku,term," in (tmp_path / "prices.csv").read_text()
    again = servetune("init")
    assert again.code == 2
    assert (tmp_path / "study.yaml").read_text() == text


def test_prices_and_schema_print(servetune, study):
    assert "made up for this test" in servetune("prices", study).out
    assert json.loads(servetune("schema").out)["properties"]


def test_clean_with_nothing_to_clean(servetune, monkeypatch, tmp_path: Path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    done = servetune("clean", "--dry-run")
    assert done.code == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_study_in_order_and_it_goes_on_afterwards(study, tmp_path: Path, number: int, code: int):
    changed(study, "trials: 8", "trials: 12")
    # Ten trials that take a while are left when the signal is sent, on any machine.
    changed(study, "window_s: 5", "window_s: 60")
    environment = {**os.environ, "SERVETUNE_STORAGE": f"sqlite:///{tmp_path}/h.db"}
    command = [sys.executable, "-m", "tuner", "tune", study]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        while "trial  2/12" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(number)
        out, err = process.communicate(timeout=240)
    assert (process.returncode, out) == (code, "")
    assert "goes on from here" in err
    done = subprocess.run([*command, "-q"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("reader", "code", "message"), [("| true", 5, ""), ("> /dev/full", 7, "cannot be printed"), (">&-", 5, "")]
)
def test_a_stdout_that_takes_nothing_is_no_traceback_and_keeps_the_exit_code(study, reader, code: int, message: str):
    changed(study, "max: 100", "max: 3")
    storage = f"sqlite:///{Path(study).with_name('h.db')}"
    command = f"{sys.executable} -m tuner tune {study} -q --storage {storage} {reader}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert "bug" not in done.stderr


@pytest.mark.parametrize(
    "place",
    [
        "tests:S3cret@127.0.0.1:1/none",
        "tests:S3cret@x@127.0.0.1:port/none",
        "127.0.0.1:1/none?user=tests&password=S3cret",
        "tests:S3cret@[::1/none",
    ],
)
@pytest.mark.parametrize("command", ["tune", "status", "report"])
def test_the_password_of_a_storage_is_never_printed(servetune, study, place, command):
    done = servetune(command, study, "--storage", f"postgresql://{place}")
    assert done.code == 2
    assert "the storage cannot be used" in done.err
    assert "S3cret" not in done.err + done.out


def test_a_study_in_postgresql_ends_as_in_a_file_and_nothing_shows_the_password(
    servetune, study, tmp_path: Path, postgres: PostgresServer, postgres_url: str
):
    in_file = servetune("tune", study, "--json")
    shared = servetune("tune", study, "--json", "--storage", postgres_url)
    assert (shared.code, shared.out) == (in_file.code, in_file.out)
    said = shared.err + shared.out
    for argv in (("report", "-o", "page.html"), ("status",), ("recommend",)):
        done = servetune(argv[0], study, *argv[1:], "--storage", postgres_url)
        assert done.code == in_file.code if argv[0] == "recommend" else done.code == 0
        said += done.err + done.out
    absent = servetune("status", "another", "--storage", postgres_url)
    assert "no study named 'another' in postgresql://tests:***@127.0.0.1" in absent.err
    wrong = servetune("status", study, "--storage", postgres_url.replace(postgres.password, "wr0ng-word"))
    assert "password authentication failed" in wrong.err
    said += absent.err + wrong.err + (tmp_path / "page.html").read_text()
    assert postgres.password not in said
    assert "wr0ng-word" not in said
