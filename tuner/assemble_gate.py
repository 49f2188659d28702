"""The gate's outputs by name; part of `tuner.assemble`."""

from __future__ import annotations

from collections.abc import Callable

from tuner.gate.result import GateResult
from tuner.gate_document import gate_json


def _json(result: GateResult) -> str:
    return gate_json(result) + "\n"


def _junit(result: GateResult) -> str:
    from reports.gate_junit import junit_xml

    return junit_xml(result)


def _markdown(result: GateResult) -> str:
    from reports.gate_markdown import comment

    return comment(result)


def _openmetrics(result: GateResult) -> str:
    from reports.gate_openmetrics import metrics_report

    return metrics_report(result)


FORMATS: dict[str, Callable[[GateResult], str]] = {
    "gate_json": _json,
    "junit": _junit,
    "markdown": _markdown,
    "openmetrics": _openmetrics,
}


def step_summary(result: GateResult) -> str:
    """What GitHub shows below the job."""
    from reports.gate_markdown import summary

    return summary(result)


def annotation_lines(result: GateResult) -> tuple[str, ...]:
    """Workflow commands, the worst first."""
    from reports.gate_github import workflow_commands

    return workflow_commands(result)
