"""The GPU catalogue: what the data sheets say of accelerator types, as dated rows with their source."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from tuner.domain.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuType:
    """One accelerator type. `slices`: the memory shares that hardware partitioning can cut; empty where it cannot."""

    name: str
    aliases: tuple[str, ...]
    memory_gib: float
    bandwidth_gbps: float
    tflops: float
    slices: tuple[float, ...]
    as_of: str
    source: str


def read_gpu_types(lines: Iterable[str]) -> tuple[GpuType, ...]:
    """Rows of a CSV file with the catalogue's columns; lines that start with # are comments.

    Raises UsageError naming the row that is incomplete or not numeric.
    """
    rows = csv.DictReader(line for line in lines if line.strip() and not line.startswith("#"))
    return tuple(_gpu_type(number, row) for number, row in enumerate(rows, start=1))


def _gpu_type(number: int, row: dict[str, str]) -> GpuType:
    try:
        return GpuType(
            name=row["name"],
            aliases=tuple(row["aliases"].split()),
            memory_gib=float(row["memory_gib"]),
            bandwidth_gbps=float(row["bandwidth_gbps"]),
            tflops=float(row["tflops"]),
            slices=tuple(float(share) for share in row["slices"].split()),
            as_of=row["as_of"],
            source=row["source"],
        )
    except (KeyError, ValueError, AttributeError) as error:
        raise UsageError(f"row {number} of the GPU catalogue cannot be read: {error}") from error


@cache
def shipped_gpu_types() -> tuple[GpuType, ...]:
    """The rows that come with the package."""
    return read_gpu_types(files("tuner").joinpath("data/gpus.csv").read_text().splitlines())


def gpu_type(name: str, known: Iterable[GpuType] | None = None) -> GpuType | None:
    """The row of a type by name or alias, whatever the case; None for a type nobody listed."""
    wanted = _plain(name)
    for row in shipped_gpu_types() if known is None else known:
        if wanted in {_plain(row.name), *(_plain(alias) for alias in row.aliases)}:
            return row
    return None


def _plain(name: str) -> str:
    """Letters and digits only, without the vendor's name."""
    letters = "".join(letter for letter in name.lower() if letter.isalnum())
    return letters.removeprefix("nvidia").removeprefix("tesla")
