"""An answer is borderline when the interval of its percentile spans the limit; then the next dearer one is named."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from reports.study_report import study_report
from tests.builders import a_level, a_trial
from tests.studies import PROVENANCE, SLOS, a_told_spec, conclusion_of, proof_trials, search_trials
from tuner.answer import Answer, answer_text, tune_document
from tuner.domain.borderline import borderline, next_with_headroom, percentile_bounds_ms
from tuner.domain.histogram import LatencyCounts, count_latencies
from tuner.domain.recommendation import Candidate, Evidence, Unproven, evidence_for
from tuner.domain.space import Configuration
from tuner.domain.trial import Confirmation, Measured, Trial

TWO_CORES = Configuration.of({"cpu_cores": 2, "max_batch_size": 8})
ANSWER = Candidate(configuration=TWO_CORES, replicas=1, unit_cost_per_hour=0.1)


def proofs(*medians_ms: float) -> tuple[Trial, ...]:
    """One fresh deployment each; the 99th percentile of the log-normal is twice the median."""
    return tuple(
        a_trial(
            5 + repeat,
            purpose=Confirmation(replicas=1, repeat=repeat),
            configuration=TWO_CORES.as_dict(),
            outcome=Measured(levels=(a_level(1, slos=SLOS, requests=4000, seed=20 + repeat, median_ms=median_ms),)),
        )
        for repeat, median_ms in enumerate(medians_ms)
    )


def evidence(*medians_ms: float) -> tuple[Evidence, tuple[Trial, ...]]:
    trials = (*search_trials(), *proofs(*medians_ms))
    return evidence_for(ANSWER, trials), trials


class TestBounds:
    @pytest.mark.parametrize("seed", range(5))
    def test_they_hold_the_true_percentile_of_a_known_law(self, seed):
        source = random.Random(seed)
        counts = count_latencies([source.expovariate(1.0) for _ in range(20_000)])
        low_ms, high_ms = percentile_bounds_ms(counts, 99.0, 1.0)
        assert low_ms < 1000.0 * math.log(100.0) < high_ms
        assert high_ms / low_ms < 1.2

    def test_at_the_stated_confidence(self):
        source, missed = random.Random(1), 0
        for _ in range(600):
            counts = count_latencies([source.random() for _ in range(400)])
            low_ms, high_ms = percentile_bounds_ms(counts, 50.0, 1.0, confidence=0.9)
            missed += not low_ms <= 500.0 <= high_ms
        assert 20 <= missed <= 85

    def test_alike_neighbours_widen_them(self):
        counts = count_latencies([k / 1000.0 for k in range(5000)])
        narrow, wide = (percentile_bounds_ms(counts, 99.0, effect) for effect in (1.0, 4.0))
        assert wide[0] < narrow[0]
        assert wide[1] > narrow[1]

    def test_few_requests_bound_nothing_above(self):
        counts = LatencyCounts(counts=((1000, 100),))
        assert percentile_bounds_ms(counts, 99.0, 1.0)[1] == math.inf


class TestBorderline:
    def test_far_below_the_limit_it_is_not(self):
        assert borderline(*evidence(20.0, 20.0, 20.0), 3) is None

    def test_on_both_sides_of_the_limit_it_is_and_the_next_with_room_is_named(self):
        found = borderline(*evidence(50.0, 50.0, 50.0), 3)
        assert found is not None
        assert found.low_ms <= 100.0 < found.high_ms
        assert found.next_dearer is not None
        assert found.next_dearer.configuration["cpu_cores"] == 4

    def test_one_deployment_beyond_the_limit_is_enough(self):
        assert borderline(*evidence(35.0, 35.0, 52.0), 3) is not None

    def test_what_its_own_proof_refuted_is_no_headroom(self):
        refuted = a_trial(
            9,
            purpose=Confirmation(replicas=1, repeat=0),
            configuration={"cpu_cores": 4, "max_batch_size": 8},
            outcome=Measured(levels=(a_level(1, slos=SLOS, median_ms=400.0),)),
        )
        trials = (*search_trials(), refuted)
        assert next_with_headroom(ANSWER, search_trials(), 3) is not None
        assert next_with_headroom(ANSWER, trials, 3) is None


class TestTelling:
    def test_terminal_document_and_page_agree(self):
        found, trials = evidence(50.0, 50.0, 50.0)
        spec = a_told_spec()
        conclusion = Unproven(evidence=found, reason="its proof is undecided")
        answer = Answer(spec=spec, history=trials, conclusion=conclusion)
        told = tune_document(answer).recommendation
        assert told is not None
        assert told.borderline is not None
        assert told.borderline.next_dearer is not None
        assert told.borderline.next_dearer.configuration == {"cpu_cores": 4, "max_batch_size": 8}
        assert "borderline latency_p99_ms <= 100: it lies between" in answer_text(answer)
        assert "headroom   cpu_cores=4" in answer_text(answer)
        page = study_report(spec, trials, conclusion, PROVENANCE).answer.borderline
        assert page.startswith("Borderline: p99 lies between")
        assert "cpu_cores 4" in page

    def test_a_clear_answer_says_nothing_of_it(self):
        trials = (*search_trials(), *proof_trials())
        spec = replace(a_told_spec())
        conclusion = conclusion_of(spec, trials)
        assert "borderline" not in answer_text(Answer(spec=spec, history=trials, conclusion=conclusion))
        assert study_report(spec, trials, conclusion, PROVENANCE).answer.borderline == ""
