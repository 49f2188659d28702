"""Every optimizer on the search benchmark's ten tables, from one run; one line an optimizer.

    uv run python -m tests.benchmarks.searchbench_table PATH/searchbench.py [--seeds 10] [--budget 30] [--processes 2]

The benchmark is a program of its own that lies outside this repository; it defines the columns and the truth. The
tables were looked at while the search was written: figures on unseen scenarios are `search_generated`'s.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

from tuner.search.optimizers import OPTIMIZERS


def benchmark(path: str) -> ModuleType:
    """The benchmark's own code. Raises FileNotFoundError without it."""
    spec = importlib.util.spec_from_file_location("searchbench", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def study(path: str, optimizer: str, stem: str, seed: int, budget: int) -> list[dict[str, Any]]:
    module = benchmark(path)
    command = f"{sys.executable} -m tuner.search.stdio --optimizer {optimizer}"
    rows: list[dict[str, Any]] = module.study(command, module.Scenario(stem), seed, budget)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--budget", type=int, default=30)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--optimizers", nargs="*", default=sorted(OPTIMIZERS))
    options = parser.parse_args()
    stems = sorted(str(path.with_suffix("")) for path in (Path(options.path).parent / "scenarios").glob("*.npz"))
    print(f"{len(stems)} tables, {options.seeds} seeds, at most {options.budget} trials", flush=True)
    report = benchmark(options.path).report
    with ProcessPoolExecutor(options.processes, initializer=os.nice, initargs=(10,)) as pool:
        runs = {
            name: [
                pool.submit(study, options.path, name, stem, seed, options.budget)
                for stem in stems
                for seed in range(options.seeds)
            ]
            for name in options.optimizers
        }
        for name, jobs in runs.items():
            report(name, [job.result() for job in jobs], options.budget)


if __name__ == "__main__":
    main()
