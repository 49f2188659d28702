"""Trials until the cheapest spec was hit, with and without an earlier study, on generated scenarios; one table.

    uv run python -m tests.benchmarks.warm_start [--first 4000] [--count 12] [--save]

A hit is a test of a configuration that truly meets the limit, met it in the test, and costs at most 5 % more than the
cheapest that does. Scenarios below 4000 are for developing, from 4000 on for reporting. The earlier study is a cold
search of the same scenario with one thing changed; `sibling` is another model on the same hardware, `misleading` claims
to be the same model and is not.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from tests.benchmarks import scenario_generator
from tests.benchmarks.scenario_draws import CATALOGUE, cost_of
from tests.benchmarks.scenario_generator import SURFACES, Scenario, make
from tuner.search.structured.earlier import NO_EARLIER, Earlier, estimate
from tuner.search.structured.engine import Step
from tuner.search.structured.observation import Observation
from tuner.search.structured.warm import WarmSearch
from tuner.search.structured_optimizer import DOUBT
from tuner.search.structured_protocol import observation_of, terrain_of

RESULTS = Path(__file__).parent / "results" / "warm_start.txt"
BUDGET = 30
EARLIER_TRIALS = 15
LARGEST = 2_500
NEAR = 1.05
MODEL_PARTS = ("flops", "core", "weights", "row_gb", "launch", "activation")
Change = Callable[[Scenario, np.random.Generator], Scenario]


def other_load(scenario: Scenario, source: np.random.Generator) -> Scenario:
    factor = float(source.choice([0.5, 0.7, 1.3]))
    return changed(scenario, info={"target_rps": scenario.info["target_rps"] * factor})


def other_slo(scenario: Scenario, source: np.random.Generator) -> Scenario:
    factor = float(source.choice([0.8, 1.3, 1.8]))
    return changed(scenario, info={"p99_limit_ms": scenario.info["p99_limit_ms"] * factor})


def other_prices(scenario: Scenario, source: np.random.Generator) -> Scenario:
    prices = {name: CATALOGUE[name][3] * float(source.lognormal(0, 0.5)) for name in scenario.info["gpu_price_h"]}
    core_price = float(source.choice([0.01, 0.03, 0.08]))
    costs = [cost_of(c, scenario.law, prices, core_price=core_price, premium=0.0) for c in scenario.configs]
    return replace(scenario, costs=np.array(costs), truths={})


def sibling(scenario: Scenario, source: np.random.Generator) -> Scenario:
    law = scenario.law | {part: scenario.law[part] * float(source.lognormal(0, 0.4)) for part in MODEL_PARTS}
    law["offset"] = scenario.law["offset"] + float(source.normal(0, 0.1))
    return replace(scenario, law=law, info=scenario.info | {"weights_gb": law["weights"]}, truths={})


def misleading(scenario: Scenario, source: np.random.Generator) -> Scenario:
    faster, slower = source.permutation([0.3, 3.0])
    law = scenario.law | {"flops": scenario.law["flops"] * faster, "core": scenario.law["core"] * slower}
    law |= {"amplitudes": source.permutation(scenario.law["amplitudes"])}
    return replace(scenario, law=law, truths={})


CHANGES: dict[str, Change] = {
    "other load": other_load,
    "other SLO": other_slo,
    "other prices": other_prices,
    "sibling model": sibling,
    "misleading": misleading,
}


def changed(scenario: Scenario, *, info: dict[str, float]) -> Scenario:
    return replace(scenario, info=scenario.info | info, truths={})


@dataclass(frozen=True, kw_only=True)
class Study:
    """One search: after how many trials it hit (None: never), how many it made, and what its last word was."""

    hit: int | None
    trials: int
    false: bool


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One scenario with one change."""

    name: str
    number: int
    cold: Study
    warm: Study


def search_it(
    scenario: Scenario, earlier: Earlier, *, seed: int, budget: int, judged: bool = True
) -> tuple[Study, tuple[Observation, ...]]:
    costs = [(c, float(k)) for c, k in zip(scenario.configs, scenario.costs, strict=True)]
    search = WarmSearch(terrain_of(scenario.info, costs, seed), earlier)
    limit = scenario.info["p99_limit_ms"]
    best = scenario.cheapest(1.0) if judged else np.inf
    hit, seen, repeats = None, [], dict[int, int]()
    for trial in range(1, budget + 1):
        step = search.now.suggest()
        if not isinstance(step, Step):
            break
        repeats[step.row] = repeats.get(step.row, 100 * seed) + 1
        result = scenario.trial(step.row, repeats[step.row])
        seen.append(observation_of(search.now.terrain, step.row, result))
        search.observe(seen[-1])
        if judged and hit is None and result["slo_met"] and scenario.costs[step.row] <= NEAR * best:
            hit = trial if scenario.true_p99(step.row) <= 1.02 * limit else None
    chosen = search.now.recommend()
    false = judged and chosen is not None and scenario.true_p99(chosen.row) > 1.02 * limit
    return Study(hit=hit, trials=len(seen), false=bool(false)), tuple(seen)


