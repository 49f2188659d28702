"""The only door to the YAML library: text to plain nodes that know their line and column, and data to text.

Reading follows YAML 1.2's core schema (`no`, `12:30:45` and `1_000` are text) and refuses what a study file has no use
for and an attacker would: aliases, anchors, tags, directives, several documents, deep or large input.
"""

from __future__ import annotations

import io
import math
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.representer import SafeRepresenter

from tuner.domain.errors import Problem, UsageError

MAX_BYTES = 1_000_000
MAX_DEPTH = 20
MAX_NODES = 5_000
MAX_PROBLEMS = 50
_MAX_NUMBER_TEXT = 40

ScalarValue = str | int | float | bool | None
Plain = ScalarValue | Sequence["Plain"] | Mapping[str, "Plain"]

_INTEGER = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS: dict[str, ScalarValue] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file; line and column count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class ScalarNode:
    """One value, as YAML 1.2 reads it. `quoted` text is never a number."""

    mark: Mark
    value: ScalarValue
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class ListNode:
    mark: Mark
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class MapNode:
    """Keys are text, and each occurs once (a second one is a problem, and the first one counts)."""

    mark: Mark
    entries: tuple[tuple[ScalarNode, Node], ...]

    def get(self, key: str) -> tuple[ScalarNode, Node] | None:
        return next((entry for entry in self.entries if entry[0].value == key), None)


Node = ScalarNode | ListNode | MapNode


@dataclass(frozen=True, slots=True)
class Document:
    """What a text holds: the root, as far as it could be read, and everything wrong with it."""

    root: Node | None
    problems: tuple[Problem, ...]


def read_text(path: Path) -> bytes:
    """The content of a text file, at most `MAX_BYTES`: a larger one is not read. Raises UsageError."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"{path} is not a file", hint="name a file")
        if status.st_size > MAX_BYTES:
            raise UsageError(f"{path} has {status.st_size:,} bytes", hint=f"at most {MAX_BYTES:,} are read")
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"cannot read {path}: {reason}") from error
    if len(content) > MAX_BYTES:
        raise UsageError(f"{path} has more than {MAX_BYTES:,} bytes", hint="the file grew while it was read")
    return content


def parse_yaml(content: bytes, file: str) -> Document:
    """Read one YAML document. Never raises for bad input: problems are listed, each with its line and column."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8-sig", errors="replace")
        mark = _mark_after(before)
        problem = Problem(file, mark.line, mark.column, "this byte is not UTF-8", "save the file as UTF-8")
        return Document(root=None, problems=(problem,))
    return _Reading(file).document(text)


def plain(node: Node) -> Plain:
    """The values without their places."""
    match node:
        case ScalarNode():
            return node.value
        case ListNode():
            return [plain(item) for item in node.items]
        case MapNode():
            return {str(key.value): plain(value) for key, value in node.entries}


class _StopReading(Exception):
    """The rest of the file cannot be read; the problem is already listed."""


