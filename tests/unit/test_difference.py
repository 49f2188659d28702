from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.deployables import BOOK, a_deployable, an_unproven_answer
from tests.golden_files import matches_golden
from tests.specs import a_price
from tuner.diff_command import DiffDocument, diff_document, difference_text
from tuner.domain.capacity import Capacity
from tuner.domain.cost import Footprint, Pricing
from tuner.domain.deployable import Deployable
from tuner.domain.difference import spec_difference
from tuner.domain.space import KnobValue


def priced(knobs: dict[str, KnobValue], replicas: int = 3, *, times: float = 1.0) -> Deployable:
    """An answer at `times` the prices of the book, costing what those say."""
    book = replace(
        BOOK, prices=tuple(replace(price, price_per_hour=price.price_per_hour * times) for price in BOOK.prices)
    )
    pricing = Pricing(book=book, footprint=Footprint(memory_gib=8.0))
    of = a_deployable(knobs, replicas=replicas, pricing=pricing)
    return replace(of, unit_cost_per_hour=pricing.unit_cost_per_hour(of.configuration))


BEFORE: dict[str, KnobValue] = {"cpu_cores": 4, "gpu_type": "A100-40", "max_batch_size": 8}
AFTER: dict[str, KnobValue] = {"cpu_cores": 2, "gpu_type": "T4", "max_batch_size": 16, "queue_delay_ms": 1}


def a_difference() -> tuple[Deployable, Deployable]:
    after = replace(priced(AFTER, 5, times=1.1), study="resnet50-t4", target_rps=420.0)
    return priced(BEFORE), replace(after, capacity=Capacity(low_rps=104.9, high_rps=None))


def test_text_and_json_are_as_recorded():
    found = spec_difference(*a_difference())
    assert matches_golden("exports/difference.txt", difference_text(found) + "\n")
    text = diff_document(found).model_dump_json(indent=2) + "\n"
    assert matches_golden("exports/difference.json", text)
    assert DiffDocument.model_validate(json.loads(text)) == diff_document(found)


def test_other_prices_alone_are_no_other_capacity():
    money = spec_difference(priced(BEFORE), priced(BEFORE, times=1.25)).money
    assert money is not None
    assert money.prices == pytest.approx(0.25 * money.before)
    assert (money.size, money.replicas) == pytest.approx((0.0, 0.0))


def test_one_more_replica_alone_is_no_other_price():
    money = spec_difference(priced(BEFORE), priced(BEFORE, 4)).money
    assert money is not None
    assert (money.prices, money.size) == pytest.approx((0.0, 0.0))
    assert money.replicas == pytest.approx(money.before / 3)


@given(
    times=st.floats(0.1, 10),
    replicas=st.integers(1, 20),
    cores=st.integers(1, 64),
    gpu=st.sampled_from(["T4", "A100-40"]),
)
def test_the_parts_add_up(times: float, replicas: int, cores: int, gpu: str):
    after = priced({"cpu_cores": cores, "gpu_type": gpu}, replicas, times=times)
    money = spec_difference(priced(BEFORE), after).money
    assert money is not None
    assert money.prices + money.size + money.replicas == pytest.approx(money.after - money.before, abs=1e-9)
    assert money.after == pytest.approx(after.cost_per_hour)


def test_an_answer_is_no_different_from_itself():
    found = spec_difference(priced(BEFORE), priced(BEFORE))
    assert all(change.same for change in found.knobs)
    assert (found.load, found.doubts) == ((), ())
    assert "->" not in difference_text(found).split("\n", 1)[1]


def test_what_has_another_currency_is_not_compared():
    after = priced(BEFORE)
    after = replace(after, pricing=replace(after.pricing, book=replace(BOOK, currency="EUR")))
    found = spec_difference(priced(BEFORE), after)
    assert found.money is None
    assert "one is priced in USD, the other in EUR" in difference_text(found)


def test_a_price_that_is_gone_is_not_made_up():
    after = priced({"cpu_cores": 2, "gpu_type": "T4"})
    book = replace(BOOK, prices=(a_price(), a_price("memory_gib", 0.005), a_price("gpu", 0.8, "T4")))
    found = spec_difference(priced(BEFORE), replace(after, pricing=replace(after.pricing, book=book)))
    assert found.money is None
    assert "no on_demand price for gpu A100-40" in found.why_no_money


def test_what_makes_two_answers_hard_to_compare_is_said():
    found = spec_difference(a_deployable(), replace(an_unproven_answer(), runner="simulated"))
    told = " ".join(found.doubts)
    for words in ("is not proven", "in simulation", "by the runner kubernetes", "models differ", "in their shape"):
        assert words in told, words
    assert [change.name for change in found.load] == ["target_rps", "headroom", "error_ratio"]


def test_the_goldens_are_read_by_people():
    text = (Path(__file__).parents[1] / "golden/exports/difference.txt").read_text()
    assert max(map(len, text.splitlines())) <= 120
