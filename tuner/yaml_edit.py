"""Changing single values of a user's own YAML file: all else stays, byte for byte. A door to the YAML library."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from tuner.domain.errors import UsageError

Value = str | int | float
Edit = tuple[tuple[str, ...], Value]

STEP = 2
# Text that no reader of YAML takes for a number, a truth value or a date; and quantities, where a plain one stood.
_PLAIN_TEXT = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*|[0-9]+(\.[0-9]+)?(m|[KMGT]i)")
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"})


def edited_yaml(text: str, edits: Iterable[Edit], *, file: str) -> tuple[str, tuple[str, ...]]:
    """The text with these values, and the paths that it did not have before.

    Raises UsageError for a text that is no mapping, for a path that leads through something else than mappings and
    lists or to one of them, and for one that an anchor shares: others would change with it.
    """
    added = []
    for keys, value in edits:
        text, new = _edited(text, keys, value, file)
        added += [".".join(keys)] if new else []
    return text, tuple(added)


def _edited(text: str, keys: tuple[str, ...], value: Value, file: str) -> tuple[str, bool]:
    above = node = _root(text, file)
    for depth, key in enumerate(keys):
        path = ".".join(keys[: depth + 1])
        found = _below(node, key, path, file)
        if found is None:
            return _inserted(text, node, keys[depth:], value), True
        if found.anchor is not None:
            raise UsageError(f"{file}: {path} is shared by an anchor", hint="write the value out")
        above, node = node, found
    if not isinstance(node, ScalarNode) or node.style in {"|", ">"}:
        raise UsageError(f"{file}: {'.'.join(keys)} is no value of one line", hint="name a path within it")
    start, end = node.start_mark.index, node.end_mark.index
    if start == end:
        return _filled(text, above, keys, value, file), False
    return f"{text[:start]}{_written(value, node.style, was_text=False)}{text[end:]}", False


def _filled(text: str, mapping: Any, keys: tuple[str, ...], value: Value, file: str) -> str:
    """The text with a value after a key that had none: such a value's own place is where the next thing stands."""
    if not isinstance(mapping, MappingNode):
        raise UsageError(f"{file}: {'.'.join(keys)} is an empty item of a list", hint="write a value there first")
    key = next(name for name, _ in mapping.value if name.value == keys[-1])
    colon = text.index(":", key.end_mark.index) + 1
    return f"{text[:colon]} {_written(value, None, was_text=True)}{text[colon:]}"


def _root(text: str, file: str) -> Any:
    try:
        root = YAML(typ="safe", pure=True).compose(text)
    except YAMLError as error:
        raise UsageError(f"{file} is no YAML that can be edited: {' '.join(str(error).split())}") from error
    if not isinstance(root, MappingNode) or not root.value:
        raise UsageError(f"{file} holds no mapping", hint="name the chart's values.yaml")
    return root


def _below(node: Any, key: str, path: str, file: str) -> Any:
    """The node under a key; None where a mapping does not have it."""
    if isinstance(node, MappingNode):
        found = [value for name, value in node.value if name.value == key]
        if len(found) > 1:
            raise UsageError(f"{file}: {path} is there more than once")
        return found[0] if found else None
    if isinstance(node, SequenceNode) and key.isdigit() and int(key) < len(node.value):
        return node.value[int(key)]
    raise UsageError(f"{file} has no place for {path}: what stands above it is no mapping, or a shorter list")


def _inserted(text: str, mapping: Any, keys: tuple[str, ...], value: Value) -> str:
    """The text with one more entry at the end of a mapping."""
    if mapping.flow_style:
        end = mapping.end_mark.index - 1
        inner = _written(value, None, was_text=True)
        for key in reversed(keys[1:]):
            inner = f"{{{_key(key)}: {inner}}}"
        comma = ", " if mapping.value else ""
        return f"{text[:end].rstrip()}{comma}{_key(keys[0])}: {inner}{text[end:]}"
    column = mapping.value[0][0].start_mark.column
    lines = [f"{' ' * (column + depth * STEP)}{_key(key)}:" for depth, key in enumerate(keys)]
    entry = "\n".join(lines) + f" {_written(value, None, was_text=True)}"
    end = _end_of(mapping)
    if end == 0 or text[end - 1] == "\n":
        return f"{text[:end]}{entry}\n{text[end:]}"
    line_end = text.find("\n", end)
    at = len(text) if line_end < 0 else line_end
    return f"{text[:at]}\n{entry}{text[at:]}"


def _end_of(node: Any) -> int:
    """Where the last value within a node ends: a block's own mark is where the next one begins."""
    if isinstance(node, MappingNode) and not node.flow_style and node.value:
        return max(_end_of(node.value[-1][0]), _end_of(node.value[-1][1]))
    if isinstance(node, SequenceNode) and not node.flow_style and node.value:
        return _end_of(node.value[-1])
    end: int = node.end_mark.index
    return end


def _written(value: Value, style: str | None, *, was_text: bool) -> str:
    """The value in the style that stood there: plain, or in the same quotes."""
    text = str(value)
    if style == "'":
        return "'" + text.replace("'", "''") + "'"
    if style == '"':
        return json.dumps(text)
    if not isinstance(value, str) or (text.isdigit() and not was_text):
        return text
    plain = _PLAIN_TEXT.fullmatch(text) and text.lower() not in _WORDS
    return text if plain else json.dumps(text)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_./-]*", key) and key.lower() not in _WORDS else json.dumps(key)
