from __future__ import annotations

import pytest

from tests.builders import a_level, a_trial
from tests.deployables import an_unproven_answer
from tests.studies import SLOS, a_proven_study
from tuner.domain.capacity import Capacity
from tuner.domain.deployable import capacity_seen, deployable
from tuner.domain.recommendation import Proven
from tuner.domain.space import Configuration
from tuner.domain.trial import Confirmation, Infeasible, Measured

HERE = {"cpu_cores": 1, "max_batch_size": 8}


def test_a_proven_study_is_deployable_as_it_was_proven():
    spec, trials, conclusion = a_proven_study()
    assert isinstance(conclusion, Proven)
    of = deployable(spec, trials, conclusion)
    assert (of.unproven, of.replicas, of.deployments) == ("", 1, 3)
    assert of.configuration == Configuration.of({"cpu_cores": 2, "max_batch_size": 8})
    assert of.cost_per_month == pytest.approx(0.1 * 730)
    assert (of.replica_rps, of.cold_start_s, of.as_of) == (spec.required_rps, 4.2, "2026-11-22T12:00:07+00:00")


def test_an_unproven_one_says_why():
    of = an_unproven_answer()
    assert of.unproven == "the study has not finished"
    assert of.deployments == 0


def test_capacity_is_between_what_passed_and_what_failed():
    trials = [
        a_trial(0, configuration=HERE, outcome=Measured(levels=(a_level(1, offered_rps=300, median_ms=400.0),))),
        a_trial(1, configuration=HERE, outcome=Measured(levels=(a_level(2, offered_rps=150),))),
        a_trial(2, configuration=HERE, outcome=Measured(levels=(a_level(3, offered_rps=50),))),
        a_trial(3, configuration={**HERE, "cpu_cores": 4}, outcome=Measured(levels=(a_level(1, offered_rps=900),))),
        a_trial(4, configuration=HERE, outcome=Infeasible(reason="out of memory")),
    ]
    assert capacity_seen(Configuration.of(HERE), trials) == Capacity(low_rps=150.0, high_rps=300.0)


def test_proofs_are_pooled_before_they_are_judged():
    """Each alone is too short for a verdict, all three together pass."""
    proofs = [
        a_trial(
            number,
            purpose=Confirmation(replicas=2, repeat=number),
            configuration=HERE,
            outcome=Measured(levels=(a_level(2, requests=240, offered_rps=120, slos=SLOS[:1], seed=number),)),
        )
        for number in range(3)
    ]
    assert capacity_seen(Configuration.of(HERE), proofs[:1]) == Capacity(low_rps=0.0, high_rps=None)
    assert capacity_seen(Configuration.of(HERE), proofs).low_rps == pytest.approx(120.0)


def test_without_a_trial_nothing_is_known():
    assert capacity_seen(Configuration.of(HERE), ()) == Capacity(low_rps=0.0, high_rps=None)
