"""What is written on the command line of `servetune load`, as values."""

from __future__ import annotations

import re
from typing import cast

from tuner.domain.arrival_kinds import PRESETS, Arrivals, Gamma, PlainArrivals
from tuner.domain.errors import UsageError
from tuner.domain.slo import INDICATORS, Indicator, Slo, goodput_slo

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}
_SLO = re.compile(r"\s*([a-z0-9_]+)\s*(<=|>=)\s*(\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)\s*")


def duration_s(text: str) -> float:
    """`20s`, `500ms`, `2m`, `1h`; a bare number is seconds. Raises UsageError."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"{text!r} is no duration", hint="write 20s, 500ms, 2m or 1h")
    return float(found[1]) * _SECONDS[found[2]]


def slo_of(text: str, offered_rps: float) -> Slo:
    """`latency_p99_ms<=50`, `error_ratio<=0.01`, `goodput_ratio>=0.99`, `goodput_rps>=190`. Raises UsageError.

    `offered_rps` is what comes in the mean of the window, of which a goodput per second is a share.
    """
    found = _SLO.fullmatch(text)
    if found is None:
        raise UsageError(f"{text!r} is no objective", hint="write latency_p99_ms<=50 or goodput_ratio>=0.99")
    name, relation, bound = found[1], found[2], float(found[3])
    if name in {"goodput_ratio", "goodput_rps"}:
        share = bound / offered_rps if name == "goodput_rps" else bound
        if relation != ">=" or not 0.0 < share < 1.0:
            hint = "goodput is at least something, and less than all that is offered: none of it could ever be missed"
            raise UsageError(f"{text!r} is no objective on goodput", hint=hint)
        return goodput_slo(share)
    if name not in INDICATORS or relation != "<=":
        raise UsageError(f"{text!r} is no objective", hint=f"one of {', '.join(INDICATORS)}, with <=")
    if bound <= 0.0 or (name == "error_ratio" and bound >= 1.0):
        raise UsageError(f"{text!r} is out of range", hint="above 0; an error ratio is below 1, and 0 cannot be proven")
    return Slo(indicator=cast(Indicator, name), max=bound)


def arrivals_of(text: str) -> Arrivals:
    """`poisson`, `constant`, `gamma:4` (burstiness), or the name of a utilisation pattern. Raises UsageError."""
    if text in {"constant", "poisson"}:
        return cast(PlainArrivals, text)
    if text in PRESETS:
        return PRESETS[text]
    name, _, setting = text.partition(":")
    if name == "gamma" and re.fullmatch(r"\d+(\.\d+)?", setting) and float(setting) > 0:
        return Gamma(burstiness=float(setting))
    raise UsageError(f"unknown arrivals {text!r}", hint=f"one of constant, poisson, gamma:4, {', '.join(PRESETS)}")
