"""Every example is a study that runs; the README names commands and packages that exist."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
import typer

from tuner import cli
from tuner.assemble import BENCHES, preflight
from tuner.search.optimizers import OPTIMIZERS
from tuner.spec_file import load_spec

ROOT = Path(__file__).parents[2]
STUDIES = sorted((ROOT / "examples").glob("*/study.yaml"))
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.parent.name)
def test_every_example_is_a_study_that_this_version_can_run(path: Path):
    spec = load_spec(path)
    assert len(spec.space) >= 100
    assert spec.runner.kind in BENCHES
    preflight(spec)


def test_the_simulated_example_ends_with_a_proven_spec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    study = str(ROOT / "examples/simulated-gpu/study.yaml")
    monkeypatch.setattr(
        sys, "argv", ["servetune", "tune", study, "--json", "-q", "--storage", f"sqlite:///{tmp_path}/h"]
    )
    with pytest.raises(SystemExit) as ended:
        cli.main()
    document = json.loads(capsys.readouterr().out)
    assert ended.value.code == 0
    assert document["space_size"] >= 720
    assert document["recommendation"]["verdict"] == "pass"
    assert document["recommendation"]["measurement"]["deployments"] == 3


def test_the_readme_names_every_command_and_no_other():
    table = README[README.index("## Commands") : README.index("STUDY is a study file")]
    named = set(re.findall(r"^\| `([\w-]+)` \|", table, flags=re.MULTILINE))
    assert named == set(typer.main.get_command(cli.app).commands)


def test_the_readmes_commands_are_commands():
    used = set(re.findall(r"^\$ uv run servetune (\w+)", README, flags=re.MULTILINE))
    assert {"tune", "init", "validate", "plan"} <= used <= set(typer.main.get_command(cli.app).commands)


def test_the_readmes_optimizers_and_runners_exist():
    scope = README[README.index("## Scope") : README.index("## Decisions")]
    assert all(f"`{name}`" in scope for name in [*OPTIMIZERS, *BENCHES])
