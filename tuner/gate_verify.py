"""`gate --verify`: the deployed spec and the candidate by turns on one machine, until it is certain or time is up."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from tuner import __version__
from tuner.assemble import open_bench
from tuner.domain.cost import required_rps
from tuner.domain.errors import BudgetRefused, InfeasibleConfiguration, LockUnusable
from tuner.domain.events import Event
from tuner.domain.recommendation import NothingFeasible
from tuner.domain.slo import Verdict
from tuner.domain.spec import StudySpec
from tuner.domain.trial import Trial
from tuner.gate.check import cost_metric, slo_verdicts
from tuner.gate.cost import Bought, completed, split_cost
from tuner.gate.fingerprint import (
    SERVED_BY,
    Fingerprint,
    differences,
    facts_by_field,
    fingerprint_of,
)
from tuner.gate.lock import Lock, prices_for
from tuner.gate.pairs import (
    Pair,
    Reading,
    Side,
    lower_bound_note,
    metric_verdicts,
    pooled_counts,
    pooled_tallies,
    still_open,
)
from tuner.gate.result import GateResult, MetricVerdict, Outcome, RunSummary, SloVerdict, outcome_of
from tuner.gate.sequential import LEAST_PAIRS, MOST_PAIRS, Change
from tuner.gate.words import spec_diff, summary_of
from tuner.gate_cache import PairCache, cache_key
from tuner.gate_order import GateOrder
from tuner.gate_pairs import (
    CandidateInfeasible,
    MeasuredSide,
    PairPlan,
    calibrated_rps,
    measured_pairs,
    most_pairs_within,
    pair_estimate_s,
)
from tuner.gate_sides import Sides, sides_of
from tuner.place import Site

Tell = Callable[[str], None]
KEPT_FOR_TEARDOWN = 0.1
SATURATION_S = 5.0


def verify(order: GateOrder, lock: Lock, spec: StudySpec, history: Sequence[Trial], tell: Tell) -> GateResult:
    """Measures at least LEAST_PAIRS pairs, more until it is certain or the budget ends.

    Raises LockUnusable, BudgetRefused, InfrastructureError, UsageError, SpecError.
    """
    sides = sides_of(order, lock, spec, history)
    if isinstance(sides, NothingFeasible):
        return _nothing_feasible(order, lock, spec, sides.reason)
    plan = PairPlan(saturation_s=SATURATION_S, overload_rps=0.0, seed=spec.search.seed)
    budget = _Budget(order, lock, sides, plan)
    budget.refuse_too_small()
    tell(budget.words())
    try:
        pairs, most = _measure(order, lock, sides, budget, tell)
    except CandidateInfeasible as error:
        return _cannot_serve(order, lock, sides, error.message)
    return _judged(order, lock, sides, pairs, most)


class _Budget:
    """Seconds and money: what is allowed, what pairs are likely to take, and how many of them fit."""

    def __init__(self, order: GateOrder, lock: Lock, sides: Sides, plan: PairPlan) -> None:
        replicas = max(lock.spec.replicas, sides.replicas)
        self.pair_s = pair_estimate_s(sides.candidate, plan, lock.overhead_s, replicas=replicas)
        self.first_s = lock.overhead_s + 2.0 * SATURATION_S
        pricing = completed(sides.candidate.pricing, lock.pricing)
        dearest = max(
            replace(pricing, footprint=lock.spec.footprint).unit_cost_per_hour(lock.configuration),
            pricing.unit_cost_per_hour(sides.configuration),
        )
        self.cost_per_s = dearest / 3600.0
        allowed_s = math.inf if order.max_cost is None else order.max_cost / self.cost_per_s
        self.allowed_s = (1.0 - KEPT_FOR_TEARDOWN) * min(order.max_duration_s, allowed_s)
        self.currency = sides.candidate.pricing.book.currency

    def words(self) -> str:
        """The estimate, before anything starts."""
        least, most = (self.first_s + pairs * self.pair_s for pairs in (LEAST_PAIRS, self.most_pairs(0.0)))
        return (
            f"{LEAST_PAIRS} to {self.most_pairs(0.0)} pairs of about {self.pair_s:.0f} s: {least / 60:.1f} to "
            f"{most / 60:.1f} minutes, at most {most * self.cost_per_s:.4f} {self.currency}"
        )

    def most_pairs(self, used_s: float) -> int:
        return most_pairs_within(self.allowed_s, used_s + self.first_s, self.pair_s, MOST_PAIRS)

    def refuse_too_small(self) -> None:
        """Raises BudgetRefused."""
        if self.most_pairs(0.0) < LEAST_PAIRS:
            needed_s = (self.first_s + LEAST_PAIRS * self.pair_s) / (1.0 - KEPT_FOR_TEARDOWN)
            raise BudgetRefused(
                f"{LEAST_PAIRS} pairs take about {needed_s:.0f} s and {needed_s * self.cost_per_s:.4f} {self.currency}",
                hint="raise --max-duration or --max-cost, or shorten confirm.window_s",
            )


def _measure(order: GateOrder, lock: Lock, sides: Sides, budget: _Budget, tell: Tell) -> tuple[tuple[Pair, ...], int]:
    """The pairs, and how many were planned at most. Raises LockUnusable, CandidateInfeasible, InfrastructureError."""
    most = budget.most_pairs(0.0)
    cache = _cache(order, lock, sides)
    with ExitStack() as stack:
        measured: dict[Side, MeasuredSide] = {
            "deployed": MeasuredSide(
                name="deployed",
                spec=sides.deployed,
                configuration=lock.configuration,
                replicas=lock.spec.replicas,
                bench=stack.enter_context(open_bench(sides.deployed, _unwatched, Site(access=order.access))),
            ),
            "candidate": MeasuredSide(
                name="candidate",
                spec=sides.candidate,
                configuration=sides.configuration,
                replicas=sides.replicas,
                bench=stack.enter_context(open_bench(sides.candidate, _unwatched, Site(access=order.access))),
            ),
        }
        try:
            overload_rps = (cache.overload_rps() if cache else None) or calibrated_rps(measured["deployed"], tell=tell)
            if cache:
                cache.keep_overload(overload_rps)
            plan = PairPlan(saturation_s=SATURATION_S, overload_rps=overload_rps, seed=sides.candidate.search.seed)
            pairs: list[Pair] = []
            ending = _Ending(lock=lock, budget=budget, most=most)
            for pair in measured_pairs(measured, plan, cache, tell):
                pairs.append(pair)
                _refuse_other_server(order, lock, pair)
                tell(_pair_line(pair, most))
                if ending.reached(pairs):
                    break
            return tuple(pairs), most
        except CandidateInfeasible:
            raise
        except InfeasibleConfiguration as error:
            raise LockUnusable(
                f"the deployed spec cannot serve here: {error.message}", hint="is this the machine of the lock file?"
            ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ending:
    """When enough pairs were measured."""

    lock: Lock
    budget: _Budget
    most: int

    def reached(self, pairs: Sequence[Pair]) -> bool:
        if len(pairs) >= self.most or (len(pairs) >= LEAST_PAIRS and not _open(pairs, self.lock, self.most)):
            return True
        used_s = sum(pair.elapsed_s for pair in pairs if not pair.reused)
        longest_s = max(pair.elapsed_s for pair in pairs)
        return self.budget.first_s + used_s + longest_s > self.budget.allowed_s


def _open(pairs: Sequence[Pair], lock: Lock, most: int) -> bool:
    return still_open(metric_verdicts(pairs, lock, most), pooled_tallies(pairs, "candidate"))


def _pair_line(pair: Pair, most: int) -> str:
    figures = [
        f"{name} {pair.deployed.figure(name):.4g} and {pair.candidate.figure(name):.4g}"
        for name in ("saturated_rps", "latency_p99_ms")
    ]
    return f"pair {pair.number + 1} of at most {most}: {', '.join(figures)}{' (reused)' if pair.reused else ''}"


def _refuse_other_server(order: GateOrder, lock: Lock, pair: Pair) -> None:
    """Raises LockUnusable where the deployed side is not served as it was when the lock file was written."""
    now = served_by(lock.fingerprint, pair.deployed)
    found = [one for one in differences(lock.fingerprint, now, SERVED_BY) if one.field not in order.accepted]
    if found:
        raise LockUnusable(
            f"the lock file was measured on something else: {'; '.join(map(str, found))}",
            hint=f"tune here and servetune baseline update, or --accept {found[0].field}",
        )


def served_by(before: Fingerprint, reading: Reading) -> Fingerprint:
    """The fingerprint with what a deployment says served it."""
    return replace(before, **facts_by_field(reading.facts))


def _cache(order: GateOrder, lock: Lock, sides: Sides) -> PairCache | None:
    if order.cache_dir is None:
        return None
    key = cache_key(lock, sides.deployed, sides.candidate, sides.configuration, sides.replicas)
    return PairCache(order.cache_dir / key, oldest_s=order.cache_age_s)


def _judged(order: GateOrder, lock: Lock, sides: Sides, pairs: tuple[Pair, ...], most: int) -> GateResult:
    """From pairs to the result."""
    metrics = metric_verdicts(pairs, lock, most)
    slos = slo_verdicts(pooled_tallies(pairs, "candidate"), pooled_counts(pairs, "candidate"))
    deployed, candidate = _fingerprints(lock, sides, pairs[-1])
    needed_rps = required_rps(lock.load.target_rps, lock.load.headroom)
    carried_rps = _carried_rps(metrics, needed_rps)
    before = Bought(
        configuration=lock.configuration,
        footprint=lock.spec.footprint,
        replicas=lock.spec.replicas,
        required_rps=needed_rps,
        carried_rps=carried_rps[0] / lock.spec.replicas,
    )
    after = replace(sides.bought(needed_rps), carried_rps=carried_rps[1] / sides.replicas)
    cost = split_cost(before, after, old=lock.pricing, new=sides.candidate.pricing)
    money = cost_metric(lock, cost)
    all_metrics = metrics if money.level == "off" else (*metrics, money)
    outcome = outcome_of(all_metrics, slos)
    if outcome is not Outcome.FAILED and len(pairs) < LEAST_PAIRS:
        outcome = Outcome.BUDGET
    reused = sum(pair.reused for pair in pairs)
    return GateResult(
        mode="verify",
        study=lock.study,
        outcome=outcome,
        summary=summary_of(outcome, all_metrics, slos),
        metrics=all_metrics,
        slos=slos,
        cost=cost,
        deployed=deployed,
        candidate=candidate,
        differences=differences(deployed, candidate),
        spec_change=spec_diff(lock, sides.configuration, sides.replicas),
        runs=_runs(pairs),
        notes=(
            *sides.notes,
            *lower_bound_note(pairs),
            *((f"reused {reused} of {len(pairs)} pairs from {order.cache_dir}",) if reused else ()),
        ),
        reproduce=order.reproduce,
        on_inconclusive=order.on_inconclusive,
    )


def _carried_rps(metrics: Sequence[MetricVerdict], needed_rps: float) -> tuple[float, float]:
    """What all replicas of each side carry: the same where no difference was shown, and at least what was proven."""
    seen = next((metric for metric in metrics if metric.metric == "saturated_rps"), None)
    if seen is None or seen.deployed is None or seen.candidate is None:
        return needed_rps, needed_rps
    same = seen.change in (Change.SAME, Change.INCONCLUSIVE)
    return seen.deployed, seen.deployed if same else seen.candidate


def _fingerprints(lock: Lock, sides: Sides, pair: Pair) -> tuple[Fingerprint, Fingerprint]:
    prices = lock.prices.rows
    deployed = fingerprint_of(sides.deployed, lock.configuration, pair.deployed.facts, prices, tool=__version__)
    candidate = fingerprint_of(
        sides.candidate,
        sides.configuration,
        pair.candidate.facts,
        prices_for(sides.candidate.pricing, sides.configuration),
        tool=__version__,
    )
    return replace(deployed, prices=lock.fingerprint.prices), candidate


def _runs(pairs: Sequence[Pair]) -> tuple[RunSummary, ...]:
    names: tuple[Side, Side] = ("deployed", "candidate")
    return tuple(
        RunSummary(pair=pair.number, side=side, readings=reading.figures, reused=pair.reused)
        for pair in pairs
        for side, reading in zip(names, (pair.deployed, pair.candidate), strict=True)
    )


def _cannot_serve(order: GateOrder, lock: Lock, sides: Sides, why: str) -> GateResult:
    """A candidate that cannot be deployed at all is a failure, and needs no statistics."""
    cannot = SloVerdict(
        slo="the candidate can be deployed",
        verdict=Verdict.FAIL,
        observed=0.0,
        upper_bound=0.0,
        limit=1.0,
        requests=0,
        bad=0,
    )
    told = f"the candidate cannot serve: {why}"
    return replace(_without_pairs(order, lock, sides, told), outcome=Outcome.FAILED, slos=(cannot,))


def _nothing_feasible(order: GateOrder, lock: Lock, spec: StudySpec, why: str) -> GateResult:
    """The study of the candidate showed that none of its configurations can serve: there is nothing to compare."""
    sides = Sides(deployed=spec, candidate=spec, configuration=lock.configuration, replicas=lock.spec.replicas)
    return _without_pairs(order, lock, sides, why)


def _without_pairs(order: GateOrder, lock: Lock, sides: Sides, why: str) -> GateResult:
    prices = prices_for(completed(sides.candidate.pricing, lock.pricing), sides.configuration)
    candidate = fingerprint_of(sides.candidate, sides.configuration, (), prices, tool=__version__)
    fields = ("configuration", "model", "runner", "load", "slos", "prices")
    return GateResult(
        mode="verify",
        study=lock.study,
        outcome=Outcome.NOTHING_FEASIBLE,
        summary=why,
        metrics=(),
        slos=(),
        cost=None,
        deployed=lock.fingerprint,
        candidate=candidate,
        differences=differences(lock.fingerprint, candidate, fields),
        spec_change=spec_diff(lock, sides.configuration, sides.replicas),
        runs=(),
        notes=sides.notes,
        reproduce=order.reproduce,
        on_inconclusive=order.on_inconclusive,
    )


def _unwatched(_event: Event) -> None:
    """Pairs are told by the line, phases by nobody."""
