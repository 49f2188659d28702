"""The published JSON Schema: as agreed, valid itself, and of one mind with the loader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.golden_files import GOLDEN, matches_golden
from tuner.spec_schema import study_schema
from tuner.spec_template import study_template
from tuner.yaml_text import parse_yaml, plain

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*/study.yaml"))
OF_FORM = (
    "unknown_top_level_key", "unknown_nested_key", "unknown_key_in_list_item", "missing_sections", "missing_max",
    "other_api_version", "name_with_slash", "rate_with_unit", "fraction_where_whole", "boolean_where_number",
    "zero_rate", "headroom_of_one", "share_in_percent", "unknown_knob", "empty_knob", "knob_without_value",
    "duplicate_values", "no_knobs", "environment_knob_without_name", "environment_knob_of_booleans",
    "unknown_preprocess", "unknown_indicator", "empty_slos", "unknown_runner", "option_with_odd_name", "two_models",
)  # fmt: skip


def data_of(content: bytes) -> Any:
    root = parse_yaml(content, "study.yaml").root
    assert root is not None
    return plain(root)


def validator() -> Draft202012Validator:
    return Draft202012Validator(json.loads(study_schema()))


def test_the_schema_is_as_agreed():
    assert matches_golden("study.schema.json", study_schema())


def test_the_schema_is_a_schema():
    Draft202012Validator.check_schema(json.loads(study_schema()))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_examples_are_valid(path: Path):
    assert list(validator().iter_errors(data_of(path.read_bytes()))) == []


def test_the_template_is_valid():
    assert list(validator().iter_errors(data_of(study_template().encode()))) == []


@pytest.mark.parametrize("name", OF_FORM)
def test_what_is_wrong_by_form_is_invalid(name: str):
    assert not validator().is_valid(data_of((GOLDEN / "broken_specs" / f"{name}.yaml").read_bytes()))
