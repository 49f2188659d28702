"""The price book: dated prices with their sources, in one currency, and never 0."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.specs import a_price
from tuner.domain.cost import Price, PriceBook
from tuner.domain.errors import SpecError, UsageError
from tuner.prices import COLUMNS, TERMS, default_price_book, doubtful_dates, load_price_book, parse_price_book

HEADER = ",".join(COLUMNS)
EXAMPLES = Path(__file__).parents[2] / "examples"


def book_of(*rows: str, currency: str = "USD") -> PriceBook:
    text = "\n".join([HEADER, *rows])
    return parse_price_book(text.encode(), currency=currency, term="on_demand", file="prices.csv")


def problems_of(*rows: str, currency: str = "USD") -> list[str]:
    with pytest.raises(SpecError) as caught:
        book_of(*rows, currency=currency)
    return [str(problem) for problem in caught.value.problems]


def test_a_row_becomes_a_price_with_its_date_and_source():
    assert book_of('cpu_core,,on_demand,USD,0.03,2026-11-01,"a page, by hand"').prices == (
        Price(
            resource="cpu_core",
            sku="",
            term="on_demand",
            price_per_hour=0.03,
            as_of="2026-11-01",
            source="a page, by hand",
        ),
    )


def test_comments_blank_lines_spaces_and_windows_line_ends_are_skipped():
    text = f"\ufeff# a book\r\n\r\n{HEADER}\r\n# more\r\ncpu_core, ,on_demand , USD,0.03,2026-11-01,page\r\n"
    assert len(parse_price_book(text.encode(), currency="USD", term="spot", file="p.csv").prices) == 1


def test_the_newest_price_counts():
    book = book_of("cpu_core,,on_demand,USD,0.05,2026-11-01,new", "cpu_core,,on_demand,USD,0.03,2026-01-01,old")
    assert book.price("cpu_core").source == "new"


def test_an_unknown_price_is_an_error_and_not_0():
    with pytest.raises(UsageError, match="no on_demand price for gpu L4"):
        book_of("cpu_core,,on_demand,USD,0.05,2026-11-01,page").price("gpu", "L4")


def test_another_currency_is_converted_at_the_newest_rate_and_says_so():
    price = book_of(
        "cpu_core,,on_demand,EUR,0.10,2026-11-01,invoice",
        "rate,EUR/USD,,,1.05,2026-10-01,bank",
        "rate,EUR/USD,,USD,1.10,2026-11-02,bank",
    ).price("cpu_core")
    assert price.price_per_hour == pytest.approx(0.11)
    assert price.source == "invoice; converted at EUR/USD 1.1 of 2026-11-02: bank"


def test_a_rate_works_in_both_directions():
    rows = ("cpu_core,,on_demand,USD,0.11,2026-11-01,page", "rate,EUR/USD,,,1.1,2026-11-02,bank")
    assert book_of(*rows, currency="EUR").price("cpu_core").price_per_hour == pytest.approx(0.10)


def test_without_a_rate_another_currency_is_refused():
    (problem,) = problems_of("cpu_core,,on_demand,EUR,0.10,2026-11-01,invoice")
    assert problem.startswith("prices.csv:2:21: the price is in EUR, the study in USD, and the book has no rate")


def test_two_currencies_for_one_thing_are_a_duplicate():
    rows = ("cpu_core,,spot,EUR,0.10,2026-11-01,a", "cpu_core,,spot,USD,0.11,2026-11-01,b")
    assert problems_of(*rows, "rate,EUR/USD,,,1.1,2026-11-02,bank") == [
        "prices.csv:3:1: duplicate row (the same price is on line 2)"
    ]


@pytest.mark.parametrize("text", ["", "# nothing\n", f"{HEADER}\n", "sku,price\nT4,1\n", f"{HEADER},region\n"])
def test_what_is_no_price_book_is_refused(text: str):
    with pytest.raises(SpecError):
        parse_price_book(text.encode(), currency="USD", term="spot", file="prices.csv")


def test_a_foreign_file_is_not_quoted_back():
    with pytest.raises(SpecError) as caught:
        parse_price_book(b"root:x:0:0:secret\n", currency="USD", term="spot", file="prices.csv")
    assert "secret" not in str(caught.value)


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(SpecError, match=r"prices\.csv:2:1: this line is not UTF-8"):
        parse_price_book(b"a\n\xff\n", currency="USD", term="spot", file="prices.csv")


@given(st.text(max_size=12).filter(lambda text: "\n" not in text and '"' not in text))
def test_only_plain_positive_numbers_are_prices(text: str):
    row = f'cpu_core,,on_demand,USD,"{text}",2026-11-01,page'
    try:
        price = book_of(row).price("cpu_core").price_per_hour
    except SpecError:
        return
    assert text.strip().isascii()
    assert 0 < price <= 1_000_000
    assert price == float(text)


@pytest.mark.parametrize(
    "text", ["1_0", "+1", " ", "\u0661", "1.", ".5", "0x1", "inf", "nan", "1e400", "0", "0.0", "-1", "1 000"]
)
def test_odd_numbers_are_no_prices(text: str):
    assert len(problems_of(f"cpu_core,,on_demand,USD,{text},2026-11-01,page")) == 1


def test_prices_warn_after_90_days_and_before_their_date():
    today = date(2026, 11, 22)
    fresh, old, ahead = (replace(a_price(), as_of=day) for day in ("2026-08-24", "2026-08-23", "2026-11-23"))
    assert doubtful_dates((fresh,), today=today) == ()
    (warning,) = doubtful_dates((old,), today=today)
    assert "91 days old (2026-08-23, made up for tests)" in warning
    (warning,) = doubtful_dates((ahead,), today=today)
    assert "in the future" in warning


@pytest.mark.parametrize("term", TERMS)
def test_the_book_of_the_package_prices_everything_under_every_term(term: str):
    book = parse_price_book(default_price_book().encode(), currency="USD", term=term, file="prices.csv")
    assert book.price("cpu_core").price_per_hour < book.price("gpu", "T4").price_per_hour
    assert all(book.price("gpu", price.sku) for price in book.prices if price.resource == "gpu")
    assert book.price("memory_gib")


def test_the_example_uses_the_book_of_the_package():
    assert (EXAMPLES / "simulated-gpu" / "prices.csv").read_text() == default_price_book()


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*/prices.csv")), ids=lambda path: path.parent.name)
def test_the_books_of_the_examples_are_right(path: Path):
    assert load_price_book(path, currency="USD", term="on_demand").price("cpu_core")
