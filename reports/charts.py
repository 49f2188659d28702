"""The only importer of matplotlib: a StudyReport in, themed SVG text out, byte for byte the same every time."""

from __future__ import annotations

import io
import itertools
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator
from matplotlib.typing import RcKeyType

from reports.numbers import INFINITE
from reports.study_report import StudyReport
from reports.trial_rows import LevelRow, Standing, TrialRow
from tuner.domain.slo import Verdict

DrawingName = Literal["latency", "cost", "progress", "time"]

WIDTH, HEIGHT = 420 / 72, 270 / 72
INK, QUIET, RULE, PAPER = "#000001", "#000002", "#000003", "#000004"
ACCENT, MISS, GREY, DEPLOY, STOP = "#000005", "#000006", "#000007", "#000008", "#000009"
COLOURS = {
    INK: "ink",
    QUIET: "quiet",
    RULE: "rule",
    PAPER: "paper",
    ACCENT: "accent",
    MISS: "miss",
    GREY: "grey",
    DEPLOY: "deploy",
    STOP: "stop",
}
STYLE: dict[RcKeyType, Any] = {
    "svg.hashsalt": "servetune",
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "text.parse_math": False,
    "text.color": QUIET,
    "axes.edgecolor": RULE,
    "axes.labelcolor": QUIET,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": QUIET,
    "ytick.labelcolor": QUIET,
    "xtick.major.size": 3.0,
    "ytick.major.size": 0.0,
    "path.simplify": False,
}
# Marker shape and colour both tell what came of a trial, so that neither is needed alone.
Marker = tuple[str, str, bool]
MARKERS: dict[Standing, Marker] = {
    Standing.PASSED: ("o", ACCENT, True),
    Standing.PLAUSIBLE: ("o", ACCENT, True),
    Standing.UNDECIDED: ("o", ACCENT, True),
    Standing.TOO_SLOW: ("v", MISS, False),
    Standing.CANNOT_SERVE: ("x", GREY, False),
    Standing.FAILED: ("s", GREY, False),
}
QUIET_MARKERS: dict[Standing, Marker] = {Standing.PLAUSIBLE: ("o", GREY, True)}
# Keeps a label legible above the marks it lies on.
VEIL = {"boxstyle": "square,pad=0.1", "facecolor": PAPER, "edgecolor": "none", "alpha": 0.8}
LOG_FROM_RATIO = 8.0
BARS_UP_TO = 120
STRIP = 1.07
LABEL_GAP = 12.5


def drawing(name: DrawingName, report: StudyReport) -> str:
    """One figure as bare SVG text, in the colours of `COLOURS`.

    A sign that the measuring font lacks is no fault: the reader's own fonts draw the text.
    """
    buffer = io.StringIO()
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(WIDTH, HEIGHT), dpi=72)
        FigureCanvasSVG(figure)
        axes = figure.add_axes((0.115, 0.155, 0.865, 0.685))
        DRAWINGS[name](axes, report)
        empty = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=empty)
    return buffer.getvalue()


def draw_latency(axes: Axes, report: StudyReport) -> None:
    """The judged percentile of every level, and p50 and p95 besides of the recommended one."""
    levels = [(row, level) for row in report.trials for level in row.levels]
    top = _latency_scale(axes, report, [value for _, level in levels for value in _percentiles(level)])
    loads = [level.offered_rps.raw for _, level in levels]
    _scale(axes, "x", loads)
    others = [
        (level.offered_rps.raw, min(level.judged.raw, top), _standing(level))
        for row, level in levels
        if not _is_recommended(row, level, report)
    ]
    _marks(axes, others, MARKERS | QUIET_MARKERS, size=5)
    own = [level for row, level in levels if _is_recommended(row, level, report)]
    ends: list[tuple[float, float, str]] = []
    for marker, pick, label in _series(report):
        points = sorted((level.offered_rps.raw, min(pick(level), top)) for level in own)
        if points:
            _recommended_series(axes, points, marker, label)
            ends.append((points[-1][0], points[-1][1], label))
    _label_series(axes, ends)
    if own and report.axes.recommended_rps is not None:
        axes.axvline(report.axes.recommended_rps, color=QUIET, linewidth=0.8, linestyle=(0, (1, 3)), gid="mark-needed")
    _titles(axes, x="requests per second on one replica", y=f"{report.axes.percentile}, ms")
    _limit_line(axes, report)


