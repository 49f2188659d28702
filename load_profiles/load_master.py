"""The master of load workers on several machines: one plan in, their parts out, one result back.

`python -m load_profiles.load_master --plan FILE --bind HOST:PORT --expect-workers N --result FILE`. A plan `-` is one
line on stdin; with `--parent PID` it ends with that process. What happens is told as lines of JSON on stdout.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from load_profiles.addresses import HostPort, host_port, is_loopback
from load_profiles.load_conversation import LoadConversation, Schedule
from load_profiles.locust_run import Inbox, MasterLink
from load_profiles.packed_samples import pack_samples
from load_profiles.parent_death import end_orderly_when_told, end_with_parent
from load_profiles.plan import LoadPlan
from load_profiles.sealed_messages import shared_secret
from tuner.domain.errors import TunerError, UsageError
from tuner.domain.load import LoadRun

STDIN = "-"
PRINTED_BYTES = 6144
"""Of the result on one line: with base64 below the 16 KiB at which container runtimes cut lines."""


@dataclass(frozen=True, slots=True)
class _Told:
    """Our own stdout, out of reach of libraries that print."""

    stream: IO[str]
    terse: bool

    def __call__(self, **fields: object) -> None:
        if self.terse and fields["event"] == "progress":
            return
        self.stream.write(json.dumps(fields) + "\n")
        self.stream.flush()


def main() -> None:
    """Ends with 0 when the result is written, else with the error's exit code and the reason on stdout and stderr.

    143 when terminated.
    """
    options = _options()
    end_orderly_when_told()
    if options.parent:
        end_with_parent(options.parent)
    tell = _own_stdout(terse=options.print_result)
    try:
        plan, schedule = _read_plan(options.plan, options.expect_workers)
        run = _carry_out(plan, schedule, options, tell)
        packed = pack_samples(run.samples, run.generator)
        if plan.result_descriptor >= 0:
            with os.fdopen(plan.result_descriptor, "wb") as result:
                result.write(packed)
        if options.result:
            _write_whole(options.result, packed)
    except TunerError as error:
        tell(event="failed", error=type(error).__name__, message=error.message, hint=error.hint)
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
    if options.print_result:
        for number, begin in enumerate(range(0, len(packed), PRINTED_BYTES)):
            tell(event="result", number=number, base64=b64encode(packed[begin : begin + PRINTED_BYTES]).decode())
    tell(event="finished", size_bytes=len(packed), sha256=hashlib.sha256(packed).hexdigest())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="load_profiles.load_master", description=__doc__, allow_abbrev=False)
    parser.add_argument("--plan", required=True, help="file with a load plan, or - for one line on stdin")
    parser.add_argument("--bind", required=True, help="HOST:PORT where workers are awaited")
    parser.add_argument("--expect-workers", required=True, type=int)
    parser.add_argument("--max-wait-s", default=60.0, type=float, help="how long to wait for them")
    parser.add_argument("--result", default=None, type=Path, help="where to write the result, too")
    parser.add_argument("--print-result", action="store_true", help="print it on stdout, too, instead of the progress")
    parser.add_argument("--parent", default=0, type=int, help="process whose end ends this one")
    return parser.parse_args()


def _own_stdout(*, terse: bool) -> _Told:
    stream = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return _Told(stream, terse)


def _read_plan(name: str, workers: int) -> tuple[LoadPlan, Schedule]:
    """Raises UsageError for what is no plan, or one of another version of servetune."""
    try:
        plan = LoadPlan.from_json(sys.stdin.readline() if name == STDIN else Path(name).read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"the load plan cannot be read: {error!r}", hint="install the same servetune on all machines"
        ) from error
    return plan, Schedule.of(plan.profile, workers)


def _carry_out(plan: LoadPlan, schedule: Schedule, options: argparse.Namespace, tell: _Told) -> LoadRun:
    bind: HostPort = host_port(options.bind)
    secret = shared_secret(os.environ, needed=not is_loopback(bind.host))
    inbox = Inbox()
    with MasterLink(bind.host, bind.port, inbox) as link:
        here = HostPort(bind.host, link.port)
        tell(event="listening", address=str(here))
        conversation = LoadConversation(link, inbox, secret=secret, plan=plan, schedule=schedule, tell=tell)
        return conversation.carry_out(here, options.max_wait_s)


def _write_whole(path: Path, content: bytes) -> None:
    """All or nothing: who sees the file sees the whole of it."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    unfinished.write_bytes(content)
    unfinished.replace(path)


if __name__ == "__main__":
    main()
