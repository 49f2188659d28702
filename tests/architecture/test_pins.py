"""The constraints that `uv run` resolves under are the hash-locked pins, and no file names a package index."""

from __future__ import annotations

import re
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
    for lock in [*ROOT.glob("*.lock"), *ROOT.glob("runners/*.lock")]:
        if lock.name == "uv.lock":
            continue
        text = lock.read_text()
        entries = re.split(r"\n(?=[a-zA-Z])", text[text.index("==") - 40 :] if "==" in text[:200] else text)
        unhashed = [entry.splitlines()[0] for entry in entries if "==" in entry and "--hash=sha256:" not in entry]
        assert unhashed == [], lock.name


def test_no_pin_says_where_it_is_fetched_from():
    """Where packages come from is each machine's own setting."""
    pinned = [
        ROOT / "requirements.lock",
        ROOT / "image.requirements.lock",
        *ROOT.glob("runners/*.lock"),
        *ROOT.glob("runners/*requirements.in"),
    ]
    assert len(pinned) >= 3
    for path in pinned:
        assert not re.search(r"://|--index|--extra-index|--find-links", path.read_text()), path.name
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]
    assert settings.keys().isdisjoint({"index", "index-url", "extra-index-url", "find-links", "sources"})


def test_the_image_has_the_same_pins_as_the_tests_and_no_tools_of_ours():
    """With the same hashes; `.ci/lock` writes both."""
    everything, image = ((ROOT / name).read_text() for name in ("requirements.lock", "image.requirements.lock"))
    entries = re.split(r"\n(?=[a-zA-Z])", image.strip())
    assert len(entries) > 50
    assert [entry.splitlines()[0] for entry in entries if entry not in everything] == []
    assert not re.search(r"^(mypy|ruff|kubernetes-validate)==", image, flags=re.MULTILINE)
