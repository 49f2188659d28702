"""CPU seconds of one suggestion against the length of the history and the size of the space: growth curves.

uv run python -m tests.benchmarks.search_cpu
"""

from __future__ import annotations

import random
import time

from tests.specs import space_of
from tests.worlds import a_problem, a_trial, queue_world
from tuner.domain.space import SearchSpace
from tuner.domain.trial import Trial
from tuner.search.problem import SearchProblem
from tuner.search.structured_optimizer import StructuredOptimizer

CASES = ((30, 1_000), (30, 5_000), (100, 5_000), (300, 5_000), (1_000, 5_000), (30, 100_000), (30, 1_000_000))


def a_space(size: int) -> SearchSpace:
    """About so many configurations of cores, GPU type and share, batch, instances and delay."""
    rest = max(1, round(size / (8 * 2 * 5 * 8)))
    instances = min(rest, 40)
    return space_of(
        cpu_cores=(1, 2, 3, 4, 6, 8, 12, 16),
        gpu_type=("T4", "V100"),
        gpu_memory_share=(0.125, 0.25, 0.5, 0.75, 1.0),
        max_batch_size=(1, 2, 4, 8, 16, 32, 64, 128),
        instances=tuple(range(1, instances + 1)),
        queue_delay_ms=tuple(range(max(1, round(rest / instances)))),
    )


def some_history(problem: SearchProblem, trials: int) -> list[Trial]:
    source = random.Random(7)
    picked = source.sample(range(len(problem.space)), min(trials, len(problem.space)))
    configurations = [problem.space.at(index) for index in picked]
    return [a_trial(problem, k, c, queue_world(c, (1,))) for k, c in enumerate(configurations)]


def suggestion_s(trials: int, size: int) -> tuple[float, float]:
    """(CPU seconds of the next suggestion, of the replay that a resume pays once)."""
    problem = a_problem(a_space(size), max_replicas=1)
    history = some_history(problem, trials + 1)
    optimizer = StructuredOptimizer(problem)
    started = time.process_time()
    optimizer.suggest(history[:-1])
    resumed = time.process_time() - started
    started = time.process_time()
    optimizer.suggest(history)
    return time.process_time() - started, resumed


def main() -> None:
    print("  trials  configurations  CPU s a suggestion  CPU s to resume")
    for trials, size in CASES:
        each_s, resume_s = suggestion_s(trials, size)
        print(f"{trials:8d} {len(a_space(size)):15d} {each_s:19.3f} {resume_s:16.1f}", flush=True)


if __name__ == "__main__":
    main()
