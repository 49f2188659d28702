"""Replays measured configurations: trials until a candidate is within 2 % of the best, for several optimizers.

    uv run python -m tests.benchmarks.search_real_data [--seeds 15]

Knobs are instances and maximum batch; the load needs about a hundred replicas of the best configuration, so that money
follows capacity: what one replica carried (best throughput over the concurrencies with p99 within 100 ms).
"""

from __future__ import annotations

import argparse
import csv
import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.specs import space_of
from tests.worlds import LIMIT_MS, World, a_measurement, a_problem, explore
from tuner.domain.cost import replicas_at_least
from tuner.domain.space import Configuration
from tuner.domain.trial import Level, Measured, Outcome
from tuner.ports import Optimizer
from tuner.search.optuna_tpe import OptunaTpe
from tuner.search.problem import SearchProblem
from tuner.search.random_search import RandomSearch
from tuner.search.structured_optimizer import StructuredOptimizer

TABLE = Path(__file__).parents[1] / "data" / "triton_titan_rtx_resnet50_vgg19.csv"
REPLICAS_OF_THE_BEST = 100
NEAR = 1.02
SCALE = 0.02  # so that a replayed window has few requests; only ratios matter
Curve = list[tuple[float, float]]
MAKERS: dict[str, Callable[[SearchProblem], Optimizer]] = {
    "random": RandomSearch,
    "tpe": OptunaTpe,
    "structured": StructuredOptimizer,
}


def curves(model: str) -> dict[tuple[int, int], Curve]:
    """(instances, max batch) -> (throughput, p99) per concurrency."""
    found: dict[tuple[int, int], Curve] = defaultdict(list)
    with TABLE.open() as lines:
        for row in csv.DictReader(lines):
            if row["model"] == model and row["config"] != "config_default":
                key = int(row["instances"]), int(row["max_batch_size"])
                found[key].append((SCALE * float(row["throughput_rps"]), float(row["latency_p99_ms"])))
    return found


def capacity_rps(curve: Curve) -> float:
    return max((rate for rate, p99 in curve if p99 <= LIMIT_MS), default=0.0)


def replay(table: dict[tuple[int, int], Curve], required_rps: float) -> World:
    """As the loop would: levels in turn, those skipped that the capacity just seen rules out."""

    def world(configuration: Configuration, replica_counts: tuple[int, ...]) -> Outcome:
        curve = table[int(configuration["instances"]), int(configuration["max_batch_size"])]
        carried, levels = capacity_rps(curve), list[Level]()
        for replicas in replica_counts:
            if levels and replicas < replicas_at_least(required_rps, carried):
                continue
            offered = required_rps / replicas
            enough = [p99 for rate, p99 in curve if rate >= offered]
            latency_ms = min(enough, default=math.inf)
            seen = (
                a_measurement(offered_rps=offered, latency_ms=latency_ms)
                if latency_ms <= LIMIT_MS
                else a_measurement(offered_rps=offered, latency_ms=900.0, carried_rps=carried)
            )
            levels.append(Level(replicas=replicas, measurement=seen))
            if latency_ms <= LIMIT_MS:
                break
        return Measured(levels=tuple(levels))

    return world


def trials_to_near(model: str, name: str, seed: int, budget: int) -> float:
    table = curves(model)
    best = max(map(capacity_rps, table.values()))
    space = space_of(
        instances=tuple(sorted({key[0] for key in table})), max_batch_size=tuple(sorted({key[1] for key in table}))
    )
    problem = replace(
        a_problem(space, max_replicas=2 * REPLICAS_OF_THE_BEST, seed=seed), required_rps=best * REPLICAS_OF_THE_BEST
    )
    optimizer = MAKERS[name](problem)
    history = explore(lambda: optimizer, problem, replay(table, problem.required_rps), trials=budget)
    unit = problem.unit_cost_per_hour(space.at(0))
    for k, trial in enumerate(history):
        if (trial.total_cost_per_hour or math.inf) <= NEAR * REPLICAS_OF_THE_BEST * unit:
            return k + 1
    return math.inf


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=15)
    parser.add_argument("--budget", type=int, default=30)
    chosen = parser.parse_args()
    for model in ("resnet50_libtorch", "vgg19_libtorch"):
        for name in MAKERS:
            found = [trials_to_near(model, name, seed, chosen.budget) for seed in range(chosen.seeds)]
            middle, tail = np.quantile(found, [0.5, 0.9], method="higher")
            print(
                f"{model:18s} {name:11s} trials to within 2 %: median {middle:g}, 90th percentile {tail:g}", flush=True
            )


if __name__ == "__main__":
    main()
