from __future__ import annotations

import pytest

from runners.simulated_truth import true_p99_ms, truly_feasible
from tests.benchmarks.optimizers_on_simulated_gpu import STUDY, study
from tuner.domain.space import Configuration
from tuner.spec_file import load_spec

SPEC = load_spec(STUDY)


def a_point(**knobs: float | str) -> Configuration:
    return Configuration.of({"cpu_cores": 8, "gpu_type": "L40S", "gpu_memory_share": 0.75, "max_batch_size": 8} | knobs)


def test_the_example_is_as_large_as_it_says():
    assert len(SPEC.space) == 720
    assert SPEC.budget.trials == 72


@pytest.mark.parametrize("name", ["random", "tpe", "gp", "structured"])
def test_what_a_study_proves_on_the_simulated_gpus_is_truly_feasible(name):
    outcome = study(name, 5, trials=20)
    assert outcome.searched == 20 or (name == "structured" and outcome.searched < 20)
    assert outcome.winner is not None
    assert outcome.feasible


def test_a_study_on_the_virtual_clock_is_the_same_every_time():
    one, other = (study("random", 6, trials=8) for _ in range(2))
    assert (one.winner, one.proofs) == (other.winner, other.proofs)


def test_the_truth_has_no_answer_where_memory_is_short():
    too_large = a_point(gpu_type="T4", gpu_memory_share=0.25)
    assert true_p99_ms(SPEC, too_large, 1) == float("inf")
    assert not truly_feasible(SPEC, too_large, 6)


def test_the_truth_knows_that_more_replicas_hold_what_fewer_do_not():
    assert not truly_feasible(SPEC, a_point(), 1)
    assert truly_feasible(SPEC, a_point(), 2)
    assert true_p99_ms(SPEC, a_point(), 3) < true_p99_ms(SPEC, a_point(), 2) < 80.0 < true_p99_ms(SPEC, a_point(), 1)
