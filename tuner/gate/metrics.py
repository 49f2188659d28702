"""The metrics a release is judged by, in which direction each is better, and by how much it may get worse."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from tuner.domain.errors import UsageError

Level = Literal["off", "warn", "error"]
Better = Literal["lower", "higher"]
COST = "hourly_cost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One figure of a deployment. A `ratio` metric is compared by the logarithm of candidate over deployed.

    Of others the difference counts, and `margin` and `unit` are those of the figure itself.
    """

    name: str
    title: str
    unit: str
    better: Better
    ratio: bool
    margin: float
    level: Level


# Margins: ecosystem study 2.2. `saturated_rps` is what all replicas finish per second under more load than they can
# carry: beyond that queues grow without end, so no latency objective can hold.
METRICS: tuple[Metric, ...] = (
    Metric(
        name="saturated_rps",
        title="capacity (requests/s finished at saturation)",
        unit="rps",
        better="higher",
        ratio=True,
        margin=0.05,
        level="error",
    ),
    Metric(
        name="latency_p50_ms",
        title="p50 at the target load",
        unit="ms",
        better="lower",
        ratio=True,
        margin=0.05,
        level="warn",
    ),
    Metric(
        name="latency_p95_ms",
        title="p95 at the target load",
        unit="ms",
        better="lower",
        ratio=True,
        margin=0.08,
        level="warn",
    ),
    Metric(
        name="latency_p99_ms",
        title="p99 at the target load",
        unit="ms",
        better="lower",
        ratio=True,
        margin=0.10,
        level="error",
    ),
    Metric(
        name="error_ratio",
        title="failed requests at the target load",
        unit="",
        better="lower",
        ratio=False,
        margin=0.001,
        level="error",
    ),
    Metric(name="cold_start_s", title="cold start", unit="s", better="lower", ratio=True, margin=0.20, level="warn"),
    Metric(
        name="gpu_memory_gib",
        title="GPU memory peak",
        unit="GiB",
        better="lower",
        ratio=True,
        margin=0.05,
        level="warn",
    ),
    Metric(
        name=COST,
        title="cost per hour at the prices of the lock file",
        unit="per hour",
        better="lower",
        ratio=True,
        margin=0.0,
        level="error",
    ),
)
NAMES = tuple(metric.name for metric in METRICS)
MEASURED = tuple(metric for metric in METRICS if metric.name != COST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How strictly one metric is held: `margin` is how much worse it may get, `off` leaves it out."""

    metric: str
    level: Level
    margin: float


DEFAULT_POLICY: tuple[Rule, ...] = tuple(
    Rule(metric=metric.name, level=metric.level, margin=metric.margin) for metric in METRICS
)


def metric_named(name: str) -> Metric:
    """Raises UsageError: a metric that nobody knows is never a silent pass."""
    found = next((metric for metric in METRICS if metric.name == name), None)
    if found is None:
        raise UsageError(f"unknown metric {name!r}", hint=f"one of {', '.join(NAMES)}")
    return found


def worsening(metric: Metric, deployed: float, candidate: float) -> float:
    """By how much the candidate is worse, above 0: a log ratio, or the difference. Raises ValueError on 0 or less."""
    if not metric.ratio:
        change = candidate - deployed
    elif deployed <= 0.0 or candidate <= 0.0:
        raise ValueError(f"{metric.name} has no ratio: {deployed:g} and {candidate:g}")
    else:
        change = math.log(candidate / deployed)
    return change if metric.better == "lower" else -change


def allowed_worsening(metric: Metric, margin: float) -> float:
    """The margin on the scale of `worsening`: 5 % fewer are log(1 / 0.95), 10 % more log(1.1)."""
    if not metric.ratio:
        return margin
    return math.log1p(margin) if metric.better == "lower" else -math.log1p(-margin)


def shown_change(metric: Metric, worse: float) -> float:
    """A worsening as people read it: the relative change of the figure (-0.05: 5 % less), or its difference."""
    change = worse if metric.better == "lower" else -worse
    return math.expm1(change) if metric.ratio else change
