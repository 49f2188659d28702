"""The study file's format as JSON Schema, for editors and for other programs."""

from __future__ import annotations

import json
from typing import Any

from tuner.spec_model import ARGUMENT_PATTERN, ENV_PATTERN, MOST_VALUES, StudyFile

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_MODELS = ("path", "repository", "image")


def study_schema() -> str:
    """JSON Schema (draft 2020-12) of study files: every key, its form and its range.

    What must hold between keys, and between a study and its files, only `servetune validate` knows.
    """
    schema = _tidy(StudyFile.model_json_schema())
    sections = schema["$defs"]
    sections["KnobsSection"] = _knobs(sections["KnobsSection"])
    sections["ModelSection"]["not"] = {
        "anyOf": [{"required": [one, other]} for one in _MODELS for other in _MODELS if one < other]
    }
    return json.dumps({"$schema": DIALECT, **schema}, indent=2, ensure_ascii=False) + "\n"


def _tidy(node: Any) -> Any:
    """Without pydantic's titles, and without the nulls that stand for absent keys: in a file, null is an error."""
    if isinstance(node, list):
        return [_tidy(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {key: _tidy(value) for key, value in node.items() if key != "title" or not isinstance(value, str)}
    if kept.get("default", 0) is None:
        del kept["default"]
    choices = [choice for choice in kept.get("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) == 1:
        del kept["anyOf"]
        kept |= choices[0]
    return kept


def _knobs(section: dict[str, Any]) -> dict[str, Any]:
    """A knob is a list of different values or one value; the names of settings are patterns."""
    extra = section.pop("additionalProperties")
    knobs = {name: _knob(knob) for name, knob in section["properties"].items()}
    settings = {pattern: _knob(extra) for pattern in (ENV_PATTERN, ARGUMENT_PATTERN)}
    return section | {
        "properties": knobs,
        "patternProperties": settings,
        "additionalProperties": False,
        "minProperties": 1,
    }


def _knob(listed: dict[str, Any]) -> dict[str, Any]:
    item = listed["items"]
    return {
        "anyOf": [
            {"type": "array", "items": item, "minItems": 1, "maxItems": MOST_VALUES, "uniqueItems": True},
            item,
        ]
    }
