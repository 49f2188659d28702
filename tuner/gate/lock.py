"""What a lock file holds: the spec that is deployed, what it was measured on, and the rules a release is held to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

from tuner.domain.cost import Footprint, Price, PriceBook, Pricing, Term
from tuner.domain.earlier import recounted
from tuner.domain.errors import LockUnusable, UsageError
from tuner.domain.histogram import LatencyCounts, add_counts
from tuner.domain.measurement import Measurement
from tuner.domain.recommendation import Evidence, Proven
from tuner.domain.slo import PERCENT, Indicator, Slo, Tally, Verdict, judge, pool
from tuner.domain.space import Configuration, KnobValue
from tuner.domain.spec import StudySpec
from tuner.domain.trial import Confirmation, Measured, Trial
from tuner.gate.fingerprint import Fingerprint, fingerprint_of
from tuner.gate.histogram_text import counts_from_text, counts_to_text
from tuner.gate.metrics import DEFAULT_POLICY, NAMES, Rule, metric_named

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """On one objective of the lock file: how many requests broke it, and how alike neighbours were."""

    indicator: Indicator
    bad: int
    design_effect: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """One fresh deployment of the proof: its load, what came back, and all its latencies.

    `histogram` is base64 (`tuner.gate.histogram_text`); the percentiles are null where they fall on a failed request.
    """

    offered_rps: float
    window_s: float
    requests: int
    failed: int
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    latency_p99_ms: float | None
    seen: tuple[Seen, ...]
    histogram: str

    @property
    def counts(self) -> LatencyCounts:
        return counts_from_text(self.histogram, failed=self.failed)

    def tally(self, slo: Slo, asked: Sequence[Slo], locked: Sequence[Slo]) -> Tally:
        """The evidence on an objective: as it was counted then, else recounted from the latencies.

        How alike neighbours are is known for the objectives of then only: the largest of those stands in.
        """
        seen = next((one for one in self.seen if one.indicator == slo.indicator), None)
        effect = max(one.design_effect for one in self.seen)
        recount = recounted(self.counts, slo, asked, effect=effect)
        if seen is None or tuple(asked) != tuple(locked):
            return recount
        return replace(recount, bad=seen.bad, design_effect=seen.design_effect)


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedSpec:
    """What is deployed: so many replicas of one configuration, and what a replica occupies beside its knobs."""

    configuration: dict[str, KnobValue]
    replicas: int
    footprint: Footprint


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedLoad:
    """What it was proven to carry: all replicas together `target_rps` with `headroom` to spare."""

    target_rps: float
    headroom: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedPrices:
    """The prices that its cost rests on."""

    currency: str
    term: Term
    rows: tuple[Price, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCapacity:
    """Loads on one replica: the highest at which every SLO was certain to hold, the lowest at which one broke."""

    passed_rps: float
    failed_rps: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """Until and including the day `expires` a metric may get worse by `limit` instead of by its margin."""

    metric: str
    limit: float
    owner: str
    expires: str
    reason: str

    def expired(self, today: date) -> bool:
        return date.fromisoformat(self.expires) < today


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """One lock file."""

    study: str
    spec: LockedSpec
    load: LockedLoad
    slos: tuple[Slo, ...]
    prices: LockedPrices
    hourly_cost: float
    max_hourly_cost: float | None
    fingerprint: Fingerprint
    capacity: StoredCapacity
    repeats: tuple[Repeat, ...]
    overhead_s: float
    policy: tuple[Rule, ...]
    waivers: tuple[Waiver, ...]
    reason: str
    updated_at: str

    @property
    def configuration(self) -> Configuration:
        return Configuration.of(self.spec.configuration)

    @property
    def pricing(self) -> Pricing:
        """The prices of then."""
        book = PriceBook(currency=self.prices.currency, term=self.prices.term, prices=self.prices.rows)
        return Pricing(book=book, footprint=self.spec.footprint)

    @property
    def counts(self) -> LatencyCounts:
        return add_counts(repeat.counts for repeat in self.repeats)

    def tallies(self, slos: Sequence[Slo]) -> tuple[Tally, ...]:
        """The stored requests judged by these objectives, all repeats pooled."""
        return pool([[repeat.tally(slo, slos, self.slos) for slo in slos] for repeat in self.repeats])

    def rule(self, metric: str) -> Rule:
        """How strictly a metric is held. Raises ValueError where nothing is said of it."""
        found = next((rule for rule in self.policy if rule.metric == metric), None)
        if found is None:
            raise ValueError(f"there is no rule for {metric}")
        return found


def lock_of(
    spec: StudySpec,
    history: Sequence[Trial],
    proven: Proven,
    prices: Sequence[Price],
    *,
    reason: str,
    updated_at: str,
    tool: str,
) -> Lock:
    """What a proven study leaves behind for the gate; policy, waivers and cost limit are the default ones."""
    evidence, candidate = proven.evidence, proven.evidence.candidate
    return Lock(
        study=spec.name,
        spec=LockedSpec(
            configuration=candidate.configuration.as_dict(),
            replicas=candidate.replicas,
            footprint=spec.pricing.footprint,
        ),
        load=LockedLoad(target_rps=spec.load.target_rps, headroom=spec.headroom),
        slos=spec.slos,
        prices=LockedPrices(
            currency=spec.pricing.book.currency, term=spec.pricing.book.term, rows=tuple(dict.fromkeys(prices))
        ),
        hourly_cost=candidate.cost_per_hour,
        max_hourly_cost=None,
        fingerprint=fingerprint_of(
            spec,
            candidate.configuration,
            facts_of(evidence, history),
            prices_for(spec.pricing, candidate.configuration),
            tool=tool,
        ),
        capacity=_capacity(evidence, history),
        repeats=tuple(map(repeat_of, evidence.runs)),
        overhead_s=_overhead_s(evidence, history),
        policy=DEFAULT_POLICY,
        waivers=(),
        reason=reason,
        updated_at=updated_at,
    )


def prices_for(pricing: Pricing, configuration: Configuration) -> tuple[Price, ...]:
    """The prices that one configuration's cost rests on. Raises UsageError if one is missing."""
    footprint = pricing.footprint
    used = [pricing.book.price("cpu_core")]
    if configuration.number("memory_gib", footprint.memory_gib):
        used.append(pricing.book.price("memory_gib"))
    gpu_type = configuration.text("gpu_type", footprint.gpu_type)
    return (*used, pricing.book.price("gpu", gpu_type)) if gpu_type else tuple(used)


