"""Configurations and the search space: a finite grid of knobs, ordered ones kept ordered."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

KnobValue = int | float | str


def shown(value: KnobValue) -> str:
    """A setting for people: 2 and 2.0 are both 2."""
    return f"{value:.12g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, slots=True)
class Knob:
    """One axis of the search space. Numeric knobs are ordered and listed in ascending order."""

    name: str
    values: tuple[KnobValue, ...]

    @property
    def ordered(self) -> bool:
        return all(not isinstance(value, str) for value in self.values)


@dataclass(frozen=True, slots=True)
class Configuration:
    """A point of the search space: knob name -> value, kept sorted by name so that equal points are equal."""

    settings: tuple[tuple[str, KnobValue], ...]

    @staticmethod
    def of(mapping: Mapping[str, KnobValue]) -> Configuration:
        return Configuration(settings=tuple(sorted(mapping.items())))

    def __getitem__(self, knob: str) -> KnobValue:
        for name, value in self.settings:
            if name == knob:
                return value
        raise KeyError(knob)

    def __contains__(self, knob: str) -> bool:
        return any(name == knob for name, _ in self.settings)

    def as_dict(self) -> dict[str, KnobValue]:
        return dict(self.settings)

    def number(self, knob: str, default: float) -> float:
        """The numeric setting of a knob, or the default where the study does not tune it."""
        value = self.as_dict().get(knob, default)
        if isinstance(value, str):
            raise TypeError(f"knob {knob} is not numeric: {value!r}")
        return float(value)

    def text(self, knob: str, default: str) -> str:
        return str(self.as_dict().get(knob, default))

    def __str__(self) -> str:
        return " ".join(f"{name}={shown(value)}" for name, value in self.settings)

    @property
    def key(self) -> str:
        """Canonical JSON text: the identity of this point in files and databases."""
        return json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """All combinations of the knobs' values, addressed by index in mixed radix (the last knob varies fastest)."""

    knobs: tuple[Knob, ...]

    def __len__(self) -> int:
        return math.prod(len(knob.values) for knob in self.knobs)

    def __iter__(self) -> Iterator[Configuration]:
        names = [knob.name for knob in self.knobs]
        for values in itertools.product(*(knob.values for knob in self.knobs)):
            yield Configuration.of(dict(zip(names, values, strict=True)))

    def __contains__(self, configuration: Configuration) -> bool:
        settings = configuration.as_dict()
        return settings.keys() == {knob.name for knob in self.knobs} and all(
            settings[knob.name] in knob.values for knob in self.knobs
        )

    def at(self, index: int) -> Configuration:
        """The configuration at a position of the iteration order. Raises IndexError outside the space."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        settings: dict[str, KnobValue] = {}
        for knob in reversed(self.knobs):
            index, position = divmod(index, len(knob.values))
            settings[knob.name] = knob.values[position]
        return Configuration.of(settings)

    def levels(self, configuration: Configuration) -> tuple[int, ...]:
        """Per knob, the position of the configuration's value. Raises ValueError outside the space."""
        return tuple(knob.values.index(configuration[knob.name]) for knob in self.knobs)

    def from_levels(self, levels: tuple[int, ...]) -> Configuration:
        """The inverse of `levels`."""
        pairs = zip(self.knobs, levels, strict=True)
        return Configuration.of({knob.name: knob.values[level] for knob, level in pairs})
