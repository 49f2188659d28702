"""`python -m tests.benchmarks.search_generated --first 0 --count 20`: trials to the cheapest spec on unseen physics.

Scenarios below 1000 are for developing, from 1000 on for reporting: nothing may be fitted to those.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any, Protocol

import numpy as np

from tests.benchmarks.scenario_generator import Config, Scenario, make
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


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--budget", type=int, default=30)
    parser.add_argument("--kind", default=None)
    parser.add_argument("--optimizer", default="structured")
    a = parser.parse_args()
    everything: list[tuple[str, list[dict[str, Any]]]] = []
    for number in range(a.first, a.first + a.count):
        scenario = make(number, a.kind)
        for seed in range(a.seeds):
            rows = study(scenario, seed, budget=a.budget, optimizer=a.optimizer)
            everything.append((scenario.kind, rows))
            end = rows[-1]
            flags = "".join(c if end[k] else "-" for c, k in (("R", "robust"), ("N", "near"), ("F", "false")))
            hit = next((t + 1 for t, x in enumerate(rows) if x["hit"]), 0)
            print(
                f"  {scenario.name:32s} {len(scenario.configs):5d} {scenario.law['arrivals']:8s} seed {seed} {flags}"
                f" hit {hit:3d} trials {len(rows):3d} regret {end['regret']:.3f}",
                flush=True,
            )
    for kind in sorted({k for k, _ in everything}):
        print(line(kind, [r for k, r in everything if k == kind], a.budget))
    print(line("all", [r for _, r in everything], a.budget))


if __name__ == "__main__":
    main()
