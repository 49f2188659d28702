"""What a load worker hears from its master and from its own child, and what it does about it: one run."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any, cast

from load_profiles.addresses import HostPort
from load_profiles.allowed_targets import refuse_unless_allowed
from load_profiles.child import Child
from load_profiles.crew import fresh_number, introduction
from load_profiles.locust_run import Ended, Heard, Inbox, WorkerLink, beside
from load_profiles.pieces import parcel_of, pieces_of
from load_profiles.plan import START_UP_S, LoadPlan, longest_s
from load_profiles.sealed_messages import ForgedMessage, Message, seal, unseal
from load_profiles.shipped_plan import received, schedule_sha256
from tuner.domain.arrivals import intended_starts_s
from tuner.domain.errors import TargetRefused, TransientFailure, TunerError, UsageError

MASTER_GONE_S = 5.0
TICK_S = 0.25


class MasterLeft(TransientFailure):
    """The master went before it gave us anything to do: there may be another soon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Whom this worker serves, by which secret, and which targets beside this machine it may put load on."""

    master: HostPort
    secret: bytes
    allowed: tuple[str, ...]


def one_run(inbox: Inbox, terms: Terms, *, until_s: float) -> None:
    """Carry out the part that the master gives, until it says that it has everything.

    Raises InfrastructureError if no master answers by `until_s` (monotonic), TransientFailure if it is gone or gives
    up, TargetRefused or UsageError for a plan that may not or cannot be carried out. No load goes on after that.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(prefix="servetune-load-"))
        link = stack.enter_context(WorkerLink(terms.master.host, terms.master.port, inbox, until_s=until_s))
        serving = _Serving(inbox, terms, link, Path(folder))
        stack.callback(serving.end_child)
        serving.serve()


class _Serving:
    def __init__(self, inbox: Inbox, terms: Terms, link: WorkerLink, folder: Path) -> None:
        self._inbox = inbox
        self._terms = terms
        self._link = link
        self._child: Child | None = None
        self._folder = folder
        self._number = fresh_number()
        self._run = ""
        self._plan: LoadPlan | None = None
        self._until_s = 0.0
        self._late_s = 0.0
        self._over = False
        self._failure: TunerError | None = None

    def end_child(self) -> None:
        """No load goes on."""
        if self._child is not None:
            self._child.end()

    def serve(self) -> None:
        name = f"{socket.gethostname()}:{os.getpid()}"
        self._tell(Message("hello", introduction(name=name, number=self._number)))
        while not self._over:
            match self._inbox.get(until_s=monotonic() + TICK_S):
                case Heard(wire=wire, at_s=at_s):
                    self._hear(wire, at_s)
                case Ended(error=error):
                    self._hand_over(error)
                case {"event": str(event)} as said:
                    self._hear_child(event, cast(dict[str, Any], said))
                case _:
                    pass
            if monotonic() - self._link.heard_s > MASTER_GONE_S:
                failure = MasterLeft if self._plan is None else TransientFailure
                raise failure(f"the load master at {self._terms.master} is gone")
        if self._failure is not None:
            raise self._failure

    def _say(self, kind: str, data: bytes = b"", **fields: object) -> None:
        self._tell(Message(kind, fields, data))

    def _tell(self, message: Message) -> None:
        self._link.send(seal(self._terms.secret, message, sender="worker", run=self._run))

    def _hear(self, wire: object, at_s: float) -> None:
        try:
            message = unseal(self._terms.secret, wire, sender="master", run=self._number)
        except ForgedMessage as forged:
            if self._run:
                return  # noise; our master has proven itself
            hint = "both need the same secret in their environment"
            raise UsageError(f"the load master at {self._terms.master} cannot be trusted: {forged}", hint) from forged
        fields = message.fields
        match message.kind:
            case "welcome":
                self._run = fields["run"]
                self._child = self._child or Child()  # loads its libraries while others still come
                self._say("joined")
            case "ping":
                self._say("pong", number=fields["number"], at_s=at_s)
            case "plan" if self._plan is None and self._child is not None:
                self._take_on(message, self._child)
            case "begin" if self._child is not None:
                self._begin(fields["at_s"], self._child)
            case "stop" if self._child is not None:
                self._child.stop()
            case "refused":
                raise self._failure or _refusal(fields)
            case "over":
                self._over = True
            case _:
                pass

    def _take_on(self, message: Message, child: Child) -> None:
        """Check the plan, and tell the child; what is refused is told to the master, who ends the run."""
        try:
            plan = received(message, self._folder, result_descriptor=child.result_descriptor)
            refuse_unless_allowed(plan, self._terms.allowed)
            _refuse_other_schedule(plan, message.fields["schedule_sha256"])
        except (TargetRefused, UsageError) as error:
            self._failure = error
            self._say("refused", error=type(error).__name__, message=error.message, hint=error.hint)
            return
        self._plan = plan
        self._until_s = monotonic() + 2.0 * START_UP_S + longest_s(plan.profile)
        if plan.parts == 1:  # one alone waits for nobody: its child begins as soon as it is told
            self._say("ready")
        else:
            self._start(child, plan)

    def _start(self, child: Child, plan: LoadPlan) -> None:
        child.tell(plan)
        self._inbox.listen_to(child.messages(until_s=self._until_s))

    def _begin(self, at_s: float, child: Child) -> None:
        self._late_s = max(0.0, monotonic() - at_s)
        if self._plan is not None and self._plan.parts == 1:
            self._start(child, self._plan)
        else:
            child.start_at(at_s)

    def _hear_child(self, event: str, said: dict[str, Any]) -> None:
        match event:
            case "ready":
                for payload in self._folder.iterdir():  # read by now: nothing stays behind if we are killed
                    payload.unlink()
                self._say("ready")
            case "progress" | "latencies":
                self._say(event, **{key: value for key, value in said.items() if key != "event"})
            case _:
                pass

    def _hand_over(self, error: TransientFailure | None) -> None:
        """The child has said everything it has to say: give the master its result, or the reason why there is none."""
        try:
            packed = self._result_of_child(error)
        except TransientFailure as failure:
            self._failure = failure
            self.end_child()
            self._say("failed", reason=failure.message)
            return
        self._say("parcel", parcel=asdict(parcel_of(packed)), late_s=self._late_s)
        for number, piece in enumerate(pieces_of(packed)):
            self._say("piece", piece, number=number)

    def _result_of_child(self, error: TransientFailure | None) -> bytes:
        if error is not None or self._child is None:
            raise error or TransientFailure("there is no child")
        self._child.await_exit(until_s=self._until_s)
        return self._child.result()


def _refuse_other_schedule(plan: LoadPlan, expected_sha256: str) -> None:
    if beside(lambda: schedule_sha256(intended_starts_s(plan.profile), plan.part, plan.parts)) != expected_sha256:
        raise UsageError(
            "this machine computes other arrival times than the master",
            hint="its mathematical library rounds differently: use the same image everywhere, or a trace",
        )


def _refusal(said: Mapping[str, str]) -> TunerError:
    message = said.get("message", "")
    if said.get("error") == "UsageError":
        return UsageError(message, said.get("hint", ""))
    return TransientFailure(f"the load master gave up: {message}")
