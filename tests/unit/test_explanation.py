"""Why this answer and no other one: what was measured is told apart from what is predicted."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from reports.explained import explained
from reports.html_page import page
from reports.markdown_summary import summary
from reports.numbers import rounding_for
from reports.study_report import study_report
from tests.specs import space_of
from tests.studies import PROVENANCE, a_proven_study
from tests.unit.reports.pages import read
from tests.worlds import a_measurement, a_problem, a_trial, explore, queue_world
from tuner.answer import Answer, answer_text, tune_document
from tuner.answer_explanation import probability
from tuner.domain.earlier import EarlierStudy, WarmStart
from tuner.domain.explanation import Change, Explanation, Ground, KnobWeight, Neighbour, measured_ground
from tuner.domain.recommendation import Candidate, candidates
from tuner.domain.slo import Slo
from tuner.domain.space import Configuration
from tuner.domain.trial import Confirmation, Infeasible, Level, Measured
from tuner.search.explanation import explanation_of
from tuner.search.grid import Grid
from tuner.search.structured_optimizer import StructuredOptimizer

SPACE = space_of(cpu_cores=(1, 2, 4, 8), max_batch_size=(1, 4, 16))
PROBLEM = a_problem(SPACE, max_replicas=2)


def a_candidate(replicas: int = 1, **knobs: int) -> Candidate:
    configuration = Configuration.of(knobs)
    return Candidate(
        configuration=configuration, replicas=replicas, unit_cost_per_hour=PROBLEM.unit_cost_per_hour(configuration)
    )


def an_explanation() -> Explanation:
    neighbours = (
        Neighbour(
            knob="cpu_cores",
            value="1",
            candidate=a_candidate(cpu_cores=1, max_batch_size=8),
            ground=Ground.OPEN,
            detail="",
            holds=0.4,
        ),
        Neighbour(
            knob="max_batch_size",
            value="1",
            candidate=a_candidate(cpu_cores=2, max_batch_size=1),
            ground=Ground.MEASURED,
            detail="latency_p99_ms 412 (limit 100)",
            holds=0.001,
        ),
    )
    step = Change(
        knob="cpu_cores",
        before="2",
        after="4",
        cost_per_hour=0.2,
        latency_ms=31.0,
        low_ms=25.0,
        high_ms=44.0,
        tested=False,
    )
    return Explanation(
        indicator="latency_p99_ms",
        limit_ms=100.0,
        neighbours=neighbours,
        knobs=(KnobWeight(knob="cpu_cores", factor=3.2), KnobWeight(knob="max_batch_size", factor=1.0)),
        changes=(step, replace(step, after="1", latency_ms=2000.0, low_ms=900.0, high_ms=9000.0)),
        tested_share=0.5,
        trials=8,
    )


class TestGrounds:
    @pytest.mark.parametrize(
        ("latency_ms", "ground"), [(400.0, Ground.MEASURED), (30.0, Ground.UNPROVEN)], ids=["over", "under"]
    )
    def test_a_measurement_speaks_for_its_own_number_of_replicas_only(self, latency_ms, ground):
        candidate = a_candidate(cpu_cores=2, max_batch_size=4)
        level = Level(replicas=1, measurement=a_measurement(offered_rps=120.0, latency_ms=latency_ms))
        history = [a_trial(PROBLEM, 0, candidate.configuration, Measured(levels=(level,)))]
        found = measured_ground(candidate, history, 3)
        assert found is not None
        assert found[0] is ground
        assert f"{latency_ms:g} (limit 100)" in found[1]
        assert measured_ground(replace(candidate, replicas=2), history, 3) is None

    def test_a_proof_that_failed_counts_more_than_the_screening_that_passed(self):
        candidate = a_candidate(cpu_cores=2, max_batch_size=4)
        good = Level(replicas=1, measurement=a_measurement(offered_rps=120.0, latency_ms=30.0))
        bad = Level(replicas=1, measurement=a_measurement(offered_rps=120.0, latency_ms=400.0))
        history = [
            a_trial(PROBLEM, 0, candidate.configuration, Measured(levels=(good,))),
            a_trial(PROBLEM, 1, candidate.configuration, Measured(levels=(bad,)), Confirmation(replicas=1, repeat=0)),
        ]
        found = measured_ground(candidate, history, 3)
        assert found is not None
        assert found[0] is Ground.REFUTED
        assert found[1].startswith("latency_p99_ms 400")

    def test_a_refusal_is_told_in_its_own_words(self):
        candidate = a_candidate(cpu_cores=1, max_batch_size=16)
        history = [a_trial(PROBLEM, 0, candidate.configuration, Infeasible(reason="out of memory"))]
        assert measured_ground(candidate, history, 3) == (Ground.CANNOT_SERVE, "out of memory")
        assert not Ground.CANNOT_SERVE.predicted


class TestAnyHistory:
    @pytest.mark.parametrize("make", [Grid, StructuredOptimizer])
    def test_every_cheaper_neighbour_has_a_ground_whoever_searched(self, make):
        optimizer = make(PROBLEM)
        history = explore(lambda: optimizer, PROBLEM, queue_world, trials=12)
        answer = candidates(history)[0]
        found = explanation_of(PROBLEM, history, answer, repeats=3, optimizer=optimizer)
        assert found is not None
        assert found == explanation_of(PROBLEM, history, answer, repeats=3, optimizer=None)
        index = SPACE.levels(answer.configuration)
        expected = {
            (c, r)
            for c in SPACE
            for r in (1, 2)
            if sum(a != b for a, b in zip(SPACE.levels(c), index, strict=True)) + (r != answer.replicas) == 1
            and r * PROBLEM.unit_cost_per_hour(c) < answer.cost_per_hour
        }
        assert {(one.candidate.configuration, one.candidate.replicas) for one in found.neighbours} == expected
        assert all(0.0 <= one.holds <= 1.0 for one in found.neighbours)
        assert all(one.low_ms <= one.latency_ms <= one.high_ms for one in found.changes)
        assert {one.knob for one in found.knobs} == {"cpu_cores", "max_batch_size", "replicas"}

    def test_nothing_is_predicted_where_no_latency_is_bounded(self):
        problem = replace(PROBLEM, slos=(Slo(indicator="error_ratio", max=0.01),))
        assert (
            explanation_of(problem, (), a_candidate(cpu_cores=1, max_batch_size=1), repeats=3, optimizer=None) is None
        )

    def test_nothing_is_predicted_of_what_is_outside_the_space(self):
        outside = a_candidate(cpu_cores=3, max_batch_size=1)
        assert explanation_of(PROBLEM, (), outside, repeats=3, optimizer=None) is None


class TestTelling:
    def test_the_terminal_says_what_is_predicted_and_what_was_measured(self):
        spec, trials, conclusion = a_proven_study()
        earlier = EarlierStudy(spec=replace(spec, name="before"), trials=trials, same_model=True)
        answer = Answer(
            spec=spec,
            history=trials,
            conclusion=conclusion,
            explanation=an_explanation(),
            warm=WarmStart(studies=(earlier,)),
        )
        text = answer_text(answer)
        assert "cpu_cores=1 (-50%): not tested, 40 % likely to hold" in text
        assert "max_batch_size=1 (same cost): measured over a limit: latency_p99_ms 412 (limit 100)" in text
        assert "cpu_cores 2 -> 4: p99 31 ms (25 to 44), +100%" in text
        assert "cpu_cores x3.2 between" in text
        assert "from study before: 8 trials" in text

    def test_the_document_holds_all_of_it_and_is_json(self):
        spec, trials, conclusion = a_proven_study()
        answer = Answer(spec=spec, history=trials, conclusion=conclusion, explanation=an_explanation())
        told = json.loads(tune_document(answer).model_dump_json())["explanation"]
        assert [one["predicted"] for one in told["cheaper_neighbours"]] == [True, False]
        assert told["changes"][0]["latency_low_ms"] == 25.0
        assert told["knobs"][0] == {"knob": "cpu_cores", "latency_factor": 3.2}

    def test_a_page_shows_intervals_within_their_axis_and_calls_overload_by_its_name(self):
        spec, trials, conclusion = a_proven_study()
        rounding = rounding_for(currency="USD", limits_ms=[100.0], costs_per_hour=[0.1])
        rows = explained(an_explanation(), a_candidate(cpu_cores=2, max_batch_size=8), rounding).changes
        assert [row.interval for row in rows] == ["25.0 to 44.0", "overloaded"]
        assert all(0.0 <= row.left <= row.middle <= row.right <= 1.0 for row in rows)
        report = study_report(spec, trials, conclusion, PROVENANCE, explanation=an_explanation())
        text = read(page(report)).text
        assert "Cheaper by one knob, and why not" in text
        assert "40 %" in text
        assert "One step away" in summary(report)
        assert "One step away" not in summary(study_report(spec, trials, conclusion, PROVENANCE))


@pytest.mark.parametrize(("share", "text"), [(0.0, "under 1 %"), (0.123, "12 %"), (1.0, "over 99 %")])
def test_no_prediction_is_certain(share, text):
    assert probability(share) == text
    assert math.isfinite(share)
