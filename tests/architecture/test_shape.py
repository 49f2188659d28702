"""The shape of the code, held by tests: doors, sizes, private names, and what `--help` loads."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("tuner", "load_profiles", "runners", "reports")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

# Library -> the only modules that may import it.
DOORS = {
    "typer": {
        "tuner.cli",
        "tuner.cli_export",
        "tuner.cli_gate",
        "tuner.cli_init",
        "tuner.cli_options",
        "tuner.cli_output",
        "tuner.cli_plan",
    },
    "optuna": {"tuner.history", "tuner.search.optuna_tpe"},
    "sqlalchemy": {"tuner.database", "tuner.history", "tuner.postgres_lease"},
    "skopt": {"tuner.search.skopt_surrogate"},
    "threadpoolctl": {"tuner.search.one_thread"},
    "ruamel": {"tuner.yaml_edit", "tuner.yaml_text"},
    "filelock": {"tuner.lease", "runners.server_environment"},
    "pandas": {"reports.tables"},
    "matplotlib": {"reports.charts"},
    "jinja2": {"reports.html_page"},
    "junitparser": {"reports.gate_junit"},
    "locust": {"load_profiles.locust_run"},
    "hdrh": {"load_profiles.running_latencies"},
    "httptools": {"load_profiles.http_answer"},
    "hpack": {"load_profiles.grpc_call"},
    "hyperframe": {"load_profiles.grpc_call"},
    "pynvml": {"runners.nvml"},
    "prometheus_client": {"runners.triton_metrics"},
    "tensorrt": set(),
    "kubernetes": {"runners.kubernetes_api"},
    "tenacity": {"runners.patience", "tuner.database"},
}
HEAVY = ("pandas", "matplotlib", "optuna", "skopt", "locust", "kubernetes", "tensorrt", "scipy", "numpy", "sklearn")


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> Iterator[tuple[str, str, int]]:
    """(module, name, line) for every import in a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "", node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name, node.lineno) for alias in node.names)


def test_each_library_has_its_door():
    breaches = [
        f"{module_of(path)}:{line} imports {module}"
        for path in SOURCES
        for module, _name, line in imported(path)
        if module.split(".")[0] in DOORS and module_of(path) not in DOORS[module.split(".")[0]]
    ]
    assert breaches == []


def test_no_underscore_name_crosses_modules():
    ours = tuple(f"{package}." for package in PACKAGES)
    breaches = [
        f"{module_of(path)}:{line} imports {name}"
        for path in SOURCES
        for module, name, line in imported(path)
        if module.startswith(ours) and name.startswith("_")
    ]
    assert breaches == []


def test_no_type_checking_block_hides_an_arrow():
    assert [module_of(path) for path in SOURCES if "TYPE_CHECKING" in path.read_text()] == []


def test_functions_are_short_and_files_are_small():
    too_long = [f"{module_of(path)} has {n} lines" for path in SOURCES if (n := path.read_text().count("\n")) > 400]
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > 50:
                    too_long.append(f"{module_of(path)}.{node.name} has {lines} lines")
    assert too_long == []


def test_no_code_that_can_run_foreign_code():
    """No pickle, no eval, no shell: files and options are data."""
    breaches: list[str] = []
    for path in SOURCES:
        breaches += [f"{module_of(path)}:{line}" for m, _n, line in imported(path) if m in ("pickle", "joblib", "dill")]
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec"):
                breaches.append(f"{module_of(path)}:{node.lineno} calls {node.func.id}")
            if isinstance(node, ast.keyword) and node.arg == "shell":
                breaches.append(f"{module_of(path)}:{node.lineno} passes shell=")
    assert breaches == []


@pytest.mark.parametrize("start", ["import tuner", "import tuner.cli"])
def test_starting_up_loads_no_heavy_library(start: str):
    code = f"import sys; {start}; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_help_loads_no_heavy_library():
    code = (
        "import sys, tuner.cli\n"
        "sys.argv = ['servetune', '--help']\n"
        "try: tuner.cli.main()\n"
        "except SystemExit: pass\n"
        f"print('loaded', [m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "tune" in done.stdout
    assert done.stdout.strip().endswith("loaded []")


def test_import_contracts_hold():
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout
