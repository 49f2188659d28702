"""Where the gate's result goes: the screen, and a file for each system that reads one."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from tuner.assemble_gate import FORMATS, annotation_lines, step_summary
from tuner.commands import refuse_unwritable
from tuner.domain.errors import InfrastructureError, UsageError
from tuner.gate.result import GateResult
from tuner.gate.words import changed, cost_text, interval, margin, remark, slo_text, smallest_difference, verdict_line
from tuner.gate_document import gate_json

SUMMARY_VARIABLE = "GITHUB_STEP_SUMMARY"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateFiles:
    """What is asked for; names are those of FORMATS."""

    gate_json: Path | None = None
    junit: Path | None = None
    markdown: Path | None = None
    openmetrics: Path | None = None
    github: bool = False

    def wanted(self) -> dict[str, Path]:
        named = {
            "gate_json": self.gate_json,
            "junit": self.junit,
            "markdown": self.markdown,
            "openmetrics": self.openmetrics,
        }
        return {name: path for name, path in named.items() if path is not None}


def refuse_files(files: GateFiles) -> None:
    """Raises UsageError where something could not be written: asked before the minutes that fill it."""
    for path in files.wanted().values():
        refuse_unwritable(path)
    if files.github and SUMMARY_VARIABLE not in os.environ:
        raise UsageError(f"--github needs {SUMMARY_VARIABLE}", hint="it is set in every step of GitHub Actions")


def write_files(files: GateFiles, result: GateResult) -> None:
    """Annotations go to stderr, where GitHub reads them too. Raises InfrastructureError."""
    for name, path in files.wanted().items():
        _write(path, FORMATS[name](result), append=False)
    if files.github:
        _write(Path(os.environ[SUMMARY_VARIABLE]), step_summary(result), append=True)
        for line in annotation_lines(result):
            sys.stderr.write(line + "\n")


def _write(path: Path, text: str, *, append: bool) -> None:
    try:
        with path.open("a" if append else "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
    except OSError as error:
        raise InfrastructureError(f"cannot write {path}: {error.strerror}") from error


def gate_text(result: GateResult, *, json: bool) -> str:
    """The result for people, or as one JSON document."""
    if json:
        return gate_json(result)
    lines = [f"{result.study}: {verdict_line(result)}"]
    for metric in result.metrics:
        about = remark(metric)
        lines.append(
            f"  {metric.metric:15s} {metric.change:13s} {changed(metric, metric.shift):>8s} (95 % {interval(metric)}, "
            f"margin {margin(metric)}, {metric.pairs} pairs){'  ' + about if about else ''}"
        )
    lines += [f"  SLO        {slo_text(slo)}" for slo in result.slos]
    if result.cost is not None:
        lines.append(f"  cost       {cost_text(result.cost)}")
    smallest = smallest_difference(result)
    if smallest:
        lines.append(f"  differs    {smallest}")
    lines += [f"  note       {note}" for note in result.notes]
    return "\n".join([*lines, f"  again      {result.reproduce}"])
