"""Numbers as people read them, with the raw value beside the text."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

HOURS_PER_MONTH = 730
NO_ANSWER = "no answer"
INFINITE = "\N{INFINITY}"
NO_BREAK = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True, slots=True)
class Quantity:
    """A value and its text for humans. An infinite latency is a fact here (too many requests got no answer)."""

    raw: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounding:
    """How many decimals this study's milliseconds and money need, the same in every row so that columns align."""

    currency: str
    latency_decimals: int
    money_decimals: int

    def latency(self, milliseconds: float) -> Quantity:
        text = f"{milliseconds:,.{self.latency_decimals}f}" if math.isfinite(milliseconds) else INFINITE
        return Quantity(milliseconds, text)

    def latency_text(self, milliseconds: float) -> str:
        """For a sentence: with its unit, and in words where the percentile fell on a request without an answer."""
        return f"{self.latency(milliseconds).text} ms" if math.isfinite(milliseconds) else NO_ANSWER

    def per_hour(self, money: float) -> Quantity:
        return Quantity(money, f"{money:,.{self.money_decimals}f}")

    def per_month(self, money_per_hour: float) -> Quantity:
        money = money_per_hour * HOURS_PER_MONTH
        return Quantity(money, f"{money:,.{0 if money >= 1000 else 2}f}")


def rounding_for(*, currency: str, limits_ms: Iterable[float], costs_per_hour: Iterable[float]) -> Rounding:
    """Three digits for the narrowest latency limit; cents where no cost is below 1, else at least four decimals."""
    limit_ms = min((limit for limit in limits_ms if limit > 0), default=100.0)
    cost = min((cost for cost in costs_per_hour if cost > 0), default=1.0)
    return Rounding(
        currency=currency,
        latency_decimals=min(4, max(1, 2 - math.floor(math.log10(limit_ms) + 1e-9))),
        money_decimals=2 if cost >= 1 else min(8, max(4, 2 - math.floor(math.log10(cost) + 1e-9))),
    )


def rate(requests_per_s: float) -> Quantity:
    """Requests per second to three digits; as a whole number where it is one, or from 100 on."""
    whole = math.isclose(requests_per_s, round(requests_per_s), rel_tol=1e-9)
    decimals = 0 if whole or requests_per_s >= 100 else 1 if requests_per_s >= 10 else 2
    return Quantity(requests_per_s, f"{requests_per_s:,.{decimals}f}")


def seconds(duration_s: float) -> Quantity:
    return Quantity(duration_s, f"{duration_s:,.1f}")


def duration(duration_s: float) -> str:
    """Seconds as hours, minutes, seconds: `2 h 5 min`, `3 min 12 s`, `8.4 s`."""
    if duration_s < 60:
        return f"{duration_s:.1f}{NO_BREAK}s"
    minutes, rest_s = divmod(round(duration_s), 60)
    if minutes < 60:
        return f"{minutes}{NO_BREAK}min {rest_s}{NO_BREAK}s"
    return f"{minutes // 60:,}{NO_BREAK}h {minutes % 60}{NO_BREAK}min"


def share(ratio: float) -> str:
    """A ratio in percent, with as many decimals as small ones need."""
    percent = ratio * 100.0
    if percent == 0 or percent >= 10:
        return f"{percent:.0f} %"
    return f"{percent:.{max(1, 1 - math.floor(math.log10(percent)))}f}".rstrip("0").rstrip(".") + " %"


def count(number: int, singular: str, plural: str = "") -> str:
    """`1 trial`, `1,204 trials`."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def shortened(text: str, length: int) -> str:
    """Printable text of at most so many characters, saying how many were left out; nothing is dropped in silence."""
    clean = "".join(sign if sign.isprintable() else " " for sign in text).strip()
    if len(clean) <= length:
        return clean
    return f"{clean[:length].rstrip()}… ({len(clean) - length:,} more characters)"
