"""The search benchmark's protocol, as types: what a session is told, and the two questions it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

Json = dict[str, Any]
Info = Mapping[str, Any]
Result = Mapping[str, Any]
Costs = Sequence[tuple[Json, float]]
Question = Literal["suggest", "recommend"]


class Session(Protocol):
    """One study under way."""

    def observe(self, config: Json, result: Result) -> None:
        """Learn the result of one test."""
        ...

    def answer(self, question: Question) -> Json:
        """`suggest`: {"config": ...} or {"stop": true, "reason": ...}; `recommend`: {"config": ... or null}."""
        ...
