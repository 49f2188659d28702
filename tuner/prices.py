"""Reading a price book: a CSV file of dated prices, each with its source, in one currency or converted by a dated rate.

Columns: resource (cpu_core | memory_gib | gpu | rate), sku, term, currency, price_per_hour, as_of, source. A `rate` row
says what one unit of a currency costs in another: sku EUR/USD, price 1.08. Blank lines and lines with # are skipped.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from importlib import resources
from pathlib import Path
from typing import cast, get_args

from tuner.domain.cost import Price, PriceBook, Resource, Term
from tuner.domain.errors import Problem, SpecError
from tuner.spec_problems import in_file_order, nearest
from tuner.yaml_text import read_text

COLUMNS = ("resource", "sku", "term", "currency", "price_per_hour", "as_of", "source")
TERMS: tuple[str, ...] = get_args(Term)
RESOURCES: tuple[str, ...] = get_args(Resource)
STALE_AFTER_DAYS = 90
_MOST_PER_HOUR = 1_000_000.0
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_CURRENCY = re.compile(r"[A-Z]{3}")
_PAIR = re.compile(r"[A-Z]{3}/[A-Z]{3}")
_SKU = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of the file whose every field has the right form."""

    line: int
    columns: tuple[int, ...]
    fields: Mapping[str, str]

    @property
    def is_rate(self) -> bool:
        return self.fields["resource"] == "rate"

    @property
    def identity(self) -> tuple[str, ...]:
        """Two rows must not share this: the currency is left out, since both would be the price of one thing."""
        return tuple(self.fields[name] for name in ("resource", "sku", "term", "as_of"))

    def column(self, name: str) -> int:
        return self.columns[COLUMNS.index(name)]


def default_price_book() -> str:
    """The text of the price book that comes with the package; its head says where the figures are from."""
    return resources.files("tuner").joinpath("data", "prices.csv").read_text(encoding="utf-8")


def load_price_book(path: Path, *, currency: str, term: Term, file: str | None = None) -> PriceBook:
    """All prices of a file, in `currency`. Raises SpecError with every problem, UsageError if it is unreadable."""
    return parse_price_book(read_text(path), currency=currency, term=term, file=file or str(path))


