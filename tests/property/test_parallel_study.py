"""Whatever ends first, whatever fails, wherever it is cut: nothing is lost, doubled or overrun."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes import FakeLoad, FakeRunner, ListHistory, VirtualClock
from tests.specs import a_spec
from tests.unit.test_parallel_loop import PendingInOrder
from tuner.domain.errors import TransientFailure
from tuner.domain.load import LoadProfile
from tuner.domain.recommendation import Conclusion, Proven
from tuner.domain.space import Configuration
from tuner.domain.spec import Budget, RunnerSpec, StudySpec
from tuner.domain.trial import Confirmation, Failed, Search, Trial
from tuner.study import run_study
from tuner.trial_run import Bench


def two_cores_suffice(configuration: Configuration, _profile: LoadProfile) -> float:
    return 0.02 if configuration.number("cpu_cores", 1) >= 2 else 0.3


class AnyOrder:
    """Trials end in an order drawn by lot; the study is cut, as by a kill, once so many have ended."""

    def __init__(self, seed: int, ends: int) -> None:
        self._source, self._ended, self._left = random.Random(seed), [], ends

    def begin(self, work: Callable[[], Trial]) -> None:
        self._ended.append(work())

    def next_ended(self, *, within_s: float | None = None) -> Trial:
        if not self._left:
            raise KeyboardInterrupt
        self._left -= 1
        return self._ended.pop(self._source.randrange(len(self._ended)))


def study(spec: StudySpec, history: ListHistory, seed: int, *, ends: int, fails: float = 0.0) -> Conclusion | None:
    source, clock = random.Random(seed), VirtualClock()

    def refuse(_configuration: Configuration) -> None:
        if source.random() < fails:
            raise TransientFailure("port taken")

    bench = Bench(
        runner=FakeRunner(clock, refuse=refuse),
        load=FakeLoad(clock, two_cores_suffice),
        clock=clock,
        wall_clock=lambda: "then",
        open_lanes=lambda _most, _keep: nullcontext(AnyOrder(seed, ends)),
    )
    optimizer = PendingInOrder(spec)
    try:
        return run_study(spec, optimizer=optimizer, bench=bench, history=history, watch=lambda _event: None)
    except KeyboardInterrupt:
        return None


def checked(spec: StudySpec, history: ListHistory) -> None:
    trials = history.trials()
    searches = [trial for trial in trials if isinstance(trial.purpose, Search)]
    assert len(searches) <= spec.budget.trials
    taught = Counter(trial.configuration for trial in searches if not isinstance(trial.outcome, Failed))
    assert set(taught.values()) <= {1}
    proofs = Counter(
        (trial.configuration, trial.purpose)
        for trial in trials
        if isinstance(trial.purpose, Confirmation) and not isinstance(trial.outcome, Failed)
    )
    assert set(proofs.values()) <= {1}
    assert len({trial.number for trial in trials}) == len(trials)


@settings(max_examples=30, deadline=None)
@given(
    parallel=st.integers(2, 9),
    trials=st.integers(3, 8),
    seed=st.integers(0, 10_000),
    cuts=st.lists(st.integers(0, 7), max_size=4),
    fails=st.sampled_from([0.0, 0.2]),
)
def test_a_study_that_is_cut_and_goes_on_loses_and_doubles_nothing(
    parallel: int, trials: int, seed: int, cuts: list[int], fails: float
):
    runner = RunnerSpec(kind="simulated", parallel_trials=parallel)
    budget = Budget(trials=trials, wall_time_s=1e5, failed_trials=1000)
    spec = a_spec(runner=runner, budget=budget, load=replace(a_spec().load, target_rps=9.0))
    history = ListHistory()
    for position, ends in enumerate([*cuts, 10_000]):
        before = history.trials()
        conclusion = study(spec, history, seed + position, ends=ends, fails=fails)
        assert set(before) <= set(history.trials())
        checked(spec, history)
        if conclusion is not None:
            break
    # A number that a cut left free is given again if one is needed.
    assert max(trial.number for trial in history.trials()) < len(history.trials()) + parallel
    if not fails and trials >= 6:
        assert isinstance(conclusion, Proven)
        assert conclusion.evidence.candidate.configuration["cpu_cores"] == 2
    assert study(spec, history, seed, ends=10_000) == conclusion, "a finished study begins nothing"
