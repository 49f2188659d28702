"""What a spec costs beside another, and when that is a regression: at the prices of then and at those of today."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.specs import a_price
from tests.unit.gate.test_lock_file import a_lock
from tuner.domain.cost import Footprint, Pricing
from tuner.domain.errors import UsageError
from tuner.domain.space import Configuration
from tuner.gate.check import cost_metric, cost_of_load
from tuner.gate.cost import Bought, CostSplit, lent_prices, split_cost
from tuner.gate.lock import Lock
from tuner.gate.metrics import COST
from tuner.gate.sequential import Change

ONE_CORE = Footprint(cpu_cores=1.0)
WITH_A_GPU = Footprint(cpu_cores=1.0, gpu_type="l4")


def bought(footprint: Footprint) -> Bought:
    return Bought(configuration=Configuration(()), footprint=footprint, replicas=1, required_rps=1.0, carried_rps=1.0)


def prices(core: float, gpu: float | None = None) -> Pricing:
    book = a_lock().pricing.book
    rows = [a_price(price_per_hour=core), *([] if gpu is None else [a_price("gpu", gpu, "l4")])]
    return Pricing(book=replace(book, prices=tuple(rows)), footprint=ONE_CORE)


def split(**changes: float) -> CostSplit:
    fields = {"before": 1.0, "before_today": 1.0, "after": 1.0, "prices": 0.0, "capacity": 0.0, "rounding": 0.0}
    return CostSplit(**(fields | changes), currency="USD", priced_on="")  # type: ignore[arg-type]


def without_cost_rule(**changes: object) -> Lock:
    lock = a_lock(**changes)
    return replace(lock, policy=tuple(replace(r, level="off") if r.metric == COST else r for r in lock.policy))


def test_a_doubled_footprint_is_bought_and_no_change_of_prices():
    before, after = bought(ONE_CORE), bought(Footprint(cpu_cores=2.0))
    found = split_cost(before, after, old=prices(0.05), new=prices(0.05))
    assert (found.before, found.after, found.prices) == (0.05, 0.1, 0.0)
    assert found.capacity == pytest.approx(0.05)
    assert cost_metric(a_lock(), found).blocks


def test_a_price_that_the_lock_file_lacks_is_todays_and_said():
    after, old, new = bought(WITH_A_GPU), prices(0.05), prices(0.06, gpu=0.7)
    found = split_cost(bought(ONE_CORE), after, old=old, new=new)
    assert (found.after, found.prices) == (pytest.approx(0.76), pytest.approx(0.01))
    (said,) = lent_prices(after, old=old, new=new)
    assert "gpu l4" in said
    assert lent_prices(bought(ONE_CORE), old=old, new=new) == ()
    with pytest.raises(UsageError, match="no on_demand price"):
        lent_prices(after, old=old, new=old)


def test_other_money_is_not_compared():
    new = replace(prices(0.05), book=replace(prices(0.05).book, currency="EUR"))
    with pytest.raises(UsageError, match="USD and in EUR"):
        split_cost(bought(ONE_CORE), bought(ONE_CORE), old=prices(0.05), new=new)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (split(after=1.2, prices=0.0, before_today=1.0), Change.REGRESSION),
        (split(after=0.6, prices=-0.6, before_today=1.0), Change.SAME),  # 1.2 at the prices of then
        (split(after=0.9, prices=-0.3, before_today=0.8), Change.REGRESSION),
        (split(after=1.5, prices=0.5, before_today=1.0), Change.SAME),
        (split(after=0.8, prices=0.0, before_today=1.0), Change.IMPROVEMENT),
    ],
)
def test_a_spec_is_dearer_only_where_it_is_at_both_prices(found, expected):
    assert cost_metric(a_lock(), found).change is expected


def test_the_limit_blocks_whatever_the_rule_says():
    assert cost_metric(without_cost_rule(max_hourly_cost=0.5), split()).blocks
    assert cost_metric(without_cost_rule(max_hourly_cost=1.0), split()).level == "off"
    cheaper_today = split(after=0.6, prices=-0.6)
    assert cost_metric(a_lock(max_hourly_cost=1.1), cheaper_today).blocks


def test_what_more_load_costs_is_no_regression():
    lock = a_lock()
    one = lock.pricing.unit_cost_per_hour(lock.configuration)
    load_rps = lock.load.target_rps / (1.0 - lock.load.headroom)
    more = cost_of_load(lock, 3.0 * load_rps)
    assert (cost_of_load(lock, load_rps), more) == (0.0, pytest.approx(2.0 * one))
    found = split(before=one, before_today=one, after=3.0 * one)
    assert not cost_metric(lock, found, by_load=more).blocks
    assert cost_metric(lock, found).blocks
