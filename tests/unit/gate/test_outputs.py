"""Every output is read by a real parser of its format, also where names are hostile."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import jsonschema
import pytest
from junitparser import Error, Failure, JUnitXml, Skipped
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from reports.gate_github import workflow_commands
from reports.gate_junit import junit_xml
from reports.gate_markdown import MOST_COMMENT_BYTES, comment, marker, summary
from reports.gate_openmetrics import metrics_report
from tests.gate_runs import a_metric, a_result, an_slo
from tuner.domain.slo import Verdict
from tuner.gate.fingerprint import Difference
from tuner.gate.result import GateResult, Outcome, RunSummary, outcome_of
from tuner.gate.sequential import Change
from tuner.gate.words import summary_of
from tuner.gate_document import gate_json, gate_schema
from tuner.gate_outputs import gate_text

HOSTILE = 'a"<script>&amp;|`x`\n::error::\\ @everyone ]]> \x00 ${{ secrets.X }} ```'
OPEN = a_metric(change=Change.INCONCLUSIVE, shift=-0.04, low=-0.09, high=0.01)
WARNED = a_metric(level="warn", metric="latency_p95_ms", shift=0.2, low=0.15, high=0.25)
ERRATIC = a_metric(cv=0.3, erratic=True)


def hostile() -> GateResult:
    return a_result(
        study=HOSTILE,
        summary=HOSTILE,
        notes=(HOSTILE,),
        differences=(Difference(field="model", before=HOSTILE, after=HOSTILE),),
        slos=(an_slo(slo=HOSTILE, verdict=Verdict.FAIL),),
        metrics=(a_metric(title=HOSTILE, waived_by=HOSTILE),),
        reproduce=HOSTILE,
    )


@pytest.mark.parametrize("result", [a_result(), hostile()], ids=["plain", "hostile"])
def test_junit_is_read_by_a_parser_of_it(result):
    suites = JUnitXml.fromstring(junit_xml(result).encode())
    cases = [case for suite in suites for case in suite]
    assert len(cases) == len(result.metrics) + len(result.slos)
    assert suites.failures == sum(m.blocks for m in result.metrics) + sum(
        s.verdict is Verdict.FAIL for s in result.slos
    )


def test_junit_tells_failures_open_questions_and_errors_apart():
    result = a_result(metrics=(a_metric(), OPEN, WARNED, ERRATIC), slos=(an_slo(verdict=Verdict.UNDECIDED),))
    cases = [case for suite in JUnitXml.fromstring(junit_xml(result).encode()) for case in suite]
    kinds = [type(case.result[0]) if case.result else None for case in cases]
    assert kinds == [Failure, Skipped, None, None, Skipped]
    assert "differs in model" in cases[0].result[0].message
    broken = a_result(outcome=Outcome.BUDGET, metrics=(), slos=(), summary="too short")
    cases = [case for suite in JUnitXml.fromstring(junit_xml(broken).encode()) for case in suite]
    assert isinstance(cases[0].result[0], Error)


@pytest.mark.parametrize("result", [a_result(), hostile(), a_result(cost=None, metrics=())])
def test_openmetrics_is_read_by_prometheus_own_parser(result):
    text = metrics_report(result)
    assert text.endswith("# EOF\n")
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["servetune_gate_exit_code"].samples[0].value == result.exit_code
    changes = families["servetune_gate_change_ratio"].samples
    assert len(changes) == sum(metric.relative for metric in result.metrics)


def test_openmetrics_values_have_as_many_decimals_each_time():
    lines = [line for line in metrics_report(a_result()).splitlines() if "figure{" in line]
    assert {len(line.rsplit(".", 1)[1]) for line in lines} == {6}


@pytest.mark.parametrize("result", [a_result(), hostile(), a_result(mode="check", cost=None, runs=())])
def test_gate_json_fits_its_schema(result):
    schema = json.loads(gate_schema())
    jsonschema.Draft202012Validator.check_schema(schema)
    text = gate_json(result)
    jsonschema.validate(json.loads(text), schema)


def test_annotations_cannot_be_broken_out_of_and_the_worst_come_first():
    metrics = tuple(a_metric(metric=f"m{k}", shift=-0.1 - k / 100.0) for k in range(14))
    lines = workflow_commands(a_result(metrics=(*metrics, OPEN)))
    assert len([line for line in lines if line.startswith("::error ")]) == 10
    assert "m13" in lines[0]
    assert lines[-1].startswith("::warning ")
    for line in workflow_commands(hostile()):
        assert "\n" not in line
        assert line.startswith(("::error title=servetune gate%3A ", "::warning title=servetune gate%3A "))


def test_the_comment_is_found_again_by_its_marker_and_is_one_line_when_green():
    red, green = (
        a_result(),
        a_result(outcome=Outcome.PASSED, summary="nothing got worse", metrics=(a_metric(change=Change.SAME),)),
    )
    assert comment(red).splitlines()[0] == comment(green).splitlines()[0] == marker(red)
    assert len(comment(green).splitlines()) == 2
    assert len({marker(one) for one in (red, a_result(study="another"), a_result(mode="check"))}) == 3


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        (ERRATIC, "nothing blocks, but saturated_rps got worse (too noisy to block (CV 30%))"),
        (WARNED, "nothing blocks, but latency_p95_ms got worse (warns only)"),
        (a_metric(waived_by="ada"), "nothing blocks, but saturated_rps got worse (waived by ada)"),
        (replace(OPEN, erratic=True), "too noisy to judge: saturated_rps"),
    ],
)
def test_what_got_worse_and_does_not_block_is_told_and_shown(metric, said):
    calm = a_metric(change=Change.SAME)
    assert summary_of(Outcome.PASSED, (metric, calm), ()) == said
    assert summary_of(Outcome.PASSED, (calm,), ()) == "nothing got worse by more than its margin"
    text = comment(a_result(outcome=Outcome.PASSED, summary=said, metrics=(metric, calm)))
    assert "| Metric |" in text


def test_a_comment_that_would_be_too_long_loses_its_middle():
    runs = tuple(RunSummary(pair=k, side="deployed", readings=(("ü" * 50, 1.0),)) for k in range(5000))
    text = comment(a_result(runs=runs))
    assert len(text.encode()) <= MOST_COMMENT_BYTES
    assert "left out because it would be too long" in text
    assert text.rstrip().endswith("</details>")
    assert len(summary(a_result(runs=runs)).encode()) > MOST_COMMENT_BYTES


def test_names_make_no_markup_in_a_comment():
    text = comment(hostile())
    outside = re.sub(r"`[^`\n]*`", "", text.split("\n```")[0])
    assert "<script>" not in outside
    assert "@everyone" not in outside


@pytest.mark.parametrize(
    ("metrics", "slos", "expected"),
    [
        ((a_metric(),), (), Outcome.FAILED),
        ((ERRATIC,), (), Outcome.PASSED),
        ((a_metric(waived_by="ada"),), (), Outcome.PASSED),
        ((WARNED,), (), Outcome.PASSED),
        ((OPEN,), (), Outcome.INCONCLUSIVE),
        ((replace(OPEN, erratic=True),), (), Outcome.PASSED),
        ((OPEN, a_metric()), (), Outcome.FAILED),
        ((), (an_slo(),), Outcome.PASSED),
        ((), (an_slo(verdict=Verdict.UNDECIDED),), Outcome.INCONCLUSIVE),
        ((ERRATIC,), (an_slo(verdict=Verdict.FAIL),), Outcome.FAILED),
    ],
)
def test_the_outcome_follows_from_the_verdicts_alone(metrics, slos, expected):
    assert outcome_of(metrics, slos) is expected


def test_the_text_for_people_names_metric_interval_margin_and_difference():
    text = gate_text(a_result(), json=False)
    assert "saturated_rps   REGRESSION" in text
    assert "-23.1% (95 % -25.2% to -20.9%, margin -5%, 5 pairs)" in text
    assert "differs    model: cls sha256:aa -> cls sha256:bb" in text
    assert "0.1200 -> 0.1500 USD per hour (109.50 per month, newest price of 2026-11-20): prices +0.0300" in text
