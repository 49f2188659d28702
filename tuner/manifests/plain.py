"""Plain values, as YAML and JSON hold them, and reading them without a promise of what is there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

Plain = str | int | float | bool | None | Sequence["Plain"] | Mapping[str, "Plain"]
PlainObject = Mapping[str, Plain]
ABSENT: PlainObject = {}


def value_at(node: Plain, *path: str) -> Plain:
    """What stands at a path of keys; None where it leads nowhere."""
    for key in path:
        if not isinstance(node, Mapping):
            return None
        node = node.get(key)
    return node


def object_at(node: Plain, *path: str) -> PlainObject:
    """The mapping at a path; an empty one where there is none."""
    found = value_at(node, *path)
    return found if isinstance(found, Mapping) else ABSENT


def objects_at(node: Plain, *path: str) -> tuple[PlainObject, ...]:
    """The mappings in the list at a path; none where there is no list."""
    found = value_at(node, *path)
    if isinstance(found, str) or not isinstance(found, Sequence):
        return ()
    return tuple(item for item in found if isinstance(item, Mapping))


def text_at(node: Plain, *path: str) -> str:
    """The text at a path; empty where there is none."""
    found = value_at(node, *path)
    return found if isinstance(found, str) else ""


def texts_at(node: Plain, *path: str) -> tuple[str, ...]:
    """The texts in the list at a path; none where there is no list."""
    found = value_at(node, *path)
    if not isinstance(found, Sequence) or isinstance(found, str):
        return ()
    return tuple(item for item in found if isinstance(item, str))


def number_at(node: Plain, *path: str) -> int:
    """The whole number at a path; 0 where there is none, as Kubernetes leaves zeros out."""
    found = value_at(node, *path)
    return found if isinstance(found, int) and not isinstance(found, bool) else 0


def canonical_json(node: Plain) -> str:
    """The same text for equal values, whatever the order of their keys."""
    return json.dumps(node, sort_keys=True, separators=(",", ":"))


def merged(under: PlainObject, over: PlainObject) -> dict[str, Plain]:
    """Both, mappings merged at every depth; where both have another value, the one of `over`."""
    whole = dict(under)
    for key, value in over.items():
        below = whole.get(key)
        whole[key] = merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return whole