def _series(report: StudyReport) -> list[tuple[str, Callable[[LevelRow], float], str]]:
    series: list[tuple[str, Callable[[LevelRow], float], str]] = [
        ("s", lambda level: level.p50.raw, "p50"),
        ("D", lambda level: level.p95.raw, "p95"),
        ("o", lambda level: level.judged.raw, report.axes.percentile),
    ]
    return [one for number, one in enumerate(series) if number == 2 or one[2] != report.axes.percentile]


def _percentiles(level: LevelRow) -> tuple[float, float, float]:
    return level.p50.raw, level.p95.raw, level.judged.raw


def _recommended_series(axes: Axes, points: Sequence[tuple[float, float]], marker: str, label: str) -> None:
    axes.plot(
        [load for load, _ in points],
        [value for _, value in points],
        marker,
        color=ACCENT,
        markersize=6,
        markeredgecolor=PAPER,
        markeredgewidth=0.8,
        gid=f"mark-recommended-{label}",
        zorder=5,
    )


def _label_series(axes: Axes, ends: Sequence[tuple[float, float, str]]) -> None:
    """Names beside the last points, moved apart where they would cover each other."""
    to_pixels, to_data = axes.transData.transform, axes.transData.inverted().transform
    ordered = sorted(ends, key=lambda end: end[1])
    places: list[float] = []
    for load, value, _ in ordered:
        pixel = float(to_pixels((load, value))[1])
        places.append(max(pixel, places[-1] + LABEL_GAP) if places else pixel)
    excess = max(0.0, places[-1] - float(axes.bbox.y1)) if places else 0.0
    for (load, _, label), place in zip(ordered, places, strict=True):
        axes.annotate(
            label,
            (load, float(to_data((0.0, place - excess))[1])),
            xytext=(9, 0),
            textcoords="offset points",
            va="center",
            color=INK,
            annotation_clip=False,
        )


def draw_cost(axes: Axes, report: StudyReport) -> None:
    """One mark per trial at the cost of the replicas it would need; what was never measured sits above the plot."""
    shown = [(row, row.shown) for row in report.trials if row.shown is not None]
    top = _latency_scale(axes, report, [level.judged.raw for _, level in shown])
    silent = [row for row in report.trials if row.shown is None]
    costs = [level.cost_per_hour.raw for _, level in shown] + [row.unit_cost_per_hour.raw for row in silent]
    _scale(axes, "x", costs)
    points = [(level.cost_per_hour.raw, min(level.judged.raw, top), row.standing) for row, level in shown]
    _marks(axes, points, MARKERS, size=6)
    _rings(axes, [points[k][:2] for k, (row, level) in enumerate(shown) if _is_recommended(row, level, report)])
    _strip(axes, [(row.unit_cost_per_hour.raw, row.standing) for row in silent])
    _titles(axes, x=f"{report.axes.currency} per hour for all replicas", y=f"{report.axes.percentile}, ms")
    _limit_line(axes, report)


def draw_progress(axes: Axes, report: StudyReport) -> None:
    """The cost of each plausible trial, and the lowest so far as a step line."""
    plausible = [(row, row.shown) for row in report.trials if row.shown and row.standing is not Standing.TOO_SLOW]
    costs = [level.cost_per_hour.raw for _, level in plausible]
    best = [(row.number, row.best_so_far.raw) for row in report.trials if row.best_so_far is not None]
    _scale(axes, "y", costs)
    if best:
        numbers, values = [number for number, _ in best], [value for _, value in best]
        axes.plot(numbers, values, color=ACCENT, linewidth=1.6, drawstyle="steps-post", gid="mark-best", zorder=3)
    _marks(axes, [(row.number, level.cost_per_hour.raw, row.standing) for row, level in plausible], MARKERS, size=6)
    _rings(axes, [(row.number, level.cost_per_hour.raw) for row, level in plausible if not row.searching])
    hopeless = [row for row in report.trials if row.shown is None or row.standing is Standing.TOO_SLOW]
    _strip(axes, [(row.number, row.standing) for row in hopeless])
    _trial_axis(axes, report.trials)
    if not costs:
        axes.set_yticks([])
    _titles(axes, x="trial", y=f"{report.axes.currency} per hour")


