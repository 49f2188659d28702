"""The constraints that `uv run` resolves under are the hash-locked pins, and no file names a package index."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def pins(lock: Path) -> list[str]:
    return [line.removesuffix(" \\").strip() for line in lock.read_text().splitlines() if re.match(r"^[a-z].*==", line)]


def test_constraints_are_the_locked_pins():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    locked = pins(ROOT / "requirements.lock")
    assert len(locked) > 50
    assert project["tool"]["uv"]["constraint-dependencies"] == locked


def test_every_pin_has_a_hash():
    for lock in [ROOT / "requirements.lock", *ROOT.glob("runners/*.lock")]:
        text = lock.read_text()
        entries = re.split(r"\n(?=[a-zA-Z])", text[text.index("==") - 40 :] if "==" in text[:200] else text)
        unhashed = [entry.splitlines()[0] for entry in entries if "==" in entry and "--hash=sha256:" not in entry]
        assert unhashed == [], lock.name


def test_no_committed_file_names_a_package_index():
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, check=False, cwd=ROOT)
    if listed.returncode != 0:
        files = [path for path in ROOT.rglob("*.lock") if ".venv" not in path.parts]
    else:
        files = [ROOT / name for name in listed.stdout.split("\0") if name]
    host = re.compile(r"(pypi|files\.pythonhosted|registry\.npmjs|deb\.debian)\.(org|io)", re.IGNORECASE)
    naming = [path.name for path in files if path.is_file() and host.search(path.read_text(errors="ignore"))]
    assert [name for name in naming if name != "test_pins.py"] == []
