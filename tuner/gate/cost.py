"""Why a spec costs another amount than before: prices, what a replica carries, and whole replicas."""

from __future__ import annotations

from dataclasses import dataclass

from tuner.domain.cost import Pricing
from tuner.domain.space import Configuration


@dataclass(frozen=True, slots=True, kw_only=True)
class Bought:
    """So many replicas of a configuration for a load of `required_rps`, each able to carry `carried_rps`."""

    configuration: Configuration
    replicas: int
    required_rps: float
    carried_rps: float

    def hourly_cost(self, pricing: Pricing) -> float:
        return self.replicas * pricing.unit_cost_per_hour(self.configuration)

    def unrounded_cost(self, pricing: Pricing) -> float:
        """What it would cost if parts of replicas could be bought."""
        return self.required_rps / self.carried_rps * pricing.unit_cost_per_hour(self.configuration)


@dataclass(frozen=True, slots=True, kw_only=True)
class CostSplit:
    """Money per hour: before, after, and the three parts of the difference, which add up to it.

    `prices` is what other prices alone would have done to the new spec; `capacity` what a replica carries, its size and
    the load, at the old prices; `rounding` the share of replicas that is bought and not needed.
    """

    before: float
    after: float
    prices: float
    capacity: float
    rounding: float
    currency: str
    priced_on: str


def split_cost(before: Bought, after: Bought, *, old: Pricing, new: Pricing) -> CostSplit:
    """Raises UsageError where a price is missing."""
    cost_before, at_old_prices = before.hourly_cost(old), after.hourly_cost(old)
    cost_after = after.hourly_cost(new)
    capacity = after.unrounded_cost(old) - before.unrounded_cost(old)
    return CostSplit(
        before=cost_before,
        after=cost_after,
        prices=cost_after - at_old_prices,
        capacity=capacity,
        rounding=at_old_prices - cost_before - capacity,
        currency=new.book.currency,
        priced_on=max((price.as_of for price in new.book.prices if price.term == new.book.term), default=""),
    )
