"""The scenario generator shares nothing with the search that it judges."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ALLOWED = {"__future__", "heapq", "itertools", "math", "collections.abc", "dataclasses", "typing", "numpy"}
GENERATOR = ("scenario_generator", "scenario_draws")


@pytest.mark.parametrize("module", GENERATOR)
def test_the_generator_imports_nothing_of_the_product(module: str):
    tree = ast.parse((ROOT / "tests" / "benchmarks" / f"{module}.py").read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names <= ALLOWED | {f"tests.benchmarks.{own}" for own in GENERATOR}


def test_the_product_imports_nothing_of_the_benchmarks():
    sources = [path for package in ("tuner", "runners", "reports") for path in (ROOT / package).rglob("*.py")]
    assert [path.name for path in sources if "from tests" in path.read_text()] == []
