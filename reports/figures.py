"""The figures of a page: which there are, what each says to a reader who does not see it, and its themed SVG."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from reports.charts import COLOURS, DrawingName, drawing
from reports.numbers import INFINITE, count
from reports.study_report import StudyReport
from reports.svg_text import themed
from reports.trial_rows import LevelRow
from tuner.domain.slo import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One figure: its SVG text, and what the caption says."""

    name: DrawingName
    title: str
    description: str
    svg: str


def charts_of(report: StudyReport) -> tuple[Chart, ...]:
    """The figures that this study has something to show for, in reading order."""
    if not report.trials:
        return ()
    percentile = report.axes.percentile
    figures: list[tuple[DrawingName, str, str]] = []
    if any(row.levels for row in report.trials):
        figures += [
            ("latency", "Latency against offered load", latency_description(report)),
            ("cost", f"Cost against {percentile}", cost_description(report)),
        ]
    figures += [
        ("progress", "Search progress", progress_description(report)),
        ("time", "Where the time went", time_description(report)),
    ]
    return tuple(_chart(name, title, text, report) for name, title, text in figures)


def _chart(name: DrawingName, title: str, description: str, report: StudyReport) -> Chart:
    svg = themed(drawing(name, report), name=name, title=title, description=description, colours=COLOURS)
    return Chart(name=name, title=title, description=description, svg=svg)


def latency_description(report: StudyReport) -> str:
    """What a reader who does not see the figure should know."""
    levels = [level for row in report.trials for level in row.levels]
    missed = sum(level.verdict is Verdict.FAIL for level in levels)
    return (
        f"{report.axes.percentile} of {count(len(levels), 'measured load level')}; "
        f"{missed} certainly missed an objective.{_endless(levels)}"
    )


def _endless(levels: Iterable[LevelRow]) -> str:
    found = any(math.isinf(level.judged.raw) for level in levels)
    return f" At {INFINITE}: the percentile fell on a request without an answer." if found else ""


def cost_description(report: StudyReport) -> str:
    unmeasured = sum(row.shown is None for row in report.trials)
    tail = f"; {unmeasured} could not be measured and {'sits' if unmeasured == 1 else 'sit'} above the plot"
    shown = [row.shown for row in report.trials if row.shown is not None]
    return f"{count(len(report.trials), 'trial')}{tail if unmeasured else ''}.{_endless(shown)}"


def progress_description(report: StudyReport) -> str:
    best = [row.best_so_far for row in report.trials if row.best_so_far is not None]
    if not best:
        return "No trial was plausible, so there is no lowest cost yet."
    if best[0].text == best[-1].text:
        return f"The lowest plausible cost was {best[0].text} {report.axes.currency} an hour from the first one on."
    return f"The lowest plausible cost fell from {best[0].text} to {best[-1].text} {report.axes.currency} an hour."


def time_description(report: StudyReport) -> str:
    return f"{report.tally[0].upper()}{report.tally[1:]}."
