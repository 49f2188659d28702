"""The gate's schemas and its comment as they are published: a change here is a change for every reader of them."""

from __future__ import annotations

from reports.gate_markdown import comment
from tests.gate_runs import a_result
from tests.golden_files import matches_golden
from tuner.gate_document import gate_schema
from tuner.lock_file import lock_schema


def test_the_schema_of_lock_files():
    assert matches_golden("lock.schema.json", lock_schema())


def test_the_schema_of_gate_json():
    assert matches_golden("gate.schema.json", gate_schema())


def test_the_comment_on_a_pull_request_that_fails():
    assert matches_golden("gate_comment.md", comment(a_result()))
