"""What the gate found, and the exit code that says it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from tuner.domain.slo import CONFIDENCE, Verdict
from tuner.gate.cost import CostSplit
from tuner.gate.fingerprint import Difference, Fingerprint
from tuner.gate.metrics import Level
from tuner.gate.sequential import Change

Mode = Literal["check", "verify", "retune"]
OnInconclusive = Literal["fail", "warn"]


class Outcome(StrEnum):
    """What the gate says as a whole."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    NOTHING_FEASIBLE = "nothing_feasible"
    INVALID = "invalid"
    BUDGET = "budget"


EXIT_CODES: dict[Outcome, int] = {
    Outcome.PASSED: 0,
    Outcome.FAILED: 3,
    Outcome.INCONCLUSIVE: 4,
    Outcome.NOTHING_FEASIBLE: 5,
    Outcome.INVALID: 7,
    Outcome.BUDGET: 8,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricVerdict:
    """One metric beside its margin; changes are relative for ratios, differences otherwise (+0.1: 10 % more).

    `low` and `high` are the 95 % interval of the change; infinite where there are too few pairs for one. A metric
    that is `erratic` scatters by more than 10 % between deployments of the same spec: shown, and never blocking.
    """

    metric: str
    title: str
    unit: str
    level: Level
    change: Change
    deployed: float | None
    candidate: float | None
    relative: bool
    shift: float
    low: float
    high: float
    margin: float
    pairs: int
    cv: float
    erratic: bool
    waived_by: str = ""

    @property
    def blocks(self) -> bool:
        """Whether this metric alone makes the gate fail."""
        return self.change is Change.REGRESSION and self.level == "error" and not self.erratic and not self.waived_by

    @property
    def open(self) -> bool:
        """Whether this metric keeps the gate from passing for want of certainty."""
        return self.change is Change.INCONCLUSIVE and self.level == "error" and not self.erratic


@dataclass(frozen=True, slots=True, kw_only=True)
class SloVerdict:
    """An absolute limit: PASS where the upper confidence bound of what was observed meets it."""

    slo: str
    verdict: Verdict
    observed: float
    upper_bound: float
    limit: float
    requests: int
    bad: int
    confidence: float = CONFIDENCE


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """One deployment that was measured for the gate, or not: `invalid` says why it does not count."""

    pair: int
    side: Literal["deployed", "candidate"]
    readings: tuple[tuple[str, float], ...]
    invalid: str = ""
    reused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """Everything the outputs tell. `notes` are sentences for people: what was reused, what to do, what is not known."""

    mode: Mode
    study: str
    outcome: Outcome
    summary: str
    metrics: tuple[MetricVerdict, ...]
    slos: tuple[SloVerdict, ...]
    cost: CostSplit | None
    deployed: Fingerprint
    candidate: Fingerprint
    differences: tuple[Difference, ...]
    spec_change: tuple[str, ...]
    runs: tuple[RunSummary, ...]
    notes: tuple[str, ...]
    reproduce: str
    on_inconclusive: OnInconclusive = "fail"

    @property
    def exit_code(self) -> int:
        if self.outcome is Outcome.INCONCLUSIVE and self.on_inconclusive == "warn":
            return 0
        return EXIT_CODES[self.outcome]


def outcome_of(metrics: tuple[MetricVerdict, ...], slos: tuple[SloVerdict, ...]) -> Outcome:
    """From verdicts alone: one proven failure fails, else one open question leaves it open."""
    if any(metric.blocks for metric in metrics) or any(slo.verdict is Verdict.FAIL for slo in slos):
        return Outcome.FAILED
    if any(metric.open for metric in metrics) or any(slo.verdict is Verdict.UNDECIDED for slo in slos):
        return Outcome.INCONCLUSIVE
    return Outcome.PASSED
