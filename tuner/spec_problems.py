"""Saying what is wrong with a file, where, and what was probably meant."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from rapidfuzz import fuzz, process

from tuner.domain.errors import Problem
from tuner.yaml_text import ListNode, MapNode, Mark, Node, ScalarNode

Path = tuple[str | int, ...]

_ALIKE_PERCENT = 60.0
_UNITS: dict[str, str] = {
    "_ms": "milliseconds",
    "_s": "seconds",
    "_rps": "requests per second",
    "_gib": "GiB",
    "_cores": "cores",
    "_share": "a share between 0 and 1: 0.5 is 50 %",
    "_ratio": "a share between 0 and 1: 0.01 is 1 %",
    "headroom": "a share between 0 and 1: 0.1 is 10 %",
}
_NUMBER = re.compile(r"[-+]?[0-9]+(\.[0-9]+)?")
_NUMBER_WITH_UNIT = re.compile(r"[-+]?[0-9][0-9_.,]*\s*[A-Za-z%µ]+")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong with a study, by the path of keys and list positions that leads to it.

    `at_key` says that the key itself is wrong, rather than its value.
    """

    path: Path
    message: str
    hint: str = ""
    at_key: bool = False

    def located(self, root: Node, file: str) -> Problem:
        mark = locate(root, self.path, at_key=self.at_key)
        return Problem(file, mark.line, mark.column, self.message, self.hint)


def nearest(word: str, choices: Iterable[str]) -> str:
    """`did you mean X?` where one choice is alike, else all of them."""
    listed = sorted(set(choices))
    found = process.extractOne(word.lower(), listed, scorer=fuzz.ratio, score_cutoff=_ALIKE_PERCENT)
    return f"did you mean {found[0]}?" if found else f"one of {', '.join(listed)}"


def locate(root: Node, path: Path, *, at_key: bool = False) -> Mark:
    """The place of the value at a path, or of its key; of the nearest thing that exists where the path leads nowhere.

    An absent key is thus found at the key that should hold it, and an item of a list that was written as one plain
    value at that value.
    """
    mark, node = root.mark, root
    for step in path:
        inner = _step(node, step)
        if inner is None:
            return mark
        key_mark, node = inner
        mark = key_mark
    return mark if at_key or isinstance(node, MapNode) else node.mark


def _step(node: Node, step: str | int) -> tuple[Mark, Node] | None:
    match node, step:
        case MapNode(), str():
            entry = node.get(step)
            return (entry[0].mark, entry[1]) if entry else None
        case ListNode(), int() if step < len(node.items):
            return node.items[step].mark, node.items[step]
        case ScalarNode(), 0:
            return node.mark, node
    return None


def unit_of(path: Path, siblings: Mapping[str, object] | None = None) -> str:
    """The unit that a key's name (or, for the `max` of an SLO, its indicator's name) stands for."""
    names = [step for step in path if isinstance(step, str)]
    name = names[-1] if names else ""
    if name == "max" and siblings is not None:
        name = str(siblings.get("indicator", ""))
    return next((unit for suffix, unit in _UNITS.items() if name.endswith(suffix)), "")


def shown(value: object) -> str:
    """A value as the user wrote it, shortened, with its kind."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {value:g}" if isinstance(value, float) else f"the number {value}"
        case str():
            return f"the text '{value if len(value) <= 40 else value[:37] + '...'}'"
        case list() | tuple():
            return "a list"
    return "a mapping"


def number_hint(value: object, unit: str) -> str:
    """How to write a number that was written as text."""
    wanted = f"a plain number of {unit}" if unit and not unit.startswith("a share") else unit or "a plain number"
    if isinstance(value, str) and _NUMBER_WITH_UNIT.fullmatch(value):
        return f"write {wanted}, without the unit"
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return "write it without quotes"
    if isinstance(value, str) and "," in value:
        return "a fraction has a point: 0.5; several values are a list: [1, 2]"
    return f"write {wanted}"


def in_file_order(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """By line and column, each once and on one line, without a character that a terminal would obey."""
    shown_safely = (replace(p, message=_one_line(p.message), hint=_one_line(p.hint)) for p in problems)
    return tuple(sorted(dict.fromkeys(shown_safely), key=lambda p: (p.file, p.line, p.column, p.message)))


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
