r"""A deployable as values of a user's own Helm chart: a map of the user's says which value goes where.

The map has a knob (or `replicas`) on the left and a dotted path in values.yaml on the right, or a list of such paths;
a dot within a key is written `\.`, an item of a list as its number, as Helm's own --set takes them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tuner.domain.deployable import Deployable
from tuner.domain.errors import UsageError
from tuner.domain.space import KnobValue
from tuner.manifests.cluster.quantities import cpu_quantity, memory_quantity
from tuner.manifests.plain import Plain

REPLICAS = "replicas"
_DOT = re.compile(r"(?<!\\)\.")

Keys = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HelmValue:
    """One value and where it goes."""

    knob: str
    keys: Keys
    value: KnobValue


def helm_values(of: Deployable, paths: Mapping[str, Plain]) -> tuple[HelmValue, ...]:
    """Every mapped value: CPU and memory as Kubernetes quantities, the rest as tuned.

    Raises UsageError for a name that is no knob of this answer, and for a path that is none.
    """
    values = _values(of)
    unknown = [name for name in paths if name not in values]
    if unknown:
        raise UsageError(
            f"the map names {', '.join(unknown)}, which the spec does not have", hint=f"it has {', '.join(values)}"
        )
    return tuple(HelmValue(name, keys, values[name]) for name, path in paths.items() for keys in _paths(name, path))


def unmapped(of: Deployable, paths: Mapping[str, Plain]) -> tuple[str, ...]:
    """What the map leaves out."""
    return tuple(f"{name}={value} is not in the map" for name, value in _values(of).items() if name not in paths)


def _values(of: Deployable) -> dict[str, KnobValue]:
    settings = of.configuration.as_dict()
    footprint = of.pricing.footprint
    memory_gib = of.configuration.number("memory_gib", footprint.memory_gib)
    whole = {name: int(v) if isinstance(v, float) and v.is_integer() else v for name, v in settings.items()}
    return {
        **whole,
        "cpu_cores": cpu_quantity(of.configuration.number("cpu_cores", footprint.cpu_cores)),
        **({"memory_gib": memory_quantity(memory_gib)} if memory_gib else {}),
        REPLICAS: of.replicas,
    }


def _paths(name: str, path: Plain) -> Iterator[Keys]:
    for one in path if isinstance(path, list) else [path]:
        if not isinstance(one, str) or not all(_DOT.split(one)):
            raise UsageError(
                f"the map's path of {name} is no dotted path: {one!r}", hint="such as resources.limits.cpu"
            )
        yield tuple(key.replace("\\.", ".") for key in _DOT.split(one))