def parse_price_book(content: bytes, *, currency: str, term: Term, file: str) -> PriceBook:
    """All prices of a CSV text, in `currency`. Raises SpecError with every problem found."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise SpecError((Problem(file, line, 1, "this line is not UTF-8", "save the file as UTF-8"),)) from error
    problems: list[Problem] = []
    rows = tuple(_rows(text, file, problems))
    rates = _rates(rows)
    prices = tuple(_prices(rows, rates, currency, file, problems))
    if not problems and not prices:
        problems.append(Problem(file, 1, 1, "the price book has no price", f"columns: {','.join(COLUMNS)}"))
    if problems:
        raise SpecError(in_file_order(problems))
    return PriceBook(currency=currency, term=term, prices=prices)


def doubtful_dates(prices: tuple[Price, ...], *, today: date) -> tuple[str, ...]:
    """A warning for each price that is older than 90 days, or from the future."""
    return tuple(warning for price in prices for warning in _doubtful_date(price, today))


def _doubtful_date(price: Price, today: date) -> Iterator[str]:
    age_days = (today - date.fromisoformat(price.as_of)).days
    name = f"the {price.term} price of {price.resource} {price.sku}".strip()
    if age_days > STALE_AFTER_DAYS:
        yield f"{name} is {age_days} days old ({price.as_of}, {price.source}): check it"
    elif age_days < 0:
        yield f"{name} is dated in the future ({price.as_of}): check it"


def _rows(text: str, file: str, problems: list[Problem]) -> Iterator[_Row]:
    header_seen, first_line_of = False, dict[tuple[str, ...], int]()
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        cells = _cells(line, number, file, problems)
        if cells is None:
            continue
        if not header_seen:
            header_seen = True
            if cells != COLUMNS:
                hint = f"the first line must be {','.join(COLUMNS)}"
                problems.append(Problem(file, number, 1, "these are not the columns of a price book", hint))
                return
            continue
        row = _row(cells, line, number, file, problems)
        if row is None:
            continue
        earlier = first_line_of.setdefault(row.identity, number)
        if earlier != number:
            problems.append(Problem(file, number, 1, "duplicate row", f"the same price is on line {earlier}"))
            continue
        yield row


def _cells(line: str, number: int, file: str, problems: list[Problem]) -> tuple[str, ...] | None:
    try:
        return tuple(cell.strip() for cell in next(csv.reader([line], strict=True)))
    except csv.Error as error:
        problems.append(Problem(file, number, 1, f"not valid CSV: {error}", "a quoted field ends on its own line"))
        return None


def _row(cells: tuple[str, ...], line: str, number: int, file: str, problems: list[Problem]) -> _Row | None:
    if len(cells) != len(COLUMNS):
        message = f"{len(cells)} fields instead of {len(COLUMNS)}"
        problems.append(Problem(file, number, 1, message, 'put a field that holds a comma in "quotes"'))
        return None
    row = _Row(line=number, columns=_field_columns(line), fields=dict(zip(COLUMNS, cells, strict=True)))
    wrong = tuple(_wrong_fields(row.fields))
    problems += [Problem(file, number, row.column(name), message, hint) for name, message, hint in wrong]
    return None if wrong else row


def _field_columns(line: str) -> tuple[int, ...]:
    """Where each field of a CSV line starts, counted from 1."""
    starts, quoted = [1], False
    for position, character in enumerate(line, start=1):
        if character == '"':
            quoted = not quoted
        elif character == "," and not quoted:
            starts.append(position + 1)
    return tuple(starts)


def _wrong_fields(fields: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """(column, message, hint) for each field of the wrong form."""
    resource = fields["resource"]
    if resource not in (*RESOURCES, "rate"):
        yield "resource", f"unknown resource '{resource}'", nearest(resource, (*RESOURCES, "rate"))
        return
    yield from _wrong_rate(fields) if resource == "rate" else _wrong_price(fields)
    yield from _wrong_number(fields["price_per_hour"])
    try:
        date.fromisoformat(fields["as_of"])
    except ValueError:
        yield "as_of", f"'{fields['as_of']}' is no date", "write it as 2026-11-30"
    if not fields["source"]:
        yield "source", "a price needs a source", "say where it comes from: a page, a contract, a guess"


def _wrong_rate(fields: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    if not _PAIR.fullmatch(fields["sku"]) or fields["sku"][:3] == fields["sku"][4:]:
        yield "sku", f"'{fields['sku']}' is no pair of currencies", "EUR/USD with 1.08: one EUR costs 1.08 USD"
    if fields["term"]:
        yield "term", "a rate has no term", "leave the field empty"
    if fields["currency"] not in ("", fields["sku"][4:]):
        yield "currency", "a rate is in the second currency of its pair", "leave the field empty"


def _wrong_price(fields: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    if fields["resource"] == "gpu" and not _SKU.fullmatch(fields["sku"]):
        yield "sku", f"'{fields['sku']}' is no GPU type", "a name such as T4 or A100-80GB, without spaces"
    if fields["resource"] != "gpu" and fields["sku"]:
        yield "sku", f"{fields['resource']} has no sku", "leave the field empty"
    if fields["term"] not in TERMS:
        yield "term", f"unknown term '{fields['term']}'", nearest(fields["term"], TERMS)
    if not _CURRENCY.fullmatch(fields["currency"]):
        yield "currency", f"'{fields['currency']}' is no currency", "three capital letters such as USD"


def _wrong_number(text: str) -> Iterator[tuple[str, str, str]]:
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if math.isnan(value):
        yield "price_per_hour", f"'{text}' is no price", "a plain number per hour, such as 0.35"
    elif not 0.0 < value <= _MOST_PER_HOUR:
        yield "price_per_hour", f"a price of {text} cannot be", "leave out what you do not know: nothing is free"


def _rates(rows: tuple[_Row, ...]) -> dict[tuple[str, str], _Row]:
    """The newest rate of each pair of currencies."""
    newest: dict[tuple[str, str], _Row] = {}
    for row in sorted((row for row in rows if row.is_rate), key=lambda row: row.fields["as_of"]):
        newest[row.fields["sku"][:3], row.fields["sku"][4:]] = row
    return newest


def _prices(
    rows: tuple[_Row, ...], rates: Mapping[tuple[str, str], _Row], currency: str, file: str, problems: list[Problem]
) -> Iterator[Price]:
    for row in rows:
        if row.is_rate:
            continue
        factor = _factor(row.fields["currency"], currency, rates)
        if factor is None:
            message = f"the price is in {row.fields['currency']}, the study in {currency}, and the book has no rate"
            hint = f"add a row: rate,{row.fields['currency']}/{currency},,,RATE,DATE,SOURCE"
            problems.append(Problem(file, row.line, row.column("currency"), message, hint))
            continue
        yield Price(
            resource=cast("Resource", row.fields["resource"]),
            sku=row.fields["sku"],
            term=cast("Term", row.fields["term"]),
            price_per_hour=float(row.fields["price_per_hour"]) * factor[0],
            as_of=row.fields["as_of"],
            source=row.fields["source"] + factor[1],
        )


def _factor(have: str, want: str, rates: Mapping[tuple[str, str], _Row]) -> tuple[float, str] | None:
    """What one unit of `have` costs in `want`, with a note on the rate for the price's source."""
    if have == want:
        return 1.0, ""
    direct, inverse = rates.get((have, want)), rates.get((want, have))
    newest = max((r for r in (direct, inverse) if r is not None), key=lambda r: r.fields["as_of"], default=None)
    if newest is None:
        return None
    rate = float(newest.fields["price_per_hour"])
    shown = f"; converted at {newest.fields['sku']} {rate:g} of {newest.fields['as_of']}: {newest.fields['source']}"
    return (rate if newest is direct else 1.0 / rate), shown
