"""Surfaces that no server has: is the search ever worse than chance where its knowledge is wrong?

    uv run python -m tests.benchmarks.search_structureless [--seeds 21] [--processes 2] [--only lottery] [--save]

Every seed draws its own surface over 720 configurations. The figure is the cost of the recommendation over that of the
cheapest feasible configuration after 30 and after 60 trials, median over the seeds; a recommendation that does not
hold counts as the dearest configuration, none at all as `none`. An optimizer that stops keeps its last recommendation.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner.search import stdio
from tuner.search.optimizers import OPTIMIZERS

RESULTS = Path(__file__).parent / "results" / "search_structureless.txt"
SPACE: dict[str, list[Any]] = {
    "gpu_type": ["T4", "L4", "A10G", "L40S", "A100-40"],
    "gpu_memory_share": [0.25, 0.5, 0.75, 1.0],
    "cpu_cores": [1, 2, 3, 4, 6, 8],
    "max_batch_size": [1, 2, 4, 8, 16, 32],
}
PRICES = {"T4": 0.35, "L4": 0.75, "A10G": 1.05, "L40S": 1.95, "A100-40": 3.3}
LIMIT_MS, RATE_RPS, NOISE = 50.0, 400.0, 0.03
CHECKPOINTS = (30, 60)
NONE = 99.0
Floats = NDArray[np.float64]


def configurations() -> tuple[list[dict[str, Any]], Floats]:
    configs = [dict(zip(SPACE, values, strict=True)) for values in itertools.product(*SPACE.values())]
    costs = [PRICES[c["gpu_type"]] * c["gpu_memory_share"] + 0.035 * c["cpu_cores"] for c in configs]
    return configs, np.array(costs)


def _lottery(costs: Floats, source: np.random.Generator) -> Floats:
    """One in ten holds, whichever."""
    return np.asarray(source.normal(1.28, 1.0, len(costs)))


def _plateau(costs: Floats, source: np.random.Generator) -> Floats:
    """All the same, except one in twenty, which hold."""
    return np.where(source.random(len(costs)) < 0.05, -0.5, 1.0)


def _smooth(costs: Floats) -> Floats:
    """As a server would: dearer is faster, and one in seven holds."""
    slowness = -np.log(costs)
    return np.asarray(1.5 * (slowness - np.quantile(slowness, 1.0 / 7.0)))


def _shuffled(costs: Floats, source: np.random.Generator) -> Floats:
    """A server's latencies, dealt out at random."""
    return np.asarray(source.permutation(_smooth(costs)))


def _reversed(costs: Floats, source: np.random.Generator) -> Floats:
    """Dearer is slower, with luck of each configuration's own; the very cheapest hold as often as not."""
    log_cost = np.log(costs)
    return np.asarray(1.5 * (log_cost - np.quantile(log_cost, 0.05)) + source.normal(0.0, 0.3, len(costs)))


def _deceptive(costs: Floats, source: np.random.Generator) -> Floats:
    """Dearer is faster down to a trap, where it ends; those that hold and are cheap lie on the other side of it."""
    rank = np.argsort(np.argsort(costs)) / len(costs)
    level = np.where(rank < 0.15, 0.2, 2.0 - 2.5 * rank)
    return np.asarray(level + source.normal(0.0, 0.3, len(costs)))


def _nothing_holds(costs: Floats, source: np.random.Generator) -> Floats:
    return np.asarray(0.2 + np.abs(source.normal(0.5, 0.5, len(costs))))


def _one_holds(costs: Floats, source: np.random.Generator) -> Floats:
    found = _nothing_holds(costs, source)
    found[source.integers(len(costs))] = -0.7
    return found


SURFACES: dict[str, Callable[[Floats, np.random.Generator], Floats]] = {
    "lottery": _lottery,
    "plateau": _plateau,
    "shuffled": _shuffled,
    "reversed": _reversed,
    "deceptive": _deceptive,
    "one holds": _one_holds,
    "nothing holds": _nothing_holds,
}


