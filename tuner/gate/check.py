"""`gate --check`: does the locked spec still meet today's limits under today's prices and load? No load is sent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from tuner.domain.borderline import percentile_bounds_ms
from tuner.domain.cost import replicas_at_least, required_rps
from tuner.domain.errors import LockUnusable
from tuner.domain.histogram import LatencyCounts
from tuner.domain.slo import PERCENT, Slo, Tally, Verdict, assess
from tuner.domain.spec import StudySpec
from tuner.gate.cost import Bought, CostSplit, split_cost
from tuner.gate.fingerprint import FIELDS, Difference, Fingerprint, differences, fingerprint_of
from tuner.gate.lock import Lock, prices_for
from tuner.gate.metrics import COST, metric_named
from tuner.gate.result import GateResult, MetricVerdict, OnInconclusive, Outcome, SloVerdict, outcome_of
from tuner.gate.sequential import Change
from tuner.gate.words import remark

CAPACITY_HINT = "measure it: servetune gate --retune"
# What may differ between the lock file and today without the stored measurements saying nothing any more.
RECOMPUTED = ("slos", "prices", "tool")


def check(lock: Lock, spec: StudySpec, *, tool: str, reproduce: str, on_inconclusive: OnInconclusive) -> GateResult:
    """Recomputes limits, load and cost from what the lock file holds.

    Raises LockUnusable where the model or the kind of load is another one: the stored measurements are of neither.
    """
    today = fingerprint_today(lock, spec, tool=tool)
    found = differences(lock.fingerprint, today, FIELDS)
    refuse_differing([one for one in found if one.field not in RECOMPUTED])
    needed_rps = required_rps(spec.load.target_rps, spec.headroom)
    slos = slo_verdicts(lock.tallies(spec.slos), lock.counts)
    load = load_verdict(lock, needed_rps)
    if load.verdict is not Verdict.PASS:
        # Latencies at the load of then bound those of a higher one from below only.
        slos = tuple(replace(slo, verdict=_at_more_load(slo.verdict)) for slo in slos)
    cost, cost_metric = cost_verdicts(lock, spec, needed_rps)
    outcome = outcome_of((cost_metric,), (*slos, load))
    return GateResult(
        mode="check",
        study=lock.study,
        outcome=outcome,
        summary=_summary(outcome, slos, load, cost_metric),
        metrics=(cost_metric,),
        slos=(*slos, load),
        cost=cost,
        deployed=lock.fingerprint,
        candidate=today,
        differences=found,
        spec_change=(),
        runs=(),
        notes=_notes(lock, cost, load, needed_rps),
        reproduce=reproduce,
        on_inconclusive=on_inconclusive,
    )


def _at_more_load(verdict: Verdict) -> Verdict:
    return Verdict.FAIL if verdict is Verdict.FAIL else Verdict.UNDECIDED


def fingerprint_today(lock: Lock, spec: StudySpec, *, tool: str) -> Fingerprint:
    """Of the locked configuration, as the study file describes model, load, limits and prices now.

    What served it is as in the lock file: nothing was started that could say otherwise.
    """
    now = fingerprint_of(spec, lock.configuration, (), prices_for(spec.pricing, lock.configuration), tool=tool)
    then = lock.fingerprint
    return replace(now, engine=then.engine, server=then.server, driver=then.driver, gpu=then.gpu, machine=then.machine)


def refuse_differing(found: Sequence[Difference]) -> None:
    """Raises LockUnusable naming every field, the narrowest first."""
    if found:
        raise LockUnusable(
            f"the lock file was measured on something else: {'; '.join(map(str, found))}",
            hint="measure what is there now: servetune gate --verify, or tune and servetune baseline update",
        )


def load_verdict(lock: Lock, needed_rps: float) -> SloVerdict:
    """Whether one of the locked replicas carries its part of the load, by loads it was seen to carry or to fail at."""
    each_rps, capacity = needed_rps / lock.spec.replicas, lock.capacity
    # Arrivals are random: what was offered in the proof is within a few percent of what was asked for.
    proven_rps = max(capacity.passed_rps, required_rps(lock.load.target_rps, lock.load.headroom) / lock.spec.replicas)
    if each_rps <= proven_rps * (1.0 + 1e-9):
        verdict = Verdict.PASS
    elif capacity.failed_rps is not None and each_rps >= capacity.failed_rps:
        verdict = Verdict.FAIL
    else:
        verdict = Verdict.UNDECIDED
    return SloVerdict(
        slo=f"load of one replica <= {proven_rps:.4g} rps, the most it was proven at",
        verdict=verdict,
        observed=each_rps,
        upper_bound=each_rps,
        limit=proven_rps,
        requests=sum(repeat.requests for repeat in lock.repeats),
        bad=0,
    )


def slo_verdicts(tallies: Sequence[Tally], counts: LatencyCounts) -> tuple[SloVerdict, ...]:
    """Each objective with its verdict, and the upper confidence bound of what was observed beside the limit."""
    return tuple(_slo_verdict(tally, counts) for tally in tallies)


def _slo_verdict(tally: Tally, counts: LatencyCounts) -> SloVerdict:
    slo, percent = tally.slo, PERCENT.get(tally.slo.indicator)
    if percent is None:
        observed, upper = tally.bad / tally.requests, _share_bound(tally)
    else:
        observed = counts.percentile_ms(percent)
        upper = percentile_bounds_ms(counts, percent, tally.design_effect)[1]
    return SloVerdict(
        slo=str(slo),
        verdict=assess(tally).verdict,
        observed=slo.shown(observed),
        upper_bound=slo.shown(upper),
        limit=slo.bound,
        requests=tally.requests,
        bad=tally.bad,
    )


def _share_bound(tally: Tally) -> float:
    """The largest share of bad requests that would still pass for what was seen: by bisection of the verdict."""
    low, high = tally.bad / tally.requests, 1.0
    for _ in range(40):
        middle = (low + high) / 2.0
        asked = replace(tally, slo=Slo(indicator=tally.slo.indicator, max=middle))
        low, high = (low, middle) if assess(asked).verdict is Verdict.PASS else (middle, high)
    return high


def cost_verdicts(lock: Lock, spec: StudySpec, needed_rps: float) -> tuple[CostSplit, MetricVerdict]:
    """The locked spec at today's load and prices beside itself at those of then.

    Only replicas can be added to it, so that is what a higher load costs; prices alone are no regression.
    """
    carried_rps = max(
        lock.capacity.passed_rps, required_rps(lock.load.target_rps, lock.load.headroom) / lock.spec.replicas
    )
    then_rps = required_rps(lock.load.target_rps, lock.load.headroom)
    replicas = max(lock.spec.replicas, replicas_at_least(needed_rps, carried_rps))
    before = Bought(
        configuration=lock.configuration,
        footprint=lock.spec.footprint,
        replicas=lock.spec.replicas,
        required_rps=then_rps,
        carried_rps=carried_rps,
    )
    after = replace(before, replicas=replicas, required_rps=needed_rps)
    new = replace(lock.pricing, book=spec.pricing.book)
    split = split_cost(before, after, old=lock.pricing, new=new)
    return split, cost_metric(lock, split, by_load=cost_of_load(lock, needed_rps))


def cost_of_load(lock: Lock, needed_rps: float) -> float:
    """What the locked spec would cost more per hour at the prices of then, to carry so much: whole replicas of it."""
    then_rps = required_rps(lock.load.target_rps, lock.load.headroom)
    carried_rps = max(lock.capacity.passed_rps, then_rps / lock.spec.replicas)
    more = max(0, replicas_at_least(needed_rps, carried_rps) - lock.spec.replicas)
    return more * lock.pricing.unit_cost_per_hour(lock.configuration)


def cost_metric(lock: Lock, split: CostSplit, *, by_load: float = 0.0) -> MetricVerdict:
    """The cost at the prices of the lock file, against its margin and against the limit, where there is one.

    It is exact: there is nothing to be uncertain about. What more load costs (`by_load`) is no release's fault, but
    counts against the limit. What is dearer at the prices of then only, prices made cheaper: that is no regression.
    The limit holds whatever the rule says.
    """
    metric, rule = metric_named(COST), lock.rule(COST)
    at_old_prices = split.after - split.prices
    shift = (at_old_prices - by_load) / split.before - 1.0
    shift_today = split.after / split.before_today - by_load / split.before - 1.0
    waiver = next((waiver for waiver in lock.waivers if waiver.metric == COST), None)
    over = lock.max_hourly_cost is not None and at_old_prices > lock.max_hourly_cost * (1.0 + 1e-9)
    worse = min(shift, shift_today) > rule.margin + 1e-9 or over
    better = shift < -1e-9
    return MetricVerdict(
        metric=COST,
        title=metric.title,
        unit=f"{split.currency}/h",
        level="error" if over else rule.level,
        change=Change.REGRESSION if worse else Change.IMPROVEMENT if better else Change.SAME,
        deployed=split.before,
        candidate=at_old_prices,
        relative=True,
        shift=shift,
        low=shift,
        high=shift,
        margin=rule.margin,
        pairs=0,
        cv=0.0,
        erratic=False,
        waived_by=waiver.owner if waiver and worse and not over and shift <= waiver.limit else "",
    )


def _notes(lock: Lock, cost: CostSplit, load: SloVerdict, needed_rps: float) -> tuple[str, ...]:
    notes = []
    if not math.isclose(cost.prices, 0.0, abs_tol=1e-12):
        notes.append(
            f"prices alone change the cost by {cost.prices:+.4f} {cost.currency} per hour: that fails no build, but "
            "another spec may be the cheapest now: servetune gate --retune"
        )
    if lock.max_hourly_cost is not None and cost.after > lock.max_hourly_cost:
        notes.append(f"at today's prices it costs more than the limit of {lock.max_hourly_cost:.4f} per hour")
    if load.verdict is Verdict.UNDECIDED:
        notes.append(f"{needed_rps:.4g} rps on {lock.spec.replicas} replicas was never measured: {CAPACITY_HINT}")
    return tuple(notes)


def _summary(outcome: Outcome, slos: Sequence[SloVerdict], load: SloVerdict, cost: MetricVerdict) -> str:
    if outcome is Outcome.PASSED:
        dearer = f", but costs more ({remark(cost)})" if cost.change is Change.REGRESSION else ""
        return f"the locked spec still meets its limits{dearer}"
    broken = [slo.slo for slo in (*slos, load) if slo.verdict is Verdict.FAIL]
    if outcome is Outcome.FAILED:
        return "; ".join([*(f"breaks {slo}" for slo in broken), *(["costs more"] if cost.blocks else [])])
    undecided = [slo.slo for slo in (*slos, load) if slo.verdict is Verdict.UNDECIDED]
    return f"not shown by what was measured: {'; '.join(undecided)}"
