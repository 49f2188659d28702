"""The CI templates do what they say: their own steps, run by bash against the real command."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from junitparser import JUnitXml
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.gate_runs import study_file
from tuner.yaml_text import parse_yaml, plain

CI = Path(__file__).parents[2] / "examples" / "ci"
BINARIES = Path(sys.executable).parent
# What GitHub's own client would do, with the comments in a file instead of on a server.
GH = """#!/usr/bin/env bash
set -eu
echo "$@" >> "$CALLS"
case "$*" in
  *"--method PATCH"*|*"--method POST"*) for last; do :; done; cp "${last#body=@}" "$POSTED" ;;
  *) if [ -s "$POSTED" ] && [ "$(head -n 1 "$POSTED")" = "$MARKER" ]; then echo 42; fi ;;
esac
"""


def read(path: Path) -> Any:
    document = parse_yaml(path.read_bytes(), str(path))
    assert document.problems == ()
    return plain(document.root)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("locked")
    study_file(folder)
    for words in (("tune", "study.yaml", "-q"), ("baseline", "update", "study.yaml", "--reason", "first release")):
        subprocess.run([BINARIES / "servetune", *words], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def folder(locked: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(locked, tmp_path / "checkout"))


def bash(script: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("SERVETUNE_", "GITHUB_"))}
    path = f"{folder}/bin:{BINARIES}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=folder,
        env=inherited | environment | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


class Action:
    """The composite action's steps, one after the other, as GitHub runs them."""

    def __init__(self, folder: Path, **inputs: str) -> None:
        self.folder = folder
        self.action = read(CI / "github" / "action.yml")
        stated = {name: str(one.get("default", "")) for name, one in self.action["inputs"].items()}
        self.values = {f"inputs.{name}": value for name, value in (stated | inputs).items()}
        self.values |= {"github.repository": "team/serving", "github.event.pull_request.number": "7"}
        self.files = {name: folder / name.lower() for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        client = folder / "bin" / "gh"
        client.parent.mkdir(exist_ok=True)
        client.write_text(GH)
        client.chmod(0o755)

    def run(self) -> list[subprocess.CompletedProcess[str]]:
        for path in self.files.values():
            path.write_text("")
        done = []
        for step in self.action["runs"]["steps"]:
            environment = {name: self.filled(text) for name, text in step["env"].items()}
            own = {"CALLS": str(self.folder / "calls"), "POSTED": str(self.folder / "posted.md")}
            own |= {name: str(path) for name, path in self.files.items()}
            done.append(bash(step["run"], self.folder, environment | own))
            for line in self.files["GITHUB_OUTPUT"].read_text().splitlines():
                name, _, value = line.partition("=")
                self.values[f"steps.{step.get('id')}.outputs.{name}"] = value
        return done

    def filled(self, text: str) -> str:
        return re.sub(r"\$\{\{ ([\w.-]+) \}\}", lambda found: self.values.get(found[1], ""), text)


def test_the_action_passes_a_release_that_is_as_it_was_and_comments_once(folder: Path):
    action = Action(folder, study="study.yaml")
    gate, comment, verdict = action.run()
    assert (gate.returncode, comment.returncode, verdict.returncode) == (0, 0, 0), gate.stderr + comment.stderr
    assert json.loads((folder / "servetune-gate/gate.json").read_text())["outcome"] == "passed"
    assert list(JUnitXml.fromfile(str(folder / "servetune-gate/gate.xml")))
    assert (folder / "github_step_summary").read_text()
    action.run()
    calls = (folder / "calls").read_text().splitlines()
    (post,) = [call for call in calls if "--method POST" in call]
    (patch,) = [call for call in calls if "--method PATCH" in call]
    assert "repos/team/serving/issues/7/comments" in post
    assert "repos/team/serving/issues/comments/42" in patch
    assert (folder / "posted.md").read_text() == (folder / "servetune-gate/gate.md").read_text()


def test_the_action_fails_with_the_gates_own_exit_code_and_annotates(folder: Path):
    study_file(folder, ("max: 100", "max: 12"))
    gate, comment, verdict = Action(folder, study="study.yaml", arguments="--storage sqlite:///other.db").run()
    assert (gate.returncode, comment.returncode, verdict.returncode) == (0, 0, 3)
    assert "::error title=servetune gate" in gate.stderr


def test_a_gate_that_cannot_begin_writes_no_comment(folder: Path):
    gate, comment, verdict = Action(folder, study="study.yaml", lock="nothere.json").run()
    assert (gate.returncode, comment.returncode, verdict.returncode) == (0, 0, 6)
    assert not (folder / "calls").exists()


def test_nothing_in_an_input_is_run(folder: Path):
    evil = "$(touch pwned); touch pwned; `touch pwned`"
    gate, _, verdict = Action(folder, study=f"study.yaml{evil}", mode="check", arguments=evil).run()
    assert (gate.returncode, verdict.returncode) == (0, 2)
    assert not (folder / "pwned").exists()
    scripts = [step["run"] for step in read(CI / "github" / "action.yml")["runs"]["steps"]]
    assert not any("${{" in script for script in scripts)


def test_what_an_earlier_run_left_is_not_taken_for_this_ones(folder: Path):
    stale = folder / "servetune-gate"
    stale.mkdir()
    for path in [stale / "gate.json", stale / "gate.md", stale / "gate.xml", folder / "gate.json", folder / "gate.md"]:
        path.write_text("passed")
    gate, comment, verdict = Action(folder, study="study.yaml", lock="nothere.json").run()
    assert (gate.returncode, comment.returncode, verdict.returncode) == (0, 0, 6)
    assert list(stale.iterdir()) == []
    assert not (folder / "calls").exists()
    assert gitlab(folder, LOCK="nothere.json").returncode == 6
    assert not (folder / "gate.json").exists()
    assert not (folder / "gate.md").exists()


def test_arguments_may_stand_on_several_lines(folder: Path):
    words = "--storage sqlite:///other.db\n--openmetrics\nsecond.txt\n"
    assert Action(folder, study="study.yaml", arguments=words).run()[2].returncode == 0
    assert (folder / "second.txt").is_file()
    assert gitlab(folder, ARGUMENTS="--storage sqlite:///other.db\n--on-inconclusive warn").returncode == 0


def test_a_comment_that_may_not_be_written_fails_no_build():
    steps = {step["name"]: step for step in read(CI / "github" / "action.yml")["runs"]["steps"]}
    assert [name for name, step in steps.items() if step.get("continue-on-error")] == ["Comment"]


def gitlab(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    job = read(CI / "gitlab" / "servetune-gate.gitlab-ci.yml")["servetune-gate"]
    return bash("\n".join(job["script"]), folder, job["variables"] | variables)


def test_the_gitlab_job_passes_and_leaves_every_report_it_names(folder: Path):
    done = gitlab(folder)
    assert done.returncode == 0, done.stderr
    artifacts = read(CI / "gitlab" / "servetune-gate.gitlab-ci.yml")["servetune-gate"]["artifacts"]
    assert all((folder / name).is_file() for name in [*artifacts["paths"], *artifacts["reports"].values()])
    assert list(JUnitXml.fromfile(str(folder / artifacts["reports"]["junit"])))
    metrics = (folder / artifacts["reports"]["metrics"]).read_text()
    assert list(text_string_to_metric_families(metrics))


def test_the_gitlab_job_fails_with_the_gates_own_exit_code(folder: Path):
    assert gitlab(folder, LOCK="nothere.json").returncode == 6