def draw_time(axes: Axes, report: StudyReport) -> None:
    """Seconds per trial, stacked: start, load, stop."""
    rows = report.trials
    numbers = [row.number for row in rows]
    parts = [
        ("deploy", [row.phases.deploy_s for row in rows], DEPLOY),
        ("load", [row.phases.load_s for row in rows], ACCENT),
        ("stop", [row.phases.teardown_s for row in rows], STOP),
    ]
    ceilings = list(itertools.accumulate((values for _, values, _ in parts), _added))
    for (name, _, colour), ceiling in reversed(list(zip(parts, ceilings, strict=True))):
        # From the tallest to the lowest, each down to zero: a later one covers the foot of an earlier one.
        if len(rows) <= BARS_UP_TO:
            for bar in axes.bar(numbers, ceiling, color=colour, width=0.72):
                bar.set_gid(f"mark-{name}")
        else:
            edges = [numbers[0] - 0.5, *(number + 0.5 for number in numbers)]
            axes.stairs(ceiling, edges, fill=True, color=colour, linewidth=0, gid=f"mark-{name}")
    _trial_axis(axes, rows)
    axes.set_ylim(0, max(1e-3, *ceilings[-1]) * 1.04)
    axes.grid(visible=True, axis="y")
    _titles(axes, x="trial", y="seconds")


def _added(low: list[float], values: list[float]) -> list[float]:
    return [one + other for one, other in zip(low, values, strict=True)]


def _is_recommended(row: TrialRow, level: LevelRow, report: StudyReport) -> bool:
    purchase = report.answer.purchase
    return row.recommended and purchase is not None and level.replicas == purchase.replicas


def _standing(level: LevelRow) -> Standing:
    return Standing.TOO_SLOW if level.verdict is Verdict.FAIL else Standing.PLAUSIBLE


def _marks(
    axes: Axes,
    points: Sequence[tuple[float, float, Standing]],
    markers: Mapping[Standing, Marker],
    *,
    size: float,
) -> None:
    """All points of one standing in one go: 2,000 trials then cost two numbers each, not a drawing of their own."""
    for standing, (marker, colour, filled) in markers.items():
        own = [(x, y) for x, y, what in points if what is standing]
        if own:
            axes.plot(
                *zip(*own, strict=True),
                marker,
                color=colour,
                markersize=size,
                markerfacecolor=colour if filled else "none",
                markeredgewidth=0.0 if filled else 1.3,
                gid=f"mark-{standing.name.lower()}",
                zorder=4,
                alpha=0.9,
                clip_on=False,
            )


def _strip(axes: Axes, points: Sequence[tuple[float, Standing]]) -> None:
    """Trials without a number for this axis, above the plot."""
    for standing, (marker, colour, _) in MARKERS.items():
        own = [x for x, what in points if what is standing]
        if own:
            axes.plot(
                own,
                [STRIP] * len(own),
                marker,
                color=colour,
                markersize=5,
                markerfacecolor="none",
                markeredgewidth=1.2,
                transform=axes.get_xaxis_transform(),
                clip_on=False,
                gid=f"mark-{standing.name.lower()}",
            )