def told(before: Scenario, found: tuple[Observation, ...], name: str) -> Earlier:
    """The earlier study as the product would pass it on."""
    if name == "sibling model":
        costs = [(c, float(k)) for c, k in zip(before.configs, before.costs, strict=True)]
        fitted = estimate(terrain_of(before.info, costs, 0), found, same_model=False)
        return Earlier(parameters=() if fitted is None else (fitted,))
    return Earlier(observations=tuple(replace(one, doubt=DOUBT) for one in found))


def solvable(scenario: Scenario) -> bool:
    cheapest = scenario.cheapest(1.0)
    return bool(np.isfinite(cheapest) and np.mean(scenario.costs < cheapest) >= 0.02)


def compare(number: int, name: str) -> Compared | None:
    """None where the scenario is too large, or has no answer."""
    scenario_generator.TRUTH_REQUESTS = 20_000
    scenario = make(number)
    if len(scenario.configs) > LARGEST or (name == "misleading" and scenario.kind in SURFACES):
        return None
    before = CHANGES[name](scenario, np.random.default_rng([number, 77]))
    if not solvable(scenario):
        return None
    _, past = search_it(before, NO_EARLIER, seed=1, budget=EARLIER_TRIALS, judged=False)
    cold, _ = search_it(scenario, NO_EARLIER, seed=2, budget=BUDGET)
    warm, _ = search_it(scenario, told(before, past, name), seed=2, budget=BUDGET)
    return Compared(name=name, number=number, cold=cold, warm=warm)


def table(rows: list[Compared]) -> str:
    lines = [
        f"{'earlier study':<15}{'studies':>8}   {'trials to hit, median':>22}   {'mean':>10}   {'trials made':>12}"
        f"   {'warm better/same/worse':>23}   {'false':>7}",
        f"{'':<23}   {'cold / warm':>22}   {'cold/warm':>10}   {'cold / warm':>12}   {'':>23}   {'cold/warm':>7}",
    ]
    for name in CHANGES:
        pairs = [(row.cold, row.warm) for row in rows if row.name == name]
        if pairs:
            lines.append(_row(name, pairs))
    never = f"No hit counts as {2 * BUDGET} trials; budget {BUDGET}; the earlier study made {EARLIER_TRIALS} at most."
    numbers = sorted({row.number for row in rows})
    return "\n".join([*lines, "", never, f"Scenarios: {', '.join(map(str, numbers))}."]) + "\n"


def _row(name: str, pairs: list[tuple[Study, Study]]) -> str:
    hits = np.array([[one.hit or 2 * BUDGET for one in pair] for pair in pairs])
    middle, mean = np.median(hits, axis=0), hits.mean(axis=0)
    made = np.median([[one.trials for one in pair] for pair in pairs], axis=0)
    better, worse = int(np.sum(hits[:, 1] < hits[:, 0])), int(np.sum(hits[:, 1] > hits[:, 0]))
    false = [sum(pair[k].false for pair in pairs) for k in (0, 1)]
    return (
        f"{name:<15}{len(pairs):>8}   {f'{middle[0]:g} / {middle[1]:g}':>22}   {f'{mean[0]:.1f}/{mean[1]:.1f}':>10}"
        f"   {f'{made[0]:g} / {made[1]:g}':>12}   {f'{better}/{len(pairs) - better - worse}/{worse}':>23}"
        f"   {f'{false[0]}/{false[1]}':>7}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=4000)
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rows", type=Path, help="JSON lines of what is done; runs again where they end")
    parser.add_argument("--save", action="store_true", help=f"write {RESULTS.name}")
    options = parser.parse_args()
    numbers = range(options.first, options.first + options.count)
    rows, judged = stored(options.rows)
    with ProcessPoolExecutor(options.processes, initializer=os.nice, initargs=(10,)) as pool:
        runs = {
            (number, name): pool.submit(compare, number, name)
            for number in numbers
            for name in CHANGES
            if (number, name) not in judged
        }
        for (number, name), run in runs.items():
            found = run.result()
            rows += [found] if found else []
            line = json.dumps([number, name, asdict(found) if found else None])
            print(line, flush=True)
            if options.rows:
                with options.rows.open("a") as file:
                    file.write(line + "\n")
    text = table(rows)
    print(text, end="")
    if options.save:
        RESULTS.write_text(text)


def stored(path: Path | None) -> tuple[list[Compared], set[tuple[int, str]]]:
    """What an earlier run of this benchmark wrote."""
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path and path.is_file() else []
    rows = [
        Compared(name=name, number=number, cold=Study(**row["cold"]), warm=Study(**row["warm"]))
        for number, name, row in lines
        if row
    ]
    return rows, {(number, name) for number, name, _ in lines}


if __name__ == "__main__":
    main()
