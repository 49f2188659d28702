"""The gate as JUnit XML: one suite for the study, one case for each metric and each limit. The door to junitparser."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite
from junitparser.junitparser import FinalResult

from tuner.domain.slo import Verdict
from tuner.gate.result import GateResult, MetricVerdict, Outcome, SloVerdict
from tuner.gate.sequential import Change
from tuner.gate.words import changed, interval, margin, remark, slo_text, smallest_difference, verdict_line

GATE_ITSELF = {Outcome.INVALID, Outcome.BUDGET, Outcome.NOTHING_FEASIBLE}


def junit_xml(result: GateResult) -> str:
    """A REGRESSION that blocks is a failure, INCONCLUSIVE is skipped with a message, no measurement at all an error."""
    suite = TestSuite(_printable(f"servetune gate {result.study}"))
    for case in (*_metric_cases(result), *_slo_cases(result), *_whole_case(result)):
        suite.add_testcase(case)
    suite.add_property("outcome", result.outcome.value)
    suite.add_property("reproduce", _printable(result.reproduce))
    document = JUnitXml()
    document.add_testsuite(suite)
    document.update_statistics()  # type: ignore[no-untyped-call]
    stream = BytesIO()
    document.write(stream, pretty=True)
    return stream.getvalue().decode("utf-8")


def _metric_cases(result: GateResult) -> Iterator[TestCase]:
    for metric in result.metrics:
        case = TestCase(metric.metric, classname=_printable(f"gate.{result.study}"))
        words = _printable(_about(metric, result))
        if metric.blocks:
            case.result = [Failure(words, type_="REGRESSION")]
        elif metric.open:
            case.result = [Skipped(words, type_="INCONCLUSIVE")]
        else:
            case.system_out = words
        yield case


def _about(metric: MetricVerdict, result: GateResult) -> str:
    words = (
        f"{metric.change}: {metric.title} changed by {changed(metric, metric.shift)} "
        f"(95 % {interval(metric)}, margin {margin(metric)}, {metric.pairs} pairs)"
    )
    about = remark(metric)
    smallest = smallest_difference(result) if metric.change is Change.REGRESSION else ""
    return "; ".join([words, *([about] if about else []), *([f"differs in {smallest}"] if smallest else [])])


def _slo_cases(result: GateResult) -> Iterator[TestCase]:
    for slo in result.slos:
        case = TestCase(_printable(slo.slo), classname=_printable(f"gate.{result.study}.slo"))
        case.result = _slo_result(slo)
        if not case.result:
            case.system_out = _printable(slo_text(slo))
        yield case


def _slo_result(slo: SloVerdict) -> list[FinalResult]:
    words = _printable(slo_text(slo))
    if slo.verdict is Verdict.FAIL:
        return [Failure(words, type_="SLO")]
    return [Skipped(words, type_="UNDECIDED")] if slo.verdict is Verdict.UNDECIDED else []


def _whole_case(result: GateResult) -> Iterator[TestCase]:
    """Where there is no verdict on any metric: what went wrong with the gate itself."""
    if result.outcome in GATE_ITSELF:
        case = TestCase("gate", classname=_printable(f"gate.{result.study}"))
        case.result = [Error(_printable(verdict_line(result)), type_=result.outcome.value)]
        yield case


def _printable(text: str) -> str:
    """Without characters that XML has no way to write."""
    return "".join(c if c in "\t\n" or (c >= " " and c not in "\ufffe\uffff" and not "\ud800" <= c <= "\udfff") else "?"
                   for c in text)  # fmt: skip
