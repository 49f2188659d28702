"""What is written on the command line of `servetune load`, as values."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

from tuner.domain.arrival_kinds import PRESETS, Arrivals, Diurnal, Gamma, Periodic, PlainArrivals, Ramp, Spike, Steps
from tuner.domain.errors import UsageError
from tuner.domain.slo import INDICATORS, Indicator, Slo, goodput_slo

LONGEST_S = 86_400.0
MOST_STEPS = 1000
MOST_LATENCY_MS = 3_600_000.0
ARRIVALS = (
    "poisson, constant, gamma:BURSTINESS, ramp:BEGIN,END, steps:SHARE,SHARE,..., spike:BASE,PEAK,LENGTH,N, "
    f"diurnal:VALLEY,PEAK,POWER, periodic:EVERY,WORK,IDLE, {', '.join(PRESETS)}"
)

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
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
    if not 0.0 < bound <= MOST_LATENCY_MS or (name == "error_ratio" and bound >= 1.0):
        hint = "above 0; a latency is at most 3600000; an error ratio is below 1, and 0 cannot be proven"
        raise UsageError(f"{text!r} is out of range", hint=hint)
    return Slo(indicator=cast(Indicator, name), max=bound)


def arrivals_of(text: str) -> Arrivals:
    """A kind or a utilisation pattern by its name, and its settings in the order that `ARRIVALS` shows.

    `ramp:0.2,1`, `steps:0.25,0.5,1`, `spike:0.2,1,0.1,3`, `periodic:15m,3m`; last ones may be left out. Shares are of
    the rate. Raises UsageError.
    """
    name, colon, rest = text.strip().partition(":")
    settings = rest.split(",") if colon else []
    if name in {*PRESETS, "constant", "poisson"} and not colon:
        return PRESETS[name] if name in PRESETS else cast(PlainArrivals, name)
    try:
        if name == "steps":
            return Steps(shares=_steps(settings))
        kind, readers = _KINDS[name]
        read = {field: reader(setting) for (field, reader), setting in zip(readers, settings, strict=False)}
        if len(read) == len(settings):
            return kind(**read)
    except (KeyError, ValueError, TypeError, UsageError):
        pass  # all of them mean the same to who wrote it
    raise UsageError(f"unknown arrivals {text!r}", hint=f"one of {ARRIVALS}")


def _steps(settings: Sequence[str]) -> tuple[float, ...]:
    if not 0 < len(settings) <= MOST_STEPS:
        raise ValueError(settings)
    return tuple(map(_share, settings))


def _number(text: str, *, least: float, most: float) -> float:
    number = float(text) if _NUMBER.fullmatch(text.strip()) else -1.0
    if not least <= number <= most:
        raise ValueError(text)
    return number


def _share(text: str) -> float:
    return _number(text, least=0.0, most=100.0)


def _whole(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 100:
        raise ValueError(text)
    return number


def _time_s(text: str) -> float:
    seconds = duration_s(text)
    if not 0.0 < seconds <= LONGEST_S:
        raise ValueError(text)
    return seconds


_Reader = Callable[[str], float]
_KINDS: dict[str, tuple[Callable[..., Arrivals], tuple[tuple[str, _Reader], ...]]] = {
    "gamma": (Gamma, (("burstiness", partial(_number, least=0.001, most=10_000)),)),
    "ramp": (Ramp, (("begin", _share), ("end", _share))),
    "spike": (
        Spike,
        (("base", _share), ("peak", _share), ("length", partial(_number, least=1e-6, most=1)), ("spikes", _whole)),
    ),
    "diurnal": (Diurnal, (("valley", _share), ("peak", _share), ("sharpness", _whole))),
    "periodic": (Periodic, (("every_s", _time_s), ("work_s", _time_s), ("idle", _share))),
}
