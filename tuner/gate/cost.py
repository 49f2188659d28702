"""Why a spec costs another amount than before: prices, what a replica carries, and whole replicas."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tuner.domain.cost import Footprint, Price, Pricing
from tuner.domain.errors import UsageError
from tuner.domain.space import Configuration
from tuner.gate.lock import prices_for


@dataclass(frozen=True, slots=True, kw_only=True)
class Bought:
    """So many replicas of a configuration for a load of `required_rps`, each able to carry `carried_rps`.

    What a replica occupies beside its knobs is bought too: of the prices only the book counts.
    """

    configuration: Configuration
    footprint: Footprint
    replicas: int
    required_rps: float
    carried_rps: float

    def hourly_cost(self, pricing: Pricing) -> float:
        return self.replicas * self._unit_cost(pricing)

    def unrounded_cost(self, pricing: Pricing) -> float:
        """What it would cost if parts of replicas could be bought."""
        return self.required_rps / self.carried_rps * self._unit_cost(pricing)

    def prices(self, pricing: Pricing) -> tuple[Price, ...]:
        """The rows that its cost rests on. Raises UsageError where one is missing."""
        return prices_for(replace(pricing, footprint=self.footprint), self.configuration)

    def _unit_cost(self, pricing: Pricing) -> float:
        return replace(pricing, footprint=self.footprint).unit_cost_per_hour(self.configuration)


@dataclass(frozen=True, slots=True, kw_only=True)
class CostSplit:
    """Money per hour: before, after, and the three parts of the difference, which add up to it.

    `prices` is what other prices alone would have done to the new spec; `capacity` what a replica carries, its size and
    the load, at the old prices; `rounding` the share of replicas that is bought and not needed.
    `before_today` is what the old spec costs at the new prices.
    """

    before: float
    before_today: float
    after: float
    prices: float
    capacity: float
    rounding: float
    currency: str
    priced_on: str


def completed(pricing: Pricing, other: Pricing) -> Pricing:
    """The prices with those of another book for what this one has no row of.

    Raises UsageError where the two books count other money.
    """
    book, source = pricing.book, other.book
    if book.currency != source.currency:
        raise UsageError(
            f"costs in {book.currency} and in {source.currency} cannot be compared",
            hint="one currency for the lock file and the study: tune, and servetune baseline update",
        )
    known = {(price.resource, price.sku) for price in book.prices if price.term == book.term}
    lent = tuple(
        replace(price, term=book.term)
        for price in source.prices
        if price.term == source.term and (price.resource, price.sku) not in known
    )
    return replace(pricing, book=replace(book, prices=(*book.prices, *lent)))


def lent_prices(bought: Bought, *, old: Pricing, new: Pricing) -> tuple[str, ...]:
    """A sentence for each price of today that stands in for one the old book lacks. Raises UsageError."""
    known = set(old.book.prices)
    return tuple(
        f"the lock file has no price for {f'{price.resource} {price.sku}'.strip()}: today's of "
        f"{price.price_per_hour:g} {old.book.currency} per hour stands in for it"
        for price in bought.prices(completed(old, new))
        if price not in known
    )


def split_cost(before: Bought, after: Bought, *, old: Pricing, new: Pricing) -> CostSplit:
    """Rows that one book lacks are the other's. Raises UsageError where both lack one, or count other money."""
    old, new = completed(old, new), completed(new, old)
    cost_before, at_old_prices = before.hourly_cost(old), after.hourly_cost(old)
    cost_after = after.hourly_cost(new)
    capacity = after.unrounded_cost(old) - before.unrounded_cost(old)
    return CostSplit(
        before=cost_before,
        before_today=before.hourly_cost(new),
        after=cost_after,
        prices=cost_after - at_old_prices,
        capacity=capacity,
        rounding=at_old_prices - cost_before - capacity,
        currency=new.book.currency,
        priced_on=max((price.as_of for price in new.book.prices if price.term == new.book.term), default=""),
    )
