"""How often the gate is wrong, on simulated pairs whose noise was recorded from a real service.

`python -m tests.benchmarks.gate_verdicts [--gates N] [--seed S]`; results/gate_verdicts.txt is its last output.
One gate draws 12 pairs; in each the four metrics that may block get the noise of one recorded repeat a side (drawn
with replacement, all metrics of a repeat together, so that they stay alike), scaled to the spread asked for: the
standard deviation of the logarithm of candidate over deployed. The rules are those of a fresh lock file.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scipy.stats import binomtest

from tuner.gate.metrics import allowed_worsening, metric_named
from tuner.gate.sequential import MOST_PAIRS, Change, Decision, Series, decide

NOISE = Path(__file__).parents[1] / "data" / "gate_noise.json"
GATED = ("saturated_rps", "latency_p99_ms", "latency_p95_ms", "latency_p50_ms")
CAPACITY = "saturated_rps"
SPREADS = (0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.10, 0.12, 0.15)
LOSSES = (0.0, 0.05, 0.10, 0.20)
Deviations = Sequence[Mapping[str, float]]


def recorded_deviations(path: Path = NOISE) -> Deviations:
    """For each repeat by how many standard deviations of the logarithm each metric was off the middle."""
    pairs = json.loads(path.read_text())["pairs"]
    deployments = [pair[side] for pair in pairs for side in ("deployed", "candidate")]
    logs = {name: [math.log(one[name]) for one in deployments] for name in GATED}
    scaled = {name: _standardised(values) for name, values in logs.items()}
    return [{name: scaled[name][k] for name in GATED} for k in range(len(deployments))]


def _standardised(values: Sequence[float]) -> list[float]:
    middle, spread = statistics.fmean(values), statistics.pstdev(values)
    return [(value - middle) / spread for value in values]


def recorded_spread(path: Path = NOISE) -> Mapping[str, float]:
    """Per metric the standard deviation of log(candidate / deployed) over the recorded pairs."""
    pairs = json.loads(path.read_text())["pairs"]
    ratios = {name: [math.log(p["candidate"][name] / p["deployed"][name]) for p in pairs] for name in GATED}
    return {name: statistics.stdev(values) for name, values in ratios.items()}


@dataclass(frozen=True)
class Gate:
    """One simulated gate: the verdict on each metric, and after how many pairs capacity was decided."""

    decisions: Mapping[str, Decision]

    @property
    def regressed(self) -> bool:
        return any(decision.change is Change.REGRESSION for decision in self.decisions.values())

    @property
    def capacity(self) -> Change:
        return self.decisions[CAPACITY].change


def simulated_gate(noise: Callable[[], Mapping[str, float]], spread: float, loss: float) -> Gate:
    """Twelve pairs, of which the verdict uses as many as it needs. Latencies grow as capacity shrinks."""
    worse: dict[str, list[float]] = {name: [] for name in GATED}
    truth = -math.log1p(-loss)
    for _ in range(MOST_PAIRS):
        one, other = noise(), noise()
        for name in GATED:
            worse[name].append(truth + spread / math.sqrt(2.0) * (one[name] - other[name]))
    series = []
    for name in GATED:
        metric = metric_named(name)
        allowed = allowed_worsening(metric, metric.margin)
        series.append(Series(metric=name, worse=tuple(worse[name]), allowed=allowed))
    return Gate(decisions=decide(series, MOST_PAIRS))


def campaign(deviations: Deviations, *, spread: float, loss: float, gates: int, seed: int) -> list[Gate]:
    """So many gates, the same for the same seed."""
    source = random.Random(f"{seed} {spread} {loss}")
    return [simulated_gate(lambda: source.choice(deviations), spread, loss) for _ in range(gates)]


def _row(gates: Sequence[Gate], spread: float, loss: float) -> str:
    count = Counter(gate.capacity for gate in gates)
    anywhere = sum(gate.regressed for gate in gates)
    interval = binomtest(anywhere, len(gates)).proportion_ci(0.95)
    used = [gate.decisions[CAPACITY].pairs for gate in gates]
    shares = "  ".join(f"{count[change] / len(gates):12.1%}" for change in Change)
    return (
        f"{spread:6.0%}  {loss:6.0%}  {shares}  {anywhere / len(gates):10.1%} "
        f"({interval.low:.1%} to {interval.high:.1%})  {statistics.fmean(used):5.1f}"
    )


def table(gates: int, seed: int) -> str:
    """Every spread and every loss."""
    deviations = recorded_deviations()
    document = json.loads(NOISE.read_text())
    loads = [pair["load_average_before"] for pair in document["pairs"]]
    found = ", ".join(f"{name} {spread:.1%}" for name, spread in recorded_spread().items())
    lines = [
        f"{gates} simulated gates a row, seed {seed}; noise of {len(deviations)} recorded repeats, "
        f"{len(document['first_pairs_of_deployments'])} deployments:",
        f"{document['service']}",
        f"({document['load']}; load average {min(loads):.1f} to {max(loads):.1f} on {document['machine']})",
        f"spread of the recorded pairs: {found}",
        "",
        "capacity (margin 5 %); `any REGRESSION`: of the four metrics that block, all with that loss",
        f"spread    loss  {'  '.join(f'{change:>12s}' for change in Change)}  any REGRESSION (95 %)  pairs",
    ]
    for spread in SPREADS:
        lines += [
            _row(campaign(deviations, spread=spread, loss=loss, gates=gates, seed=seed), spread, loss)
            for loss in LOSSES
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--gates", type=int, default=400)
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    print(table(asked.gates, asked.seed))
