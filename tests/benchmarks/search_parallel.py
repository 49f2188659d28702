"""Four tests at a time against one at a time: regret after as many trials, and how unlike the proposals of a round are.

uv run python -m tests.benchmarks.search_parallel [--first 0] [--count 20] [--at-once 4] [--trials 32]
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np

from tests.benchmarks.scenario_generator import Scenario, make
from tuner.search.structured.engine import Step
from tuner.search.structured.observation import Ints
from tuner.search.structured_protocol import StructuredSession, observation_of

NONE = 9.9


@dataclass(frozen=True, slots=True)
class Ended:
    """Regret of the recommendation, trials, rounds, and the median over rounds of the fewest steps between two."""

    name: str
    regret: float
    trials: int
    rounds: int
    steps: float


def steps_between(scenario: Scenario, rows: list[int]) -> float:
    """The fewest steps, over all knobs together, between two of these configurations."""
    options = {name: [json.dumps(value) for value in values] for name, values in scenario.info["space"].items()}
    places = np.array([[options[n].index(json.dumps(v)) for n, v in scenario.configs[row].items()] for row in rows])
    apart = np.abs(places[:, None] - places[None]).sum(axis=2)
    return float(apart[np.triu_indices(len(rows), 1)].min())


def study(number: int, at_once: int, trials: int) -> Ended:
    scenario = make(number)
    costs = [(c, float(k)) for c, k in zip(scenario.configs, scenario.costs, strict=True)]
    search = StructuredSession(scenario.info, costs, number).search
    done, rounds, unlike = 0, 0, list[float]()
    while done < trials:
        asked: list[int] = []
        while len(asked) < min(at_once, trials - done):
            pending: Ints = np.array(asked, dtype=np.int64)
            step = search.suggest(pending, pending=pending)
            if not isinstance(step, Step):
                break
            asked.append(step.row)
        if not asked:
            break
        if len(asked) > 1:
            unlike.append(steps_between(scenario, asked))
        for row in asked:
            search.observe(observation_of(search.terrain, row, scenario.trial(row, done)))
            done += 1
        rounds += 1
    chosen = search.recommend()
    fine = chosen is not None and scenario.true_p99(chosen.row) <= 1.02 * scenario.info["p99_limit_ms"]
    regret = float(scenario.costs[chosen.row] / scenario.cheapest(1.0)) if chosen is not None and fine else NONE
    return Ended(scenario.name, regret, done, rounds, float(np.median(unlike)) if unlike else float("nan"))


def line(at_once: int, found: Sequence[Ended]) -> str:
    regrets = np.array([one.regret for one in found])
    said = (
        f"{at_once} at once: regret median {np.median(regrets):.3f}, 90th percentile"
        f" {np.quantile(regrets, 0.9, method='higher'):.3f}, within 5 % {np.mean(regrets <= 1.05):.0%};"
        f" trials {np.median([one.trials for one in found]):.0f}, rounds {np.median([one.rounds for one in found]):.0f}"
    )
    if at_once == 1:
        return said
    return f"{said}; steps between the nearest two of a round: {np.nanmedian([one.steps for one in found]):.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--trials", type=int, default=32)
    parser.add_argument("--processes", type=int, default=2)
    a = parser.parse_args()
    with ProcessPoolExecutor(a.processes, initializer=os.nice, initargs=(10,)) as pool:
        numbers = range(a.first, a.first + a.count)
        runs = {q: [pool.submit(study, number, q, a.trials) for number in numbers] for q in (1, a.at_once)}
        ended = {q: [job.result() for job in jobs] for q, jobs in runs.items()}
    print(f"scenarios {a.first} to {a.first + a.count - 1}, at most {a.trials} trials")
    for q, found in ended.items():
        print(line(q, found))


if __name__ == "__main__":
    main()
