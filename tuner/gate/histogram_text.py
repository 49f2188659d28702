"""Latency counts as short text, exact and the same on every machine: base64 of variable-length numbers.

Each pair is (microseconds since the pair before, how many), each number in LEB128: seven bits a byte, low ones first.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator

from tuner.domain.histogram import LatencyCounts

MOST_BITS = 63


def counts_to_text(counts: LatencyCounts) -> str:
    """The inverse of `counts_from_text`; failures are not in it."""
    numbers: list[int] = []
    before = 0
    for latency_us, count in counts.counts:
        numbers += [latency_us - before, count]
        before = latency_us
    return base64.b64encode(bytes(_packed(numbers))).decode("ascii")


def counts_from_text(text: str, *, failed: int) -> LatencyCounts:
    """Raises ValueError on anything that `counts_to_text` does not write."""
    try:
        numbers = list(_unpacked(base64.b64decode(text, validate=True)))
    except binascii.Error as error:
        raise ValueError(f"not base64: {error}") from error
    if len(numbers) % 2:
        raise ValueError("a latency without a count")
    counts: list[tuple[int, int]] = []
    latency_us = 0
    for step, count in zip(numbers[0::2], numbers[1::2], strict=True):
        if not count or (counts and not step):
            raise ValueError("latencies do not ascend, or one of them did not occur")
        latency_us += step
        counts.append((latency_us, count))
    return LatencyCounts(counts=tuple(counts), failed=failed)


def _packed(numbers: Iterable[int]) -> Iterator[int]:
    for number in numbers:
        rest = number
        while rest > 0x7F:
            yield rest & 0x7F | 0x80
            rest >>= 7
        yield rest


def _unpacked(data: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in data:
        number |= (byte & 0x7F) << shift
        shift += 7
        if shift > MOST_BITS:
            raise ValueError("a number is too large")
        if not byte & 0x80:
            yield number
            number = shift = 0
    if shift:
        raise ValueError("the last number is cut off")
