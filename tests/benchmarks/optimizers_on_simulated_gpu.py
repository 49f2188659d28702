"""Every optimizer on examples/simulated-gpu, over many seeds, through the real loop and its proofs; one table.

    uv run python -m tests.benchmarks.optimizers_on_simulated_gpu [--seeds 20] [--processes 2] [--save]

The yardstick is what `grid` recommends after trying all of the space; the truth is long runs on the average node.
Grid's own row has the same few trials as the others: in the order of the study file they are all on one core.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from runners.simulated_truth import truly_feasible
from tests.fakes import ListHistory
from tuner.assemble import make_optimizer, open_bench
from tuner.domain.events import Event
from tuner.domain.recommendation import Candidate, Proven
from tuner.domain.space import Configuration
from tuner.domain.spec import OptimizerName, SearchSpec, StudySpec
from tuner.domain.trial import Exhausted, Proposal, Search, Trial
from tuner.ports import Optimizer
from tuner.spec_file import load_spec
from tuner.study import run_study

STUDY = Path(__file__).parents[2] / "examples" / "simulated-gpu" / "study.yaml"
RESULTS = Path(__file__).parent / "results" / "optimizers_on_simulated_gpu.txt"
NAMES: tuple[OptimizerName, ...] = ("random", "grid", "tpe", "gp", "forest", "structured")
NEAR = 1.05


@dataclass
class Timed:
    """An optimizer, and how long it thought."""

    inner: Optimizer
    seconds: float = 0.0

    def suggest(self, history: Sequence[Trial], pending: Sequence[Configuration] = ()) -> Proposal | Exhausted:
        started_s = time.process_time()
        answer = self.inner.suggest(history, pending)
        self.seconds += time.process_time() - started_s
        return answer


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one study came to; `winner` is what it proved, and `feasible` what the truth says of that."""

    optimizer: OptimizerName
    winner: Candidate | None
    feasible: bool
    searched: int
    proofs: int
    suggest_s: float


def study(name: OptimizerName, seed: int, *, trials: int, spec: StudySpec | None = None) -> Outcome:
    """One study from an empty history. The fingerprint holds the seed, so that each study lands on other nodes."""
    spec = spec or load_spec(STUDY)
    spec = replace(
        spec,
        search=SearchSpec(optimizer=name, seed=seed),
        budget=replace(spec.budget, trials=trials, wall_time_s=1e9),
        fingerprint=f"{seed:08d}",
    )
    history, optimizer = ListHistory(), Timed(make_optimizer(spec))
    with open_bench(spec, _unwatched) as bench:
        conclusion = run_study(spec, optimizer=optimizer, bench=bench, history=history, watch=_unwatched)
    winner = conclusion.evidence.candidate if isinstance(conclusion, Proven) else None
    searched = sum(isinstance(trial.purpose, Search) for trial in history.trials())
    return Outcome(
        optimizer=name,
        winner=winner,
        feasible=winner is not None and truly_feasible(spec, winner.configuration, winner.replicas),
        searched=searched,
        proofs=len(history.trials()) - searched,
        suggest_s=optimizer.seconds / max(1, searched),
    )


def _unwatched(_event: Event) -> None:
    """Twenty studies at once have no one line of progress."""


def table(outcomes: Iterable[Outcome], exhaustive: Outcome, *, trials: int, seeds: int) -> str:
    """The table that the README quotes."""
    assert exhaustive.winner is not None
    optimum = exhaustive.winner
    size = exhaustive.searched
    lines = [
        f"examples/simulated-gpu: {size} configurations, {trials} search trials ({trials / size:.0%}), {seeds} seeds",
        f"grid over all {size}: {optimum.replicas} x [{optimum.configuration}]"
        f" at {optimum.cost_per_hour:.3f} an hour, truly feasible: {'yes' if exhaustive.feasible else 'NO'}",
        "",
        f"{'optimizer':<10} {'proven':>7} {'within 5 %':>11} {'truly feasible':>15} {'cost / optimum':>15}"
        f" {'proof runs':>11} {'s / suggestion':>15}",
    ]
    found_by = list(outcomes)
    by_name = {name: [o for o in found_by if o.optimizer == name] for name in NAMES}
    lines += [_row(name, found, optimum.cost_per_hour) for name, found in by_name.items() if found]
    lines += [
        "",
        "proven: studies that ended with a recommendation; within 5 %: of all studies, "
        "those whose recommendation costs",
        "at most 5 % more than grid's; truly feasible: of the recommendations; the last three columns are medians.",
    ]
    return "\n".join(lines) + "\n"


def _row(name: str, outcomes: Sequence[Outcome], optimum: float) -> str:
    won = [o for o in outcomes if o.winner is not None]
    ratios = [o.winner.cost_per_hour / optimum for o in won if o.winner is not None]
    near = sum(ratio <= NEAR + 1e-9 for ratio in ratios)
    return (
        f"{name:<10} {len(won):>4}/{len(outcomes):<2} {near / len(outcomes):>10.0%} "
        f"{f'{sum(o.feasible for o in won)} of {len(won)}':>15} "
        f"{(f'{statistics.median(ratios):.2f}' if ratios else '-'):>15} "
        f"{statistics.median(o.proofs for o in outcomes):>11.0f} "
        f"{statistics.median(o.suggest_s for o in outcomes):>15.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=72)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--save", action="store_true", help=f"write {RESULTS.name} beside this file")
    options = parser.parse_args()
    size = len(load_spec(STUDY).space)
    with ProcessPoolExecutor(options.processes, initializer=os.nice, initargs=(10,)) as pool:
        exhaustive = pool.submit(study, "grid", 0, trials=size)
        runs = [
            pool.submit(study, name, seed, trials=options.trials)
            for name in NAMES
            for seed in range(1, options.seeds + 1)
        ]
        text = table([run.result() for run in runs], exhaustive.result(), trials=options.trials, seeds=options.seeds)
    print(text, end="")
    if options.save:
        RESULTS.write_text(text)


if __name__ == "__main__":
    main()
