"""Public price lists of whole virtual machines -> rows of a price book, one for each GPU type.

Two formats are read, told apart by their columns: a `vms.csv` of the SkyPilot catalogue (InstanceType, AcceleratorName,
AcceleratorCount, vCPUs, MemoryGiB, Region, Price, SpotPrice) and a provider's file of the gpuhunt catalogue
(instance_name, location, price, cpu, memory, gpu_count, gpu_name, spot). Both are in USD per hour.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from tuner.domain.cost import PriceBook, Term
from tuner.domain.errors import UsageError
from tuner.prices import COLUMNS
from tuner.yaml_text import read_text

SKYPILOT = {"InstanceType", "AcceleratorName", "AcceleratorCount", "vCPUs", "MemoryGiB", "Region", "Price", "SpotPrice"}
GPUHUNT = {"instance_name", "location", "price", "cpu", "memory", "gpu_count", "gpu_name", "spot"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One offer: a virtual machine in a region under a term, with `gpus` GPUs of one type (none: 0)."""

    name: str
    region: str
    term: Term
    price_per_hour: float
    cores: float
    memory_gib: float
    gpu_type: str
    gpus: float


def read_machines(path: Path) -> tuple[Machine, ...]:
    """Every priced offer of a file. Raises UsageError if it is unreadable, of another format, or a number is none."""
    text = read_text(path).decode("utf-8-sig", errors="replace")
    reader = csv.DictReader(io.StringIO(text), restval="")
    columns = set(reader.fieldnames or ())
    read = _skypilot if columns >= SKYPILOT else _gpuhunt if columns >= GPUHUNT else None
    if read is None:
        raise UsageError(
            f"{path} is no price list that servetune can read",
            hint="a vms.csv of the SkyPilot catalogue, or a provider's file of the gpuhunt catalogue",
        )
    return tuple(machine for line, row in enumerate(reader, start=2) for machine in read(row, f"{path}:{line}"))


def _skypilot(row: Mapping[str, str], place: str) -> Iterator[Machine]:
    terms: tuple[tuple[Term, str], ...] = (("on_demand", "Price"), ("spot", "SpotPrice"))
    for term, column in terms:
        # Accelerators without a machine are listed by some providers: their price is the GPU's alone.
        if row[column]:
            yield Machine(
                name=row["InstanceType"] or row["AcceleratorName"],
                region=row["Region"],
                term=term,
                price_per_hour=_number(row[column], place),
                cores=_number(row["vCPUs"] or "0", place),
                memory_gib=_number(row["MemoryGiB"] or "0", place),
                gpu_type=row["AcceleratorName"],
                gpus=_number(row["AcceleratorCount"] or "0", place),
            )


def _gpuhunt(row: Mapping[str, str], place: str) -> Iterator[Machine]:
    if row["price"]:
        yield Machine(
            name=row["instance_name"],
            region=row["location"],
            term="spot" if row["spot"].lower() == "true" else "on_demand",
            price_per_hour=_number(row["price"], place),
            cores=_number(row["cpu"] or "0", place),
            memory_gib=_number(row["memory"] or "0", place),
            gpu_type=row["gpu_name"],
            gpus=_number(row["gpu_count"] or "0", place),
        )


def _number(text: str, place: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise UsageError(f"{place}: {text!r} is no number") from error
    if not math.isfinite(value) or value < 0:
        raise UsageError(f"{place}: {text!r} is no price or amount")
    return value


def gpu_rows(machines: Sequence[Machine], book: PriceBook, *, region: str, as_of: date, source: str) -> tuple[str, ...]:
    """One CSV row a GPU type: what is left of its cheapest offer in the region once cores and memory are paid.

    Cores and memory are priced by `book`, under its term; the source says which machine and which subtraction. Raises
    UsageError where the region has no such offer, or a machine costs less than its cores and memory in the book.
    """
    if book.currency != "USD":
        raise UsageError(f"price lists are in USD, the book is in {book.currency}", hint="use a book in USD")
    offers = [
        one for one in machines if one.gpus > 0 and one.gpu_type and one.region == region and one.term == book.term
    ]
    if not offers:
        known = ", ".join(sorted({one.region for one in machines if one.gpus > 0 and one.term == book.term})[:12])
        raise UsageError(f"no {book.term} offer with a GPU in region {region!r}", hint=f"regions: {known or 'none'}")
    cheapest: dict[str, tuple[float, Machine]] = {}
    for one in offers:
        each = _left_for_gpu(one, book)
        if each < cheapest.get(_sku(one.gpu_type), (math.inf, one))[0]:
            cheapest[_sku(one.gpu_type)] = each, one
    return tuple(
        _row(sku, each, machine, as_of=as_of, source=source) for sku, (each, machine) in sorted(cheapest.items())
    )


def _left_for_gpu(machine: Machine, book: PriceBook) -> float:
    """Money per hour for one of its GPUs."""
    rest = machine.price_per_hour
    if machine.cores:
        rest -= machine.cores * book.price("cpu_core").price_per_hour
    if machine.memory_gib:
        rest -= machine.memory_gib * book.price("memory_gib").price_per_hour
    if rest <= 0:
        raise UsageError(
            f"{machine.name} in {machine.region} costs {machine.price_per_hour:g}, less than its cores and memory "
            "in the book",
            hint="give a book with this provider's prices of cores and memory",
        )
    return rest / machine.gpus


def _sku(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-")


def _row(sku: str, each: float, machine: Machine, *, as_of: date, source: str) -> str:
    told = (
        f"{source}: {machine.name} in {machine.region}, {machine.price_per_hour:g} less {machine.cores:g} cores and "
        f"{machine.memory_gib:g} GiB, over {machine.gpus:g} GPUs"
    )
    line = io.StringIO()
    csv.DictWriter(line, COLUMNS, lineterminator="").writerow(
        {
            "resource": "gpu",
            "sku": sku,
            "term": machine.term,
            "currency": "USD",
            "price_per_hour": f"{each:.6g}",
            "as_of": as_of.isoformat(),
            "source": told,
        }
    )
    return line.getvalue()
