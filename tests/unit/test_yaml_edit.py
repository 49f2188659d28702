from __future__ import annotations

import difflib

import pytest

from tuner.domain.errors import UsageError
from tuner.yaml_edit import edited_yaml
from tuner.yaml_text import parse_yaml, plain

TEXT = """# a chart's values
a: 1   # one
b:
    c: 'two'
    d: {e: "3", f: [x, y]}   # flow
    g:
        - name: h
          cpu: 8
        # the end of g
i: |
  block
"""


def edited(text: str, *edits: tuple[str, str | int | float]) -> str:
    return edited_yaml(text, [(tuple(path.split(".")), value) for path, value in edits], file="values.yaml")[0]


def changed_lines(before: str, after: str) -> list[str]:
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    return [line for line in lines if line[0] in "+-"]


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        ("a", 5, "a: 5   # one"),
        ("a", 0.5, "a: 0.5   # one"),
        ("b.c", "it's", "    c: 'it''s'"),
        ("b.d.e", "1500m", '    d: {e: "1500m", f: [x, y]}   # flow'),
        ("b.d.f.1", "z", '    d: {e: "3", f: [x, z]}   # flow'),
        ("b.d.f.1", "no", '    d: {e: "3", f: [x, "no"]}   # flow'),
        ("b.g.0.cpu", "4", "          cpu: 4"),
        ("b.g.0.cpu", "1500m", "          cpu: 1500m"),
    ],
)
def test_only_the_line_of_the_value_changes(path: str, value: str | float, line: str):
    removed, added = (line for line in changed_lines(TEXT, edited(TEXT, (path, value))))
    assert removed.startswith("- ")
    assert added == f"+ {line}"


@pytest.mark.parametrize(
    ("path", "value", "lines"),
    [
        ("j", "4", ['j: "4"']),
        ("b.k", "fp16", ["    k: fp16"]),
        ("b.k.l.m", 7, ["    k:", "      l:", "        m: 7"]),
        ("b.g.0.memory", "8Gi", ["          memory: 8Gi"]),
        ("b.nvidia.com/gpu", 1, ["    nvidia:", "      com/gpu: 1"]),
    ],
)
def test_what_is_not_there_is_added_at_the_end_of_its_block(path: str, value: str | int, lines: list[str]):
    after = edited(TEXT, (path, value))
    assert changed_lines(TEXT, after) == [f"+ {line}" for line in lines]
    document = parse_yaml(after.encode(), "values.yaml")
    assert document.problems == ()


def test_a_key_may_have_dots():
    text, added = edited_yaml(TEXT, [(("b", "d", "nvidia.com/gpu"), 1)], file="values.yaml")
    assert '    d: {e: "3", f: [x, y], nvidia.com/gpu: 1}   # flow' in text.splitlines()
    assert added == ("b.d.nvidia.com/gpu",)


def test_an_empty_value_is_filled():
    assert edited("a:\nb: 1\n", ("a", 3)) == "a: 3\nb: 1\n"
    assert edited("a: # why\nb: 1\n", ("a", 3)) == "a: 3 # why\nb: 1\n"


def test_a_text_without_a_last_line_end_stays_one():
    assert edited("a: 1", ("b", 2)) == "a: 1\nb: 2"


def test_many_edits_are_all_there():
    document = parse_yaml(edited(TEXT, ("a", 2), ("b.c", "x"), ("n.o", 1), ("n.p", 2)).encode(), "values.yaml")
    assert document.root is not None
    whole = plain(document.root)
    assert isinstance(whole, dict)
    assert (whole["a"], whole["b"]["c"], whole["n"], whole["i"]) == (2, "x", {"o": 1, "p": 2}, "block\n")


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        (TEXT, "a.b", "no place for a.b"),
        (TEXT, "b.g.3.cpu", "no place for b.g.3"),
        (TEXT, "b.d", "b.d is no value of one line"),
        (TEXT, "i", "i is no value of one line"),
        ("a: &x 1\nb: *x\n", "b", "b is shared by an anchor"),
        ("a: &x {c: 1}\nb: *x\n", "b.c", "b is shared by an anchor"),
        ("a: 1\na: 2\n", "a", "a is there more than once"),
        ("- 1\n", "a", "holds no mapping"),
        ("", "a", "holds no mapping"),
        ("a: [1\n", "a", "is no YAML that can be edited"),
    ],
)
def test_what_cannot_be_changed_alone_is_refused(text: str, path: str, message: str):
    with pytest.raises(UsageError, match=message):
        edited(text, (path, 1))
