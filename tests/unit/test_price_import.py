"""Rows of a price book from public lists of whole machines."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from tuner.commands import imported_prices
from tuner.domain.errors import UsageError
from tuner.prices import parse_price_book

BOOK = """resource,sku,term,currency,price_per_hour,as_of,source
cpu_core,,on_demand,USD,0.03,2026-11-01,made up for tests
memory_gib,,on_demand,USD,0.005,2026-11-01,made up for tests
cpu_core,,spot,USD,0.01,2026-11-01,made up for tests
memory_gib,,spot,USD,0.001,2026-11-01,made up for tests
"""
SKYPILOT = """InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Region,SpotPrice,Price
one,T4,1.0,4.0,16.0,T4,here,0.15,0.5
two,T4,2.0,8.0,32.0,T4,here,,0.9
far,T4,1.0,4.0,16.0,T4,there,,0.1
big,A100-80GB,8.0,96,1152.0,A100-80GB,here,,40.0
plain,,,4,16,,here,,0.2
,L4,1.0,,,L4,here,0.3,0.7
"""
GPUHUNT = """instance_name,location,price,cpu,memory,gpu_count,gpu_name,gpu_memory,spot
one,here,0.5,4,16.0,1,T4,16.0,False
one,here,0.15,4,16.0,1,T4,16.0,True
plain,here,0.2,4,16.0,0,,,False
"""
DATE = date(2026, 11, 20)


@pytest.fixture
def book(tmp_path: Path) -> Path:
    file = tmp_path / "prices.csv"
    file.write_text(BOOK)
    return file


def imported(tmp_path: Path, book: Path, text: str, **changes) -> str:
    file = tmp_path / "vms.csv"
    file.write_text(text)
    return imported_prices(file, book, **({"region": "here", "as_of": DATE, "term": "on_demand"} | changes))


def test_each_gpu_costs_what_is_left_of_its_cheapest_machine(tmp_path: Path, book: Path):
    rows = imported(tmp_path, book, SKYPILOT)
    priced = parse_price_book((BOOK + rows).encode(), currency="USD", term="on_demand", file="prices.csv")
    assert priced.price("gpu", "T4").price_per_hour == pytest.approx((0.9 - 8 * 0.03 - 32 * 0.005) / 2)
    assert priced.price("gpu", "A100-80GB").price_per_hour == pytest.approx(
        (40.0 - 96 * 0.03 - 1152 * 0.005) / 8, rel=1e-5
    )
    assert priced.price("gpu", "L4").price_per_hour == pytest.approx(0.7)
    assert priced.price("gpu", "T4").as_of == "2026-11-20"
    assert "two in here" in priced.price("gpu", "T4").source


@pytest.mark.parametrize("text", [SKYPILOT, GPUHUNT], ids=["skypilot", "gpuhunt"])
def test_spot_prices_are_their_own(tmp_path: Path, book: Path, text: str):
    rows = imported(tmp_path, book, text, term="spot")
    priced = parse_price_book((BOOK + rows).encode(), currency="USD", term="spot", file="prices.csv")
    assert priced.price("gpu", "T4").price_per_hour == pytest.approx(0.15 - 4 * 0.01 - 16 * 0.001)


@pytest.mark.parametrize(
    ("text", "changes", "said"),
    [
        ("a,b\n1,2\n", {}, "no price list"),
        (SKYPILOT, {"region": "nowhere"}, "nowhere"),
        (SKYPILOT.replace("here,,0.9", "here,,free"), {}, "vms.csv:3.*free"),
        (SKYPILOT.replace("here,,0.9", "here,,0.1"), {}, "less than its cores"),
        (SKYPILOT.replace("here,,0.9", "here,,nan"), {}, "nan"),
        ("", {}, "no price list"),
    ],
    ids=["foreign", "region", "no number", "too cheap", "not finite", "empty"],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, book: Path, text: str, changes: dict, said: str):
    with pytest.raises(UsageError, match=said):
        imported(tmp_path, book, text, **changes)
