"""When requests come, as values. The offered rate is each kind's full rate: shapes state shares of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

PlainArrivals = Literal["constant", "poisson"]
Preset = Literal["low_average", "peak_valley", "short_spike", "periodic_work"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gamma:
    """Gamma-distributed gaps; `burstiness` is their squared coefficient of variation (1: Poisson, 0: constant)."""

    burstiness: float
    kind: Literal["gamma"] = "gamma"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ramp:
    """From one share of the offered rate to another, in a straight line over the window."""

    begin: float = 0.0
    end: float = 1.0
    kind: Literal["ramp"] = "ramp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """Shares of the offered rate, each for an equal part of the window."""

    shares: tuple[float, ...]
    kind: Literal["steps"] = "steps"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spike:
    """`spikes` evenly spaced peaks that last `length` (a share of the window) in all, over a base."""

    base: float = 0.2
    peak: float = 1.0
    length: float = 0.1
    spikes: int = 1
    kind: Literal["spike"] = "spike"


@dataclass(frozen=True, slots=True, kw_only=True)
class Diurnal:
    """One day in one window: valley, peak, valley, by a raised cosine to the power of `sharpness`."""

    valley: float = 0.1
    peak: float = 1.0
    sharpness: int = 1
    kind: Literal["diurnal"] = "diurnal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Periodic:
    """A trigger every `every_s`, then the full rate for `work_s`, and `idle` (a share) until the next."""

    every_s: float
    work_s: float
    idle: float = 0.0
    kind: Literal["periodic"] = "periodic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A recording, its time stretched to the offered rate, and begun anew when it ends. Ascending, from 0.

    `length_s` is when it ends: the last request is followed by a mean gap.
    """

    starts_s: tuple[float, ...]
    kind: Literal["replay"] = "replay"

    @property
    def length_s(self) -> float:
        return self.starts_s[-1] * len(self.starts_s) / max(1, len(self.starts_s) - 1) or 1.0

    @property
    def mean_rps(self) -> float:
        """The rate at which it was recorded."""
        return len(self.starts_s) / self.length_s


Shape = Ramp | Steps | Spike | Diurnal | Periodic
Arrivals = PlainArrivals | Gamma | Shape | Replay

# Utilisation patterns of GPU services: low average (peak about 10 %), peak and valley (mean about 20 %), short spikes
# (80 % peaks, mean about 30 %), and a few minutes of work every quarter of an hour. The offered rate is the capacity.
PRESETS: dict[str, Shape] = {
    "low_average": Diurnal(valley=0.02, peak=0.1),
    "peak_valley": Diurnal(valley=0.03, peak=0.65, sharpness=4),
    "short_spike": Spike(base=0.2, peak=0.8, length=1 / 6, spikes=3),
    "periodic_work": Periodic(every_s=900.0, work_s=180.0),
}
KINDS: dict[str, type[Gamma | Shape | Replay]] = {
    "gamma": Gamma,
    "ramp": Ramp,
    "steps": Steps,
    "spike": Spike,
    "diurnal": Diurnal,
    "periodic": Periodic,
    "replay": Replay,
}


def arrivals_from(plain: str | Mapping[str, Any]) -> Arrivals:
    """The inverse of `dataclasses.asdict`; names of presets are known as well.

    Raises ValueError, KeyError or TypeError on anything else.
    """
    if isinstance(plain, str):
        if plain in PRESETS:
            return PRESETS[plain]
        return next(name for name in get_args(PlainArrivals) if name == plain)
    made: Callable[..., Arrivals] = KINDS[plain["kind"]]
    return made(**{key: tuple(value) if isinstance(value, list) else value for key, value in plain.items()})
