"""Money: known exactly, never zero by ignorance."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.specs import a_price
from tuner.domain.cost import Footprint, PriceBook, Pricing, replicas_at_least, required_rps
from tuner.domain.errors import UsageError
from tuner.domain.space import Configuration


def pricing(*prices, term="on_demand", **footprint) -> Pricing:
    return Pricing(book=PriceBook(currency="USD", term=term, prices=prices), footprint=Footprint(**footprint))


def test_cores_memory_and_the_share_of_a_gpu_add_up():
    book = pricing(a_price("cpu_core", 0.05), a_price("memory_gib", 0.01), a_price("gpu", 2.0, sku="L4"))
    spec = Configuration.of({"cpu_cores": 4, "memory_gib": 16, "gpu_type": "L4", "gpu_memory_share": 0.25})
    assert book.unit_cost_per_hour(spec) == pytest.approx(4 * 0.05 + 16 * 0.01 + 0.25 * 2.0)


def test_what_no_knob_tunes_comes_from_the_footprint():
    book = pricing(a_price("cpu_core", 0.05), a_price("gpu", 2.0, sku="L4"), cpu_cores=2.0, gpu_type="L4")
    assert book.unit_cost_per_hour(Configuration.of({"max_batch_size": 8})) == pytest.approx(0.1 + 2.0)


def test_the_newest_price_counts():
    old, new = replace(a_price("cpu_core", 0.9), as_of="2025-01-01"), a_price("cpu_core", 0.05)
    assert pricing(new, old).unit_cost_per_hour(Configuration.of({"cpu_cores": 1})) == pytest.approx(0.05)


@pytest.mark.parametrize("setting", [{"cpu_cores": 1, "gpu_type": "H100"}, {"cpu_cores": 1, "memory_gib": 4}])
def test_an_unknown_price_is_an_error_never_zero(setting):
    with pytest.raises(UsageError, match="no on_demand price"):
        pricing(a_price("cpu_core", 0.05)).unit_cost_per_hour(Configuration.of(setting))


def test_a_price_under_another_term_does_not_count():
    with pytest.raises(UsageError, match="no spot price for cpu_core"):
        pricing(a_price("cpu_core", 0.05), term="spot").unit_cost_per_hour(Configuration.of({"cpu_cores": 1}))


def test_headroom_is_the_share_left_unused():
    assert required_rps(90, 0.1) == pytest.approx(100)


def test_replicas_are_whole():
    assert replicas_at_least(100, 34) == 3
    assert replicas_at_least(100, 50) == 2
    assert replicas_at_least(100, 1000) == 1
    assert replicas_at_least(100, 0.0) == 1
