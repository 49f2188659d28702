"""`python -m tests.benchmarks.search_generated --first 0 --count 20`: trials to the cheapest spec on unseen physics.

Scenarios below 3000 were developed on; from 3000 on they are for reporting: nothing may be fitted to those.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from tests.benchmarks.scenario_generator import SURFACES, Config, Scenario, make
from tuner.search import stdio


class Program(Protocol):
    def __call__(self, message: dict[str, Any]) -> dict[str, Any]: ...


def program(name: str, scenario: Scenario, seed: int) -> Program:
    costs = [(c, float(k)) for c, k in zip(scenario.configs, scenario.costs, strict=True)]
    session = stdio.open_session(name, scenario.info, costs, seed)
    return lambda message: stdio.respond(session, message)


def study(scenario: Scenario, seed: int, *, budget: int, optimizer: str) -> list[dict[str, Any]]:
    ask = program(optimizer, scenario, seed)
    limit = scenario.info["p99_limit_ms"]
    best, safe = scenario.cheapest(1.0), scenario.cheapest(0.9)
    safe = best if np.isinf(safe) else safe
    index = {_key(c): k for k, c in enumerate(scenario.configs)}
    rows: list[dict[str, Any]] = []
    repeats: dict[int, int] = {}
    for _ in range(budget):
        started = time.process_time()
        answer = ask({"op": "suggest"})
        if answer.get("stop"):
            break
        i = index[_key(answer["config"])]
        repeats[i] = repeats.get(i, seed * 10) + 1
        result = scenario.trial(i, repeats[i])
        ask({"op": "observe", "config": answer["config"], "result": result})
        chosen = ask({"op": "recommend"}).get("config")
        think = time.process_time() - started
        j = None if chosen is None else index[_key(chosen)]
        fine = j is not None and scenario.true_p99(j) <= 1.02 * limit
        truly = scenario.true_p99(i) <= 1.02 * limit
        rows.append(
            {
                "robust": fine and scenario.costs[j] <= 1.05 * safe,
                "near": fine and scenario.costs[j] <= 1.05 * best,
                "false": j is not None and not fine,
                "hit": bool(truly and scenario.costs[i] <= 1.05 * best and result["slo_met"]),
                "minutes": result["test_seconds"] / 60,
                "think": think,
                "regret": float(scenario.costs[j] / best) if fine else 9.9,
            }
        )
    return rows


def _key(config: Config) -> str:
    return json.dumps(config, sort_keys=True)


def line(name: str, studies: list[list[dict[str, Any]]], budget: int) -> str:
    def share(key: str, n: int) -> str:
        return f"{100 * np.mean([r[min(n, len(r)) - 1][key] if r else False for r in studies]):4.0f}%"

    hits = [next((t + 1 for t, x in enumerate(r) if x["hit"]), 10 * budget) for r in studies]
    middle, tail = (float(np.quantile(hits, q, method="higher")) for q in (0.5, 0.9))
    minutes = np.median([sum(x["minutes"] for x in r) for r in studies])
    thinking = [x["think"] for r in studies for x in r]
    return (
        f"{name:28s} robust@8/12/18/end{share('robust', 8)}{share('robust', 12)}{share('robust', 18)}"
        f"{share('robust', 10**6)}  near@end{share('near', 10**6)}  false@end{share('false', 10**6)}"
        f"  hit {middle:.0f}/{tail:.0f}  trials {np.median([len(r) for r in studies]):.0f}  min {minutes:.0f}"
        f"  cpu {np.mean(thinking):.3f}/{max(thinking):.2f} s"
    )


@dataclass(frozen=True, slots=True)
class Job:
    """One study of one scenario."""

    number: int
    kind: str | None
    seed: int
    budget: int
    optimizer: str


def one(job: Job) -> tuple[str, str, str, list[dict[str, Any]]]:
    """The scenario's name and kind, a line about the study, and the study."""
    scenario = make(job.number, job.kind)
    rows = study(scenario, job.seed, budget=job.budget, optimizer=job.optimizer)
    end = rows[-1]
    flags = "".join(c if end[k] else "-" for c, k in (("R", "robust"), ("N", "near"), ("F", "false")))
    hit = next((t + 1 for t, x in enumerate(rows) if x["hit"]), 0)
    said = (
        f"  {scenario.name:32s} {len(scenario.configs):5d} {scenario.law['arrivals']:8s} seed {job.seed} {flags}"
        f" hit {hit:3d} trials {len(rows):3d} regret {end['regret']:.3f}"
    )
    return scenario.name, scenario.kind, said, rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--budget", type=int, default=30)
    parser.add_argument("--kind", default=None)
    parser.add_argument("--optimizer", default="structured")
    parser.add_argument("--processes", type=int, default=2)
    a = parser.parse_args()
    numbers, seeds = range(a.first, a.first + a.count), range(a.seeds)
    jobs = [Job(number, a.kind, seed, a.budget, a.optimizer) for number in numbers for seed in seeds]
    print(f"{a.optimizer}: scenarios {numbers[0]} to {numbers[-1]}, {a.seeds} seeds, at most {a.budget} trials")
    everything: list[tuple[str, list[dict[str, Any]]]] = []
    with ProcessPoolExecutor(a.processes, initializer=os.nice, initargs=(10,)) as pool:
        for _name, kind, said, rows in pool.map(one, jobs):
            everything.append((kind, rows))
            print(said, flush=True)
    for kind in sorted({k for k, _ in everything}):
        print(line(kind, [r for k, r in everything if k == kind], a.budget))
    servers = [r for k, r in everything if k not in SURFACES]
    if servers:
        print(line("all that a server could be", servers, a.budget))
    print(line("all", [r for _, r in everything], a.budget))


if __name__ == "__main__":
    main()