@dataclass
class _Reading:
    """One pass over the events of one text."""

    file: str
    problems: list[Problem] = field(default_factory=list)
    nodes: int = 0
    first: Node | None = None

    def document(self, text: str) -> Document:
        try:
            events: Iterator[Event] = iter(YAML(typ="safe", pure=True).parse(text))
            self._stream(events)
        except MarkedYAMLError as error:
            self._syntax(error)
        except ReaderError as error:
            mark = _mark_after(text[: error.position])
            self._add(mark, f"the character U+{error.character:04X} is not allowed in YAML", "delete it")
        except YAMLError as error:
            self._add(Mark(1, 1), f"not valid YAML: {error}")
        except _StopReading:
            pass
        if self.first is None and not self.problems:
            self._add(Mark(1, 1), "the file is empty", "`servetune init` writes a study file to start from")
        return Document(root=self.first, problems=tuple(self.problems))

    def _stream(self, events: Iterator[Event]) -> None:
        for event in events:
            if isinstance(event, StreamEndEvent):
                return
            if not isinstance(event, DocumentStartEvent):
                continue
            if self.first is not None:
                self._stop(event, "a second document starts here", "one study a file")
            if event.version not in (None, (1, 2)) or event.tags:
                self._add(_mark(event), "YAML directives are not allowed", "the file is read as YAML 1.2")
            self.first = self._node(next(events), events, depth=1)

    def _node(self, event: Event, events: Iterator[Event], depth: int) -> Node:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            self._stop(event, f"more than {MAX_NODES:,} values", "a study file has a few dozen")
        if depth > MAX_DEPTH:
            self._stop(event, f"nested deeper than {MAX_DEPTH} levels", "a study file needs four")
        match event:
            case AliasEvent():
                self._add(_mark(event), f"aliases are not allowed: *{event.anchor}", "write the value out")
                return ScalarNode(mark=_mark(event), value=None)
            case ScalarEvent():
                self._refuse_properties(event)
                return self._scalar(event)
            case SequenceStartEvent():
                self._refuse_properties(event)
                return self._list(event, events, depth)
            case MappingStartEvent():
                self._refuse_properties(event)
                return self._map(event, events, depth)
        raise AssertionError(event)

    def _list(self, start: Event, events: Iterator[Event], depth: int) -> ListNode:
        items: list[Node] = []
        for event in events:
            if isinstance(event, SequenceEndEvent):
                break
            items.append(self._node(event, events, depth + 1))
        return ListNode(mark=_mark(start), items=tuple(items))

    def _map(self, opening: Event, events: Iterator[Event], depth: int) -> MapNode:
        entries: dict[str, tuple[ScalarNode, Node]] = {}
        for event in events:
            if isinstance(event, MappingEndEvent):
                break
            key = self._key(event, events, depth)
            start = next(events)
            value = self._node(start, events, depth + 1)
            if isinstance(start, ScalarEvent) and start.value == "" and start.style is None:
                # Nothing is written after the key: point at the key, not at whatever comes next.
                value = ScalarNode(mark=key.mark, value=None)
            earlier = entries.get(str(key.value))
            if earlier is None:
                entries[str(key.value)] = (key, value)
            else:
                line = earlier[0].mark.line
                self._add(key.mark, f"duplicate key '{key.value}'", f"the first one is on line {line}")
        return MapNode(mark=_mark(opening), entries=tuple(entries.values()))

    def _key(self, event: Event, events: Iterator[Event], depth: int) -> ScalarNode:
        node = self._node(event, events, depth + 1)
        if isinstance(node, ScalarNode) and isinstance(node.value, str):
            return node
        text = event.value if isinstance(event, ScalarEvent) else "(no text)"
        if node.mark not in {Mark(problem.line, problem.column) for problem in self.problems}:
            self._add(node.mark, f"a key must be text, not {text or 'nothing'}", "put it in quotes if it is meant")
        return ScalarNode(mark=node.mark, value=str(text))

    def _scalar(self, event: ScalarEvent) -> ScalarNode:
        mark, text = _mark(event), str(event.value)
        if event.style is not None or not event.implicit[0]:
            return ScalarNode(mark=mark, value=text, quoted=True)
        if text in _WORDS:
            return ScalarNode(mark=mark, value=_WORDS[text])
        if _NOT_FINITE.fullmatch(text):
            self._add(mark, f"{text} is not a finite number", "write a plain number")
            return ScalarNode(mark=mark, value=None)
        number = _number(text)
        if number is None:
            return ScalarNode(mark=mark, value=text)
        if math.isinf(number):
            self._add(mark, f"{text[:20]} is too large a number", "write a plain number")
            return ScalarNode(mark=mark, value=None)
        return ScalarNode(mark=mark, value=number)

    def _refuse_properties(self, event: Any) -> None:
        if event.anchor is not None:
            self._add(_mark(event), f"anchors are not allowed: &{event.anchor}", "write the value where it is needed")
        elif event.tag is not None:
            self._add(_mark(event), f"tags are not allowed: {event.tag}", "delete it: the key says what is expected")

    def _syntax(self, error: MarkedYAMLError) -> None:
        text = " ".join(str(error.problem or error.context).split())
        at, start = error.problem_mark or error.context_mark, error.context_mark or error.problem_mark
        if "end of stream" in text or "<stream end>" in text:
            at, text = start, "this is never closed"
        mark = Mark(at.line + 1, at.column + 1) if at else Mark(1, 1)
        hint = f"it began on line {start.line + 1}" if start and at and start.line != at.line else ""
        hint = "indent with spaces" if "\\t" in text else hint
        if "mapping values are not allowed" in text:
            text, hint = "a ':' is not allowed here", "put text that holds ': ' in quotes, and check the indentation"
        self._add(mark, f"not valid YAML: {text}", hint)

    def _add(self, mark: Mark, message: str, hint: str = "") -> None:
        self.problems.append(Problem(self.file, mark.line, mark.column, message, hint))
        if len(self.problems) == MAX_PROBLEMS:
            self.problems.append(Problem(self.file, mark.line, mark.column, "too many problems to read on"))
            raise _StopReading

    def _stop(self, event: Event, message: str, hint: str) -> None:
        self._add(_mark(event), message, hint)
        raise _StopReading


def _number(text: str) -> int | float | None:
    """The number a plain scalar stands for; infinite where no double holds it, None where it is text."""
    if _INTEGER.fullmatch(text):
        return int(text) if len(text) <= _MAX_NUMBER_TEXT else math.inf
    if _OCTAL.fullmatch(text) or _HEXADECIMAL.fullmatch(text):
        return int(text[2:], 8 if text[1] == "o" else 16) if len(text) <= _MAX_NUMBER_TEXT else math.inf
    if _FLOAT.fullmatch(text):
        return float(text)
    return None


def _mark(event: Event) -> Mark:
    return Mark(event.start_mark.line + 1, event.start_mark.column + 1)


def _mark_after(text: str) -> Mark:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return Mark(len(lines), len(lines[-1]) + 1)


# Words that YAML 1.1 readers (kubectl among them) take for booleans, and text that looks like no number to anyone.
_PLAIN_TEXT = re.compile(r"[A-Za-z_./][A-Za-z0-9_./-]*( [A-Za-z0-9_./-]+)*")
_WORDS_OF_YAML_1_1 = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"})


def to_yaml(data: Plain) -> str:
    """Block-style text that YAML 1.1 and 1.2 readers read alike: text that either could misread is quoted."""
    door = YAML(typ="safe", pure=True)
    door.Representer = _CarefulRepresenter
    door.default_flow_style = False
    door.width = 120
    door.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # declared as always None
    stream = io.StringIO()
    door.dump(data, stream)
    return stream.getvalue()


class _CarefulRepresenter(SafeRepresenter):
    """Quotes what a reader could take for something else. A class of its own, since the library registers by class."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the library's own name
        """A value that occurs twice is written twice: what we write, we also read."""
        return True


def _represent_text(representer: Any, text: str) -> Any:
    readable = text.strip("./") and text.lower().strip(".") not in _WORDS_OF_YAML_1_1
    style: str | None = '"'
    if readable and _PLAIN_TEXT.fullmatch(text):
        style = None
    elif "\n" in text and all(line.isprintable() for line in text.split("\n")):
        style = "|"
    return representer.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_CarefulRepresenter.add_representer(str, _represent_text)
