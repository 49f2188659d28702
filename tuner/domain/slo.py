"""Service level objectives, and verdicts with a stated confidence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, get_args

from tuner.domain.statistics import binomial_lower_tail, binomial_upper_tail

Indicator = Literal[
    "latency_p50_ms", "latency_p90_ms", "latency_p95_ms", "latency_p99_ms", "latency_p99_9_ms", "error_ratio"
]
INDICATORS: tuple[str, ...] = get_args(Indicator)

# Which share of requests may be later than the limit: 1 - the percentile. Written out because 1 - 0.99 is not 0.01.
LATE_SHARE: dict[str, float] = {
    "latency_p50_ms": 0.5,
    "latency_p90_ms": 0.1,
    "latency_p95_ms": 0.05,
    "latency_p99_ms": 0.01,
    "latency_p99_9_ms": 0.001,
}
PERCENT: dict[str, float] = {
    "latency_p50_ms": 50.0,
    "latency_p90_ms": 90.0,
    "latency_p95_ms": 95.0,
    "latency_p99_ms": 99.0,
    "latency_p99_9_ms": 99.9,
}
CONFIDENCE = 0.99


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """An upper bound on one indicator."""

    indicator: Indicator
    max: float

    @property
    def allowed_share(self) -> float:
        """The share of requests that may break the bound (be late, or fail)."""
        return self.max if self.indicator == "error_ratio" else LATE_SHARE[self.indicator]

    def __str__(self) -> str:
        return f"{self.indicator} <= {self.max:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Evidence on one SLO: of `requests`, `bad` broke the bound; neighbours are alike by `design_effect` (>= 1)."""

    slo: Slo
    requests: int
    bad: int
    observed: float
    design_effect: float = 1.0


class Verdict(StrEnum):
    """What the evidence says at the stated confidence."""

    PASS = "pass"  # noqa: S105 - a verdict, no password
    FAIL = "fail"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """The verdict on one SLO, with the evidence it rests on."""

    tally: Tally
    verdict: Verdict


def assess(tally: Tally, confidence: float = CONFIDENCE) -> Assessment:
    """PASS if a service exactly at the limit would rarely look this good, FAIL if it would rarely look this bad.

    MLPerf LoadGen's early-stopping rule (99 %, d = 0: 459 requests with none late pass a p99), on counts divided by
    the design effect, and its mirror image.
    """
    allowed = tally.slo.allowed_share
    requests = tally.requests / tally.design_effect
    bad = tally.bad / tally.design_effect
    risk = 1.0 - confidence
    if tally.requests and binomial_lower_tail(bad, requests, allowed) <= risk:
        return Assessment(tally=tally, verdict=Verdict.PASS)
    if tally.requests and binomial_upper_tail(bad, requests, allowed) <= risk:
        return Assessment(tally=tally, verdict=Verdict.FAIL)
    return Assessment(tally=tally, verdict=Verdict.UNDECIDED)


def judge(tallies: Iterable[Tally], confidence: float = CONFIDENCE) -> Verdict:
    """One verdict over all SLOs: any FAIL fails, all PASS pass, else UNDECIDED."""
    verdicts = [assess(tally, confidence).verdict for tally in tallies]
    if Verdict.FAIL in verdicts:
        return Verdict.FAIL
    return Verdict.PASS if verdicts and all(v is Verdict.PASS for v in verdicts) else Verdict.UNDECIDED


def pool(runs: Sequence[Sequence[Tally]]) -> tuple[Tally, ...]:
    """Add the evidence of several deployments, SLO by SLO; the design effect is weighted by requests.

    `observed` becomes the worst of the runs: percentiles are never averaged.
    """
    return tuple(_pool_one(tallies) for tallies in zip(*runs, strict=True))


def _pool_one(tallies: tuple[Tally, ...]) -> Tally:
    requests = sum(tally.requests for tally in tallies)
    weighted = sum(tally.design_effect * tally.requests for tally in tallies)
    return Tally(
        slo=tallies[0].slo,
        requests=requests,
        bad=sum(tally.bad for tally in tallies),
        observed=max(tally.observed for tally in tallies),
        design_effect=weighted / requests if requests else 1.0,
    )
