"""pydantic's errors in the words of a study file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from tuner.spec_cluster_model import (
    DIGEST_PATTERN,
    DNS_NAME_PATTERN,
    DNS_PATTERN,
    LABEL_KEY_PATTERN,
    MIG_PATTERN,
)
from tuner.spec_model import ARGUMENT_PATTERN, ENV_PATTERN, KnobsSection, StudyFile
from tuner.spec_problems import Finding, Path, nearest, number_hint, shown, unit_of

_NUMBER_TYPES = frozenset({"float_type", "int_type", "int_from_float", "finite_number", "int_parsing_size"})
_MAPPING_TYPES = frozenset({"model_type", "dict_type", "model_attributes_type"})
_BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}
_FORMS = {
    DIGEST_PATTERN: "an image by its digest: registry/name@sha256:..., 64 hexadecimal digits",
    DNS_PATTERN: "lower-case letters, digits and '-', at most 63",
    DNS_NAME_PATTERN: "lower-case letters, digits, '-' and '.', at most 253",
    LABEL_KEY_PATTERN: "a label's name: example.com/name or name",
    MIG_PATTERN: "a MIG profile, such as 1g.10gb",
}
KNOB_NAMES = (*KnobsSection.model_fields, "env.NAME", "arg.NAME")


def findings_of(errors: Sequence[ErrorDetails], data: Mapping[str, Any]) -> tuple[Finding, ...]:
    """One finding for each error; what is wrong below a knob that does not exist is not worth a word."""
    unknown = tuple(_unknown_knobs(data))
    names = {finding.path for finding in unknown}
    return unknown + tuple(_finding(error, data) for error in errors if error["loc"][:2] not in names)


def _unknown_knobs(data: Mapping[str, Any]) -> list[Finding]:
    knobs = data.get("knobs")
    if not isinstance(knobs, dict):
        return []
    return [
        Finding(("knobs", name), f"unknown knob '{name}'", _knob_hint(name), at_key=True)
        for name in knobs
        if name not in KnobsSection.model_fields and not re.fullmatch(f"{ENV_PATTERN}|{ARGUMENT_PATTERN}", name)
    ]


def _knob_hint(name: str) -> str:
    if name.startswith("env."):
        return "write env.NAME, such as env.OMP_NUM_THREADS"
    if name.startswith("arg."):
        return "write arg.name-of-the-option, such as arg.http-thread-count"
    return nearest(name, KNOB_NAMES)


def _finding(error: ErrorDetails, data: Mapping[str, Any]) -> Finding:
    path, kind, value = tuple(error["loc"]), error["type"], error["input"]
    context = error.get("ctx", {})
    name = str(path[-1])
    if kind == "missing":
        return Finding(path, f"missing key '{name}'", _what_it_is(path))
    if kind == "extra_forbidden":
        return Finding(path, f"unknown key '{name}'", nearest(name, _keys_beside(path)), at_key=True)
    if name == "[key]":
        return Finding(path[:-1], f"'{path[-2]}' is no name for an option", "lower case: queue_size", at_key=True)
    if kind in _NUMBER_TYPES:
        whole = "" if kind == "float_type" else "whole "
        return Finding(path, f"{shown(value)} where a {whole}number is expected", _number_hint(path, value, kind, data))
    if kind in _BOUNDS:
        limit, words = _BOUNDS[kind]
        return Finding(path, f"{value} is out of range: it must be {words} {context[limit]:g}", _unit_hint(path, data))
    return Finding(path, *_words(kind, value, context))


_OWN = {
    "number_or_text": ("where a number or a text is expected", "put true and false in quotes"),
    "count_or_auto": ("is no number of trials", "a whole number from 1 to 256, or auto"),
}
"""Errors that the study file's own checks raise."""


def _words(kind: str, value: object, context: Mapping[str, Any]) -> tuple[str, str]:
    """(message, hint) for the errors that do not depend on where they are."""
    if kind == "literal_error":
        choices = re.findall(r"'([^']*)'", str(context["expected"]))
        hint = nearest(value, choices) if isinstance(value, str) else f"one of {', '.join(choices)}"
        return f"{shown(value)} is not known here", hint
    if kind == "string_type":
        quoted = isinstance(value, int | float)
        return f"{shown(value)} where a text is expected", f'put it in quotes: "{value}"' if quoted else ""
    if kind == "list_type":
        return f"{shown(value)} where a list is expected", "write [1, 2] or one item a line, each after '- '"
    if kind in _MAPPING_TYPES:
        return f"{shown(value)} where keys and values are expected", "indent them by two spaces below the key"
    if kind == "too_short":
        return "an empty list", "give at least one value, or delete the key"
    if kind == "too_long":
        return f"more than {context['max_length']} items", "shorten the list"
    if kind == "string_pattern_mismatch":
        return f"{shown(value)} has not the right form", _form(str(context["pattern"]))
    if kind in {"string_too_short", "string_too_long"}:
        return f"{shown(value)} is too {kind.rsplit('_', 1)[-1]}", ""
    if kind in _OWN:
        words, hint = _OWN[kind]
        return f"{shown(value)} {words}", hint
    return f"{shown(value)}: {kind.replace('_', ' ')}", ""


def _form(pattern: str) -> str:
    if "[A-Z]{3}" in pattern:
        return "three capital letters, such as USD"
    if pattern in _FORMS:
        return _FORMS[pattern]
    return "letters, digits, '.', '_' and '-', starting with a letter or digit, at most 63"


def _number_hint(path: Path, value: object, kind: str, data: Mapping[str, Any]) -> str:
    if kind == "int_from_float":
        return "write it without a decimal point"
    return number_hint(value, unit_of(path, _parent(path, data)))


def _unit_hint(path: Path, data: Mapping[str, Any]) -> str:
    unit = unit_of(path, _parent(path, data))
    return f"it is {unit}" if unit.startswith("a share") else f"in {unit}" if unit else ""


def _parent(path: Path, data: Mapping[str, Any]) -> Mapping[str, object] | None:
    """The mapping in which the last key of a path stands; every step of an error's path but the last exists."""
    node: Any = data
    for step in path[:-1]:
        match node, step:
            case (dict(), str()) if step in node:
                node = node[step]
            case (list(), int()):
                node = node[step]
            case _:
                return None
    return node if isinstance(node, dict) else None


def _keys_beside(path: Path) -> tuple[str, ...]:
    section = _section(path[:-1])
    return tuple(section.model_fields) if section else ()


def _what_it_is(path: Path) -> str:
    section = _section(path[:-1])
    field = section.model_fields.get(str(path[-1])) if section else None
    if field is None:
        return ""
    choices = get_args(field.annotation)
    if choices and all(isinstance(choice, str) for choice in choices):
        return f"one of {', '.join(choices)}" if len(choices) > 1 else f"write '{path[-1]}: {choices[0]}'"
    inner = _model_in(field.annotation)
    if inner is not None:
        return f"it holds {', '.join(inner.model_fields)}"
    description = (field.description or "").rstrip(".")
    return description[:1].lower() + description[1:]


def _section(path: Path) -> type[BaseModel] | None:
    """The model that describes what stands at a path."""
    section: type[BaseModel] = StudyFile
    for step in path:
        if isinstance(step, int):
            continue
        field = section.model_fields.get(step)
        inner = _model_in(field.annotation) if field else None
        if inner is None:
            return None
        section = inner
    return section


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The first pydantic model in a type such as `list[Slo] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)
