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
from collections.abc import Callable, Iterable

from tuner.search.optimizers import OPTIMIZERS
from tuner.search.protocol import Costs, Info, Json, Session


def open_session(name: str, info: Info, costs: Costs, seed: int) -> Session:
    """A new study. The structured search reads the scenario's own telemetry; any other optimizer is told trials."""
    if name == "structured":
        from tuner.search.structured_protocol import StructuredSession

        return StructuredSession(info, costs, seed)
    from tuner.search.trials_protocol import TrialsSession

    make = next(make for known, make in OPTIMIZERS.items() if known == name)
    return TrialsSession(make, info, costs, seed)


def respond(session: Session, message: Json) -> Json:
    """The answer to one message after `init`. Raises ValueError for an unknown one."""
    match message["op"]:
        case "observe":
            session.observe(message["config"], message["result"])
            return {}
        case "suggest" | "recommend" as question:
            return session.answer(question)
        case other:
            raise ValueError(f"unknown op: {other!r}")


def serve(lines: Iterable[str], write: Callable[[str], object], name: str) -> None:
    """Answer every line; each `init` opens a new study."""
    session: Session | None = None
    for line in lines:
        message = json.loads(line)
        answer: Json = {}
        if message["op"] == "init":
            session = open_session(name, message["info"], message["costs"], int(message["seed"]))
        elif session is None:
            raise ValueError("the first message has to be init")
        else:
            answer = respond(session, message)
        write(json.dumps(answer) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--optimizer", default="structured", choices=sorted(OPTIMIZERS))
    chosen = parser.parse_args()

    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    serve(sys.stdin, write, chosen.optimizer)


if __name__ == "__main__":
    main()
