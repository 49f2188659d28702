"""`python -m tuner.search.stdio [--optimizer NAME]`: one JSON object a line in, one out.

{"op": "init", "info": {...}, "costs": [[config, money per hour], ...], "seed": 7}  ->  {}
{"op": "suggest"}                                     ->  {"config": {...}} or {"stop": true, "reason": "..."}
{"op": "observe", "config": {...}, "result": {...}}   ->  {}
{"op": "recommend"}                                   ->  {"config": {...} or null}
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

Json = dict[str, Any]
Costs = Sequence[tuple[Json, float]]


class Session(Protocol):
    """One study under way. (Three questions: the protocol's own number.)"""

    def suggest(self) -> Json: ...
    def observe(self, config: Json, result: Mapping[str, Any]) -> None: ...
    def recommend(self) -> Json: ...


def _structured(info: Mapping[str, Any], costs: Costs, seed: int) -> Session:
    from tuner.search.structured_protocol import StructuredSession

    return StructuredSession(info, costs, seed)


def _by_trials(name: str) -> Callable[[Mapping[str, Any], Costs, int], Session]:
    def open_it(info: Mapping[str, Any], costs: Costs, seed: int) -> Session:
        from tuner.search.trials_protocol import TrialsSession

        return TrialsSession(name, info, costs, seed)

    return open_it


SESSIONS: dict[str, Callable[[Mapping[str, Any], Costs, int], Session]] = {
    "structured": _structured,
    "random": _by_trials("random"),
    "grid": _by_trials("grid"),
    "tpe": _by_trials("tpe"),
    "gp": _by_trials("gp"),
}


def respond(session: Session, message: Json) -> Json:
    """The answer to one message after `init`. Raises ValueError for an unknown one."""
    match message["op"]:
        case "suggest":
            return session.suggest()
        case "observe":
            session.observe(message["config"], message["result"])
            return {}
        case "recommend":
            return session.recommend()
        case other:
            raise ValueError(f"unknown op: {other!r}")


def serve(lines: Sequence[str] | Any, write: Callable[[str], object], name: str) -> None:
    """Answer every line; each `init` opens a new study."""
    session: Session | None = None
    for line in lines:
        message = json.loads(line)
        answer: Json = {}
        if message["op"] == "init":
            session = SESSIONS[name](message["info"], message["costs"], int(message["seed"]))
        elif session is None:
            raise ValueError("the first message has to be init")
        else:
            answer = respond(session, message)
        write(json.dumps(answer) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--optimizer", default="structured", choices=sorted(SESSIONS))
    chosen = parser.parse_args()

    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    serve(sys.stdin, write, chosen.optimizer)


if __name__ == "__main__":
    main()