def repeat_of(run: Measurement) -> Repeat:
    """What the lock file keeps of one measurement."""
    counts = run.counts
    return Repeat(
        offered_rps=run.offered_rps,
        window_s=run.window_s,
        requests=run.requests,
        failed=counts.failed,
        latency_p50_ms=_finite(counts.percentile_ms(PERCENT["latency_p50_ms"])),
        latency_p95_ms=_finite(counts.percentile_ms(PERCENT["latency_p95_ms"])),
        latency_p99_ms=_finite(counts.percentile_ms(PERCENT["latency_p99_ms"])),
        seen=tuple(
            Seen(indicator=tally.slo.indicator, bad=tally.bad, design_effect=tally.design_effect)
            for tally in run.tallies
        ),
        histogram=counts_to_text(counts),
    )


def _finite(value: float) -> float | None:
    return None if value == float("inf") else value


def _proofs(evidence: Evidence, history: Sequence[Trial]) -> list[tuple[Trial, Measured]]:
    candidate = evidence.candidate
    return [
        (trial, trial.outcome)
        for trial in history
        if isinstance(trial.purpose, Confirmation)
        and isinstance(trial.outcome, Measured)
        and trial.configuration == candidate.configuration
        and trial.purpose.replicas == candidate.replicas
    ]


def facts_of(evidence: Evidence, history: Sequence[Trial]) -> tuple[tuple[str, str], ...]:
    """What served the last proof of a candidate."""
    proofs = _proofs(evidence, history)
    return proofs[-1][1].facts if proofs else ()


def _overhead_s(evidence: Evidence, history: Sequence[Trial]) -> float:
    """What a deployment took beside its windows: starting, getting ready, warm-up, teardown."""
    overheads_s = [
        trial.phases.elapsed_s - sum(level.measurement.window_s for level in measured.levels)
        for trial, measured in _proofs(evidence, history)
    ]
    return max(overheads_s, default=0.0)


def _capacity(evidence: Evidence, history: Sequence[Trial]) -> StoredCapacity:
    """From every load the study put on a replica of this configuration. A FAIL below the proven load is not believed:
    the proof rests on more.
    """
    passed_rps = min(run.offered_rps for run in evidence.runs)
    failed = [
        level.measurement.offered_rps
        for trial in history
        if trial.configuration == evidence.candidate.configuration and isinstance(trial.outcome, Measured)
        for level in trial.outcome.levels
        if level.verdict is Verdict.FAIL and level.measurement.offered_rps > passed_rps
    ]
    return StoredCapacity(passed_rps=passed_rps, failed_rps=min(failed, default=None))


def refuse_unusable(lock: Lock, today: date) -> None:
    """Raises LockUnusable: an expired waiver, a rule or waiver for an unknown metric, or a proof that is none."""
    try:
        for name in (*(rule.metric for rule in lock.policy), *(waiver.metric for waiver in lock.waivers)):
            metric_named(name)
        for name in NAMES:
            lock.rule(name)
        expired = [waiver for waiver in lock.waivers if waiver.expired(today)]
        verdict = judge(lock.tallies(lock.slos))
    except (UsageError, ValueError) as error:
        raise LockUnusable(
            f"the lock file is damaged: {error}", hint="write it anew: servetune baseline update"
        ) from error
    if expired:
        first = expired[0]
        raise LockUnusable(
            f"the waiver of {first.owner} for {first.metric} expired on {first.expires}",
            hint="mend the metric, or write the lock file anew with another waiver: servetune baseline update --waive",
        )
    if verdict is not Verdict.PASS:
        raise LockUnusable(
            "the lock file's own measurements do not prove its spec", hint="write it anew: servetune baseline update"
        )
