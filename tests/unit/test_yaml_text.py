"""Reading YAML: its meaning, its places, and what is refused."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from tuner.domain.errors import UsageError
from tuner.yaml_text import MAX_BYTES, MAX_DEPTH, MAX_PROBLEMS, Document, parse_yaml, plain, read_text, to_yaml

MEGABYTE = 1_000_000


def read(text: str | bytes) -> Document:
    return parse_yaml(text if isinstance(text, bytes) else text.encode(), "study.yaml")


def value_of(text: str) -> object:
    document = read(f"key: {text}\n")
    assert document.problems == ()
    assert document.root is not None
    data = plain(document.root)
    assert isinstance(data, dict)
    return data["key"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"), ("yes", "yes"), ("on", "on"), ("y", "y"), ("12:30:45", "12:30:45"), ("2026-11-22", "2026-11-22"),
        ("1_000", "1_000"), ("0b1", "0b1"), ("nan", "nan"), ("=", "="), ("1e", "1e"), ("+", "+"), (".", "."),
        ("true", True), ("False", False), ("null", None), ("~", None),
        ("010", 10), ("0o10", 8), ("0x1F", 31), ("-7", -7), ("+3", 3),
        ("1e3", 1000.0), (".5", 0.5), ("1.", 1.0), ("-2.5E-3", -0.0025),
        ("'1'", "1"), ('"true"', "true"), ("''", ""), ("١٢", "١٢"),
    ],
)  # fmt: skip
def test_plain_scalars_mean_what_yaml_1_2_says(text: str, value: object):
    read_value = value_of(text)
    assert read_value == value
    assert type(read_value) is type(value)


def test_a_byte_order_mark_and_windows_line_ends_change_nothing():
    unix = read("a: 1\nb:\n  - x\n")
    windows = read(b"\xef\xbb\xbfa: 1\r\nb:\r\n  - x\r\n")
    assert windows == unix
    assert windows.problems == ()


def test_every_key_and_value_knows_its_place():
    root = read("a: 1\nb:\n  - x\n  - {c: 2}\n").root
    entry = root.get("b")
    key, value = entry
    assert (key.mark.line, key.mark.column) == (2, 1)
    assert (value.items[0].mark.line, value.items[0].mark.column) == (3, 5)
    inner_key, inner_value = value.items[1].get("c")
    assert (inner_key.mark.line, inner_key.mark.column) == (4, 6)
    assert (inner_value.mark.line, inner_value.mark.column) == (4, 9)


def test_an_absent_value_is_found_at_its_key():
    entry = read("a:\n# a comment\n\n\nb: 1\n").root.get("a")
    assert entry[1].mark == entry[0].mark


def test_depth_is_counted_and_no_more():
    fits = "a: " + "[" * (MAX_DEPTH - 2) + "1" + "]" * (MAX_DEPTH - 2)
    assert read(fits).problems == ()
    assert len(read(fits.replace("1", "[1]")).problems) == 1


def doubling_aliases() -> str:
    return "a0: &a0 [x]\n" + "".join(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 99))


BOMBS: dict[str, Callable[[], str]] = {
    "aliases": doubling_aliases,
    "flow lists": lambda: "[" * 100_000,
    "flow mappings": lambda: "{a: " * 100_000,
    "block lists": lambda: "- " * 100_000,
    "explicit keys": lambda: "? " * 100_000,
    "many items": lambda: "a: [" + "1, " * 300_000 + "1]",
    "many keys": lambda: "\n".join(f"k{k}: 1" for k in range(50_000)),
    "anchors": lambda: "&a " * 100_000,
    "tags": lambda: "!t " * 100_000,
    "tag directives": lambda: "%TAG !e! tag:x,2026:\n" * 40_000,
    "stairs": lambda: "".join(" " * k + "a:\n" for k in range(1_300)),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_are_refused_without_growing(bomb: str):
    text = BOMBS[bomb]().encode()
    assert len(text) <= MAX_BYTES
    tracemalloc.start()
    problems = parse_yaml(text, "bomb.yaml").problems
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert problems
    assert peak < 50 * MEGABYTE


def test_a_flood_of_problems_is_cut():
    problems = read("a: [" + ", ".join("&a 1" for _ in range(500)) + "]").problems
    assert len(problems) == MAX_PROBLEMS + 1
    assert problems[-1].message == "too many problems to read on"


def test_a_large_file_is_not_read(tmp_path: Path):
    large = tmp_path / "large.yaml"
    with large.open("wb") as stream:
        stream.truncate(100 * MEGABYTE)
    tracemalloc.start()
    with pytest.raises(UsageError, match="100,000,000 bytes"):
        read_text(large)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MEGABYTE


@pytest.mark.parametrize("path", ["/dev/zero", ".", "absent.yaml", "nul\0byte"])
def test_what_is_no_readable_file_is_refused(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError):
        read_text(Path(path))


@pytest.mark.parametrize("text", ["no", "Off", "y", "null", "12:30", "1e3", ".5", "0x1", "a: b", "#a", "é", " a", ""])
def test_text_that_looks_like_something_else_is_written_in_quotes(text: str):
    assert to_yaml([text]).startswith(("- '", '- "'))


def test_long_texts_are_written_as_blocks():
    assert to_yaml({"config.pbtxt": 'name: "m"\nmax_batch_size: 8\n'}) == (
        'config.pbtxt: |\n  name: "m"\n  max_batch_size: 8\n'
    )


def test_a_value_that_occurs_twice_is_written_twice():
    shared = {"cpu": "1"}
    text = to_yaml({"limits": shared, "requests": shared})
    assert text == 'limits:\n  cpu: "1"\nrequests:\n  cpu: "1"\n'
