"""Kubernetes quantities: exact both ways, without a float in between.

Source: "Quantity" in the Kubernetes API reference (apimachinery, pkg/api/resource).
"""

from __future__ import annotations

import re
from fractions import Fraction

from tuner.domain.errors import UsageError

KIB, MIB, GIB = 2**10, 2**20, 2**30
_SUFFIXES: dict[str, Fraction] = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 10**3),
    "": Fraction(1),
    **{suffix: Fraction(10 ** (3 * power)) for power, suffix in enumerate("kMGTPE", start=1)},
    **{f"{suffix}i": Fraction(2 ** (10 * power)) for power, suffix in enumerate("KMGTPE", start=1)},
}
_QUANTITY = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:([eE][+-]?[0-9]{1,3})|([numkKMGTPE]?i?))")
_MOST_CHARACTERS = 64


def exact(value: float) -> Fraction:
    """The decimal number that was written: 0.1 is one tenth, and not the double next to it."""
    return Fraction(repr(value))


def cpu_quantity(cores: float) -> str:
    """Cores as Kubernetes writes them: 2 or 1500m. Raises UsageError below a thousandth of a core."""
    milli = exact(cores) * 1000
    if milli.denominator != 1 or milli <= 0:
        raise UsageError(f"cpu_cores {cores:g} is no whole number of thousandths", hint="Kubernetes counts in 0.001")
    return f"{milli // 1000}" if milli % 1000 == 0 else f"{milli}m"


def memory_quantity(memory_gib: float) -> str:
    """GiB as Kubernetes writes them, in the largest unit that is exact, and to the next byte. Raises UsageError."""
    size = round(exact(memory_gib) * GIB)
    if size <= 0:
        raise UsageError(f"memory_gib {memory_gib:g} is less than a byte")
    for suffix, unit in (("Gi", GIB), ("Mi", MIB), ("Ki", KIB)):
        if size % unit == 0:
            return f"{size // unit}{suffix}"
    return str(size)


def parse_quantity(text: str) -> Fraction | None:
    """The number that a quantity stands for; None where it is none."""
    found = _QUANTITY.fullmatch(text) if len(text) <= _MOST_CHARACTERS else None
    if found is None:
        return None
    number, exponent, suffix = found.groups()
    if exponent:
        return Fraction(number) * Fraction(10) ** int(exponent[1:])
    unit = _SUFFIXES.get(suffix or "")
    return None if unit is None else Fraction(number) * unit