def _rings(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    """What is recommended, or was proven."""
    if points:
        axes.plot(
            *zip(*points, strict=True),
            "o",
            markersize=12,
            markerfacecolor="none",
            markeredgecolor=INK,
            markeredgewidth=1.2,
            gid="mark-ring",
            zorder=5,
            clip_on=False,
        )


def _latency_scale(axes: Axes, report: StudyReport, values: Sequence[float]) -> float:
    """Logarithmic y axis; returns where values without an end are drawn: on a line of their own, above all numbers."""
    limit = [] if report.axes.limit is None or report.axes.limit.raw <= 0 else [report.axes.limit.raw]
    endless = any(math.isinf(value) for value in values)
    finite = [value for value in values if math.isfinite(value) and value > 0] + limit
    low, high = min(finite, default=1.0), max(finite, default=1.0)
    top = high * 2.0
    axes.set_yscale("log")
    axes.set_ylim(low / 1.5, top * 1.1 if endless else high * 1.6)
    _log_ticks(axes, "y", highest=high * 1.2 if endless else math.inf)
    axes.grid(visible=True, axis="y")
    if endless:
        axes.axhline(top, color=RULE, linewidth=0.8, linestyle=(0, (4, 3)), gid="mark-no-answer")
        place = ("axes fraction", "data")
        axes.annotate(
            INFINITE, (0, top), (-5, 0), xycoords=place, textcoords="offset points", ha="right", va="center", size=13
        )
    return top


def _line_label(axes: Axes, text: str, y: float, colour: str) -> None:
    """The name of a horizontal line, at its left end, above what lies there."""
    axes.annotate(
        text,
        (0, y),
        xycoords=("axes fraction", "data"),
        xytext=(4, 4),
        textcoords="offset points",
        color=colour,
        bbox=VEIL,
        zorder=6,
    )


def _limit_line(axes: Axes, report: StudyReport) -> None:
    limit = report.axes.limit
    if limit is not None and limit.raw > 0:
        axes.axhline(limit.raw, color=MISS, linewidth=1.2, linestyle=(0, (6, 3)), gid="mark-limit", zorder=2)
        _line_label(axes, f"limit {limit.text} ms", limit.raw, MISS)


def _scale(axes: Axes, which: str, values: Sequence[float]) -> None:
    """Logarithmic where the values span much, else linear; with air on both sides."""
    positive = [value for value in values if value > 0 and math.isfinite(value)]
    low, high = min(positive, default=1.0), max(positive, default=1.0)
    set_scale, set_limits = (axes.set_xscale, axes.set_xlim) if which == "x" else (axes.set_yscale, axes.set_ylim)
    if which == "y":
        axes.grid(visible=True, axis="y")
    if high / low >= LOG_FROM_RATIO and len(positive) == len(values):
        set_scale("log")
        set_limits(low / 1.3, high * 1.3)
        _log_ticks(axes, which)
        return
    air = (high - low) * 0.12 or high * 0.2
    set_limits(max(0.0, low - air), high + air)
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(_plain))


def _log_ticks(axes: Axes, which: str, *, highest: float = math.inf) -> None:
    """Labels at 1, 2, 5 of each decade up to `highest`, or at the decades alone where they are many."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    steps = (1.0, 2.0, 5.0) if high / low < 300 else (1.0,)
    axis.set_major_locator(LogLocator(subs=steps, numticks=12))
    axis.set_minor_locator(LogLocator(subs=(), numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, position: "" if value > highest else _plain(value, position)))


def _plain(value: float, _position: int | None) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.6g}"


def _trial_axis(axes: Axes, rows: Sequence[TrialRow]) -> None:
    numbers = [row.number for row in rows]
    axes.set_xlim(min(numbers) - 0.8, max(numbers) + 0.8)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))


def _titles(axes: Axes, *, x: str, y: str) -> None:
    """The unit of the vertical axis stands above it, where it is read without turning one's head."""
    axes.set_xlabel(x, loc="right", labelpad=4)
    axes.annotate(
        y, (0, 1), xycoords="axes fraction", xytext=(-46, 24), textcoords="offset points", ha="left", va="bottom"
    )


DRAWINGS: dict[DrawingName, Callable[[Axes, StudyReport], None]] = {
    "latency": draw_latency,
    "cost": draw_cost,
    "progress": draw_progress,
    "time": draw_time,
}
