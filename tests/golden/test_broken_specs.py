"""Over a hundred broken study files: each answered with its places, what is wrong, and what to write instead."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.golden_files import GOLDEN, matches_golden
from tuner.cli import main
from tuner.domain.errors import SpecError
from tuner.spec_file import load_spec

FOLDER = GOLDEN / "broken_specs"
FILES = sorted(FOLDER.glob("*.yaml"))
PLACE = re.compile(r"[a-z0-9_]+\.(yaml|csv):[0-9]+:[0-9]+: .+ \(.+\)|[a-z_]+\.yaml:[0-9]+:[0-9]+: .+")


@pytest.fixture(autouse=True)
def _in_their_folder(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(FOLDER)


def problems_of(file: str) -> str:
    with pytest.raises(SpecError) as caught:
        load_spec(Path(file))
    return str(caught.value)


def test_there_are_enough_of_them():
    assert len(FILES) >= 100


def test_each_problem_is_said_as_agreed():
    said = "".join(f"== {file.name}\n{problems_of(file.name)}\n" for file in FILES)
    assert matches_golden("broken_specs/problems.txt", said)


@pytest.mark.parametrize("file", [file.name for file in FILES])
def test_the_command_answers_with_places_and_exit_code_2(
    file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "argv", ["servetune", "validate", file])
    with pytest.raises(SystemExit) as exit_:
        main()
    captured = capsys.readouterr()
    assert exit_.value.code == 2
    assert captured.out == ""
    assert all(PLACE.fullmatch(line) for line in captured.err.splitlines()), captured.err


def test_places_lie_within_their_files():
    for file in FILES:
        with pytest.raises(SpecError) as caught:
            load_spec(Path(file.name))
        for problem in caught.value.problems:
            lines = Path(problem.file).read_text(encoding="utf-8-sig", errors="replace").split("\n")
            assert 1 <= problem.line <= len(lines), problem
            assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1, problem
