"""What changes when one answer takes the place of another: knobs, capacity, and money with its reasons."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tuner.domain.cost import Pricing
from tuner.domain.deployable import HOURS_PER_MONTH, Deployable
from tuner.domain.errors import UsageError
from tuner.domain.space import KnobValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing before and after; None where it was not set. `ratio` is after / before, None without two numbers."""

    name: str
    before: KnobValue | None
    after: KnobValue | None

    @property
    def ratio(self) -> float | None:
        before, after = self.before, self.after
        if before is None or after is None or isinstance(before, str) or isinstance(after, str) or not before:
            return None
        return after / before

    @property
    def same(self) -> bool:
        return self.before == self.after


@dataclass(frozen=True, slots=True, kw_only=True)
class MoneyPerHour:
    """A difference in its parts, which add up to it.

    `prices`: what other prices alone do to the old answer. At the new prices then, `size`: what another size of a
    replica does to as many replicas as before, and `replicas`: what more or fewer of the new size do.
    """

    before: float
    after: float
    prices: float
    size: float
    replicas: float

    @property
    def per_month(self) -> float:
        return (self.after - self.before) * HOURS_PER_MONTH


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecDifference:
    """`money` is None where the two cannot be compared, and `why_no_money` says why."""

    before: Deployable
    after: Deployable
    knobs: tuple[Change, ...]
    load: tuple[Change, ...]
    money: MoneyPerHour | None
    why_no_money: str
    doubts: tuple[str, ...]


def spec_difference(before: Deployable, after: Deployable) -> SpecDifference:
    """Everything that both answers say, old and new."""
    knobs, others = before.configuration.as_dict(), after.configuration.as_dict()
    names = [*knobs, *(name for name in others if name not in knobs)]
    changes = [Change(name=name, before=knobs.get(name), after=others.get(name)) for name in names]
    money, why = _money(before, after)
    return SpecDifference(
        before=before,
        after=after,
        knobs=(*changes, Change(name="replicas", before=before.replicas, after=after.replicas)),
        load=_load(before, after),
        money=money,
        why_no_money=why,
        doubts=_doubts(before, after),
    )


def _load(before: Deployable, after: Deployable) -> tuple[Change, ...]:
    """The asked load and limits: two answers to different questions differ for that reason, too."""
    limits = {slo.indicator: slo.bound for slo in before.slos}
    others = {slo.indicator: slo.bound for slo in after.slos}
    names = [*limits, *(name for name in others if name not in limits)]
    asked = [Change(name=str(name), before=limits.get(name), after=others.get(name)) for name in names]
    rates = Change(name="target_rps", before=before.target_rps, after=after.target_rps)
    spare = Change(name="headroom", before=before.headroom, after=after.headroom)
    return tuple(change for change in (rates, spare, *asked) if not change.same)


def _money(before: Deployable, after: Deployable) -> tuple[MoneyPerHour | None, str]:
    old, new = before.pricing.book, after.pricing.book
    if old.currency != new.currency:
        return None, f"one is priced in {old.currency}, the other in {new.currency}"
    try:
        repriced = _unit_cost(before, after.pricing)
    except UsageError as error:
        return None, f"the new prices lack one for the old spec: {error.message}"
    at_new_prices = before.replicas * repriced
    return (
        MoneyPerHour(
            before=before.cost_per_hour,
            after=after.cost_per_hour,
            prices=at_new_prices - before.cost_per_hour,
            size=before.replicas * (after.unit_cost_per_hour - repriced),
            replicas=(after.replicas - before.replicas) * after.unit_cost_per_hour,
        ),
        "",
    )


def _unit_cost(of: Deployable, at: Pricing) -> float:
    """One replica of an answer at other prices: it occupies what it did."""
    return replace(at, footprint=of.pricing.footprint).unit_cost_per_hour(of.configuration)


def _doubts(before: Deployable, after: Deployable) -> tuple[str, ...]:
    """Why the two may not be comparable."""
    found = []
    for one in (before, after):
        if one.unproven:
            found.append(f"{one.study} is not proven: {one.unproven}")
        if one.simulated:
            found.append(f"{one.study} was measured in simulation, on no real server")
    if before.runner != after.runner:
        found.append(f"one was measured by the runner {before.runner}, the other by {after.runner}")
    if (before.model.name, before.model.digest) != (after.model.name, after.model.digest):
        found.append("the models differ")
    if before.pricing.book.term != after.pricing.book.term:
        found.append(f"one buys {before.pricing.book.term}, the other {after.pricing.book.term}")
    if None in (before.arrivals, after.arrivals):
        found.append("a lock file does not keep the load's shape, so the capacities may be of different loads")
    elif before.arrivals != after.arrivals:
        found.append("the loads differ in their shape, so the capacities are of different loads")
    return tuple(dict.fromkeys(found))
