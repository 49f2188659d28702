"""Service level objectives, and verdicts with a stated confidence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, get_args

from tuner.domain.statistics import binomial_lower_tail, binomial_upper_tail

Indicator = Literal[
    "latency_p50_ms",
    "latency_p90_ms",
    "latency_p95_ms",
    "latency_p99_ms",
    "latency_p99_9_ms",
    "error_ratio",
    "goodput_ratio",
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
GOODPUT = "goodput_ratio"
CONFIDENCE = 0.99
LEAST_PIECES = 10
CAUTION = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """An upper bound on one indicator: milliseconds, or a share of requests.

    Goodput is bounded from below, and kept here as what may fall short of it: at most `max` of the requests fail or
    break any latency limit. `bound` and `shown` say it the user's way round.
    """

    indicator: Indicator
    max: float

    @property
    def allowed_share(self) -> float:
        """The share of requests that may break the bound (be late, or fail)."""
        return LATE_SHARE.get(self.indicator, self.max)

    @property
    def bound(self) -> float:
        """The bound as the user states it."""
        return self.shown(self.max)

    def shown(self, observed: float) -> float:
        """A value of the indicator as the user knows it."""
        return round(1.0 - observed, 12) if self.indicator == GOODPUT else observed

    def __str__(self) -> str:
        return f"{self.indicator} {'>=' if self.indicator == GOODPUT else '<='} {self.bound:g}"


def goodput_slo(minimum: float) -> Slo:
    """At least this share of requests is answered well and within every latency limit."""
    return Slo(indicator="goodput_ratio", max=round(1.0 - minimum, 12))


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
    the design effect, and its mirror image. That nothing bad ever happens cannot be shown by counting: such a bound
    fails at the first bad request and never passes.
    """
    risk = 1.0 - confidence
    verdict = Verdict.UNDECIDED
    if tally.requests and _looks_good(tally) <= risk:
        verdict = Verdict.PASS
    elif tally.requests and looks_bad(tally) <= risk:
        verdict = Verdict.FAIL
    return Assessment(tally=tally, verdict=verdict)


def _looks_good(tally: Tally) -> float:
    """How often a service exactly at the limit looks at least this good.

    Late requests come in clusters of N, and the effect is E[N^2] / E[N]. Estimated from k clusters of geometric N it
    has a relative variance of 2 / k, half an effective request counts for one cluster, and low counts come with low
    estimates. So for a PASS its excess over 1 is raised by CAUTION relative variances: by CAUTION per effective bad
    request that the limit lets expect. CAUTION itself is measured, by tests/benchmarks/verdicts.py.
    """
    allowed = tally.slo.allowed_share
    if not allowed:
        return 1.0
    expected_bad = tally.requests * allowed / tally.design_effect
    effect = 1.0 + (tally.design_effect - 1.0) * (1.0 + CAUTION / expected_bad)
    return binomial_lower_tail(tally.bad / effect, tally.requests / effect, allowed)


def looks_bad(tally: Tally) -> float:
    """How often a service exactly at the limit looks at least this bad.

    However alike neighbours are, a window counts for LEAST_PIECES independent requests: half a window of late ones is
    no accident of one long queue.
    """
    if not tally.slo.allowed_share:
        return 0.0 if tally.bad else 1.0
    effect = max(1.0, min(tally.design_effect, tally.requests / LEAST_PIECES))
    return binomial_upper_tail(tally.bad / effect, tally.requests / effect, tally.slo.allowed_share)


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
