"""The gate as a GitLab metrics report: OpenMetrics text.

GitLab compares the values of two reports as texts: so every value has as many decimals each time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tuner.gate.result import GateResult, MetricVerdict

PREFIX = "servetune_gate"


def metrics_report(result: GateResult) -> str:
    """Figures of both sides, changes, cost and verdicts; what is not known is left out."""
    lines = [
        *_family("figure", "A figure of the deployed spec or of the candidate.", _figures(result.metrics)),
        *_family("change_ratio", "How much more the candidate shows; of ratios only.", _changes(result.metrics)),
        *_family("blocks", "1 where a metric alone makes the gate fail.", _blocks(result.metrics)),
        *_family("exit_code", "What the gate exits with.", [("", f"{result.exit_code:.0f}")]),
    ]
    if result.cost is not None:
        cost = result.cost
        parts = (("before", cost.before), ("after", cost.after), ("price_effect", cost.prices),
                 ("capacity_effect", cost.capacity), ("rounding_effect", cost.rounding))  # fmt: skip
        values = [(_labels(part=name, currency=cost.currency), f"{value:.6f}") for name, value in parts]
        lines += _family("cost_per_hour", "Money per hour, and what changes it.", values)
    return "\n".join([*lines, "# EOF"]) + "\n"


def _family(name: str, about: str, samples: Iterable[tuple[str, str]]) -> Iterator[str]:
    yield f"# HELP {PREFIX}_{name} {about}"
    yield f"# TYPE {PREFIX}_{name} gauge"
    for labels, value in samples:
        yield f"{PREFIX}_{name}{labels} {value}"


def _figures(metrics: Iterable[MetricVerdict]) -> Iterator[tuple[str, str]]:
    for metric in metrics:
        for side, value in (("deployed", metric.deployed), ("candidate", metric.candidate)):
            if value is not None:
                yield _labels(metric=metric.metric, side=side), f"{value:.6f}"


def _changes(metrics: Iterable[MetricVerdict]) -> Iterator[tuple[str, str]]:
    return ((_labels(metric=metric.metric), f"{metric.shift:.6f}") for metric in metrics if metric.relative)


def _blocks(metrics: Iterable[MetricVerdict]) -> Iterator[tuple[str, str]]:
    return ((_labels(metric=metric.metric), "1" if metric.blocks else "0") for metric in metrics)


def _labels(**labels: str) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
