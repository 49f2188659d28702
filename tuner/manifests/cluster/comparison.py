"""What a server made of an object: an API older than a field drops it without a word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tuner.manifests.plain import Plain, PlainObject


def dropped_fields(sent: PlainObject, returned: PlainObject) -> tuple[str, ...]:
    """The fields that were sent and are not there any more, as paths such as spec.volumes[2].image.

    Changed values are not named: servers write quantities and times in their own way. Empty values are not missed.
    """
    return tuple(_dropped(sent, returned, ""))


def _dropped(sent: Plain, returned: Plain, path: str) -> Iterator[str]:
    if isinstance(sent, Mapping):
        for key, value in sent.items():
            inside = f"{path}.{key}" if path else key
            if not isinstance(returned, Mapping) or key not in returned:
                if value not in ({}, [], "", None, False, 0):
                    yield inside
            else:
                yield from _dropped(value, returned[key], inside)
    elif isinstance(sent, Sequence) and not isinstance(sent, str):
        kept = returned if isinstance(returned, Sequence) and not isinstance(returned, str) else ()
        for position, item in enumerate(sent):
            inside = f"{path}[{position}]"
            if position < len(kept):
                yield from _dropped(item, kept[position], inside)
            else:
                yield inside