@dataclass(frozen=True, slots=True)
class Found:
    """Regret of the recommendation after each of CHECKPOINTS trials; NONE without one; the number of trials."""

    regrets: tuple[float, ...]
    trials: int


def study(optimizer: str, surface: str, seed: int, checkpoints: Sequence[int] = CHECKPOINTS) -> Found:
    configs, costs = configurations()
    place = {json.dumps(config, sort_keys=True): k for k, config in enumerate(configs)}
    severity = SURFACES[surface](costs, np.random.default_rng([seed, sorted(SURFACES).index(surface)]))
    best = float(costs[severity <= 0.0].min(initial=np.inf))
    info = {"space": SPACE, "target_rps": RATE_RPS, "p99_limit_ms": LIMIT_MS, "gpu_specs": {}}
    session = stdio.open_session(optimizer, info, list(zip(configs, costs.tolist(), strict=True)), seed)
    source, regrets, trials, ended = np.random.default_rng([seed, 1]), list[float](), 0, False
    for checkpoint in checkpoints:
        while trials < checkpoint and not ended:
            answer = session.answer("suggest")
            ended = bool(answer.get("stop"))
            if not ended:
                row = place[json.dumps(answer["config"], sort_keys=True)]
                session.observe(answer["config"], _result(float(severity[row]) + source.normal(0.0, NOISE)))
                trials += 1
        chosen = session.answer("recommend")["config"]
        row = None if chosen is None else place[json.dumps(chosen, sort_keys=True)]
        regrets.append(NONE if row is None else float(costs[row] if severity[row] <= 0.02 else costs.max()) / best)
    return Found(tuple(regrets), trials)


def _result(severity: float) -> dict[str, Any]:
    p99_ms = LIMIT_MS * float(np.exp(severity))
    return {
        "status": "ok",
        "offered_rps": RATE_RPS,
        "throughput_rps": RATE_RPS,
        "p50_ms": 0.4 * p99_ms,
        "p95_ms": 0.8 * p99_ms,
        "p99_ms": p99_ms,
        "frac_over": float(min(1.0, 0.01 * np.exp(4.0 * severity))),
        "n_requests": 20_000,
        "slo_met": p99_ms <= LIMIT_MS,
        "test_seconds": 100.0,
    }


def row(surface: str, optimizer: str, found: Sequence[Found]) -> str:
    cells = []
    for k in range(len(CHECKPOINTS)):
        regrets = [one.regrets[k] for one in found]
        middle = float(np.median(regrets))
        none = sum(regret == NONE for regret in regrets)
        cells.append(f"{'none' if middle == NONE else f'{middle:.2f}':>8} {none:>5}")
    return f"{surface:<14} {optimizer:<11}" + "  ".join(cells) + f" {np.median([one.trials for one in found]):>8.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=21)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", nargs="*", default=list(SURFACES), choices=list(SURFACES))
    parser.add_argument("--optimizers", nargs="*", default=sorted(OPTIMIZERS))
    parser.add_argument("--save", action="store_true", help=f"write {RESULTS.name} beside this file")
    options = parser.parse_args()
    lines = [
        f"{options.seeds} seeds; cost of the recommendation / cheapest that holds, median; studies without any",
        f"{'surface':<14} {'optimizer':<11}"
        + "  ".join(f"{f'after {n}':>8} {'none':>5}" for n in CHECKPOINTS)
        + f" {'trials':>8}",
    ]
    print("\n".join(lines), flush=True)
    with ProcessPoolExecutor(options.processes, initializer=os.nice, initargs=(10,)) as pool:
        runs = {
            (surface, name): [pool.submit(study, name, surface, seed) for seed in range(options.seeds)]
            for surface in options.only
            for name in options.optimizers
        }
        for (surface, name), jobs in runs.items():
            lines.append(row(surface, name, [job.result() for job in jobs]))
            print(lines[-1], flush=True)
    if options.save:
        RESULTS.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
