"""What a load master and its workers say to each other in the course of one run."""

from __future__ import annotations

from array import array
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from time import monotonic
from typing import Any, Protocol

from load_profiles.addresses import HostPort
from load_profiles.clock_offsets import RoundTrip, start_skew_s
from load_profiles.crew import CrewMember, refuse_stranger
from load_profiles.dealt_latencies import DealtLatencies
from load_profiles.locust_run import Heard, Inbox, MasterLink, beside
from load_profiles.parts import share_of, together
from load_profiles.plan import START_UP_S, LoadPlan, longest_s
from load_profiles.sealed_messages import ForgedMessage, Message, seal, unseal
from load_profiles.shipped_plan import schedule_sha256, shipped
from tuner.domain.arrivals import intended_starts_s
from tuner.domain.errors import TargetRefused, TransientFailure, TunerError, UsageError
from tuner.domain.load import LoadProfile, LoadRun
from tuner.domain.sequential import fails_already

LEAD_S = 0.25
LEAD_ROUND_TRIPS = 8.0
PINGS_BEFORE = 8
PINGS_AFTER = 4
PONG_WITHIN_S = 2.0
TICK_S = 0.25
SILENT = "it left, or was silent for too long"
REFUSALS: dict[str, type[TunerError]] = {"TargetRefused": TargetRefused, "UsageError": UsageError}


class Told(Protocol):
    """Who is told of events."""

    def __call__(self, **fields: object) -> None: ...


@dataclass(frozen=True, slots=True)
class Schedule:
    """When every request of a profile is due, and the digest of every part of that."""

    intended_s: tuple[float, ...]
    digests: tuple[str, ...]

    @staticmethod
    def of(profile: LoadProfile, parts: int) -> Schedule:
        intended_s = intended_starts_s(profile)
        return Schedule(intended_s, tuple(schedule_sha256(intended_s, part, parts) for part in range(parts)))

    @property
    def parts(self) -> int:
        return len(self.digests)


class LoadConversation:
    """One run: workers come, get their parts, begin together, and hand over what they did."""

    def __init__(
        self, link: MasterLink, inbox: Inbox, *, secret: bytes, plan: LoadPlan, schedule: Schedule, tell: Told
    ) -> None:
        self._link = link
        self._inbox = inbox
        self._secret = secret
        self._plan = plan
        self._schedule = schedule
        self._tell = tell
        self._known: dict[str, CrewMember] = {}
        self._crew: list[CrewMember] = []
        self._turned_away: list[str] = []
        self._asked_s: dict[int, float] = {}
        self._ping_numbers = count()
        self._latencies = DealtLatencies(schedule.intended_s, warmup_s=plan.profile.warmup_s, parts=schedule.parts)
        self._look_due = False
        self._stopped = False
        self._told_s = self._begin_s = monotonic()

    def carry_out(self, here: HostPort, max_wait_s: float) -> LoadRun:
        """Raises TransientFailure if too few workers come or none is left, TargetRefused or UsageError for theirs."""
        reason = "it was stopped"
        try:
            self._muster(here, max_wait_s)
            self._prepare()
            if not any(member.lost for member in self._crew):
                self._begin()
                self._gather()
            run = beside(self._result)
            reason = ""
        except TunerError as error:
            reason = error.message
            raise
        finally:
            for member in self._known.values():
                self._say(member, "refused" if reason else "over", error="TransientFailure", message=reason, hint="")
        return run

    def _muster(self, here: HostPort, max_wait_s: float) -> None:
        """Wait until exactly as many workers as there are parts have come and proven that they are here now."""
        self._pump(monotonic() + max_wait_s, lambda: len(self._joined()) == self._schedule.parts)
        self._crew = self._joined()
        if len(self._crew) < self._schedule.parts:
            came = f"{len(self._crew)} of {self._schedule.parts} load workers came to {here} within {max_wait_s:g} s"
            raise TransientFailure("; ".join([came, *dict.fromkeys(self._turned_away)]))
        self._tell(event="mustered", workers=[member.name for member in self._crew])

    def _joined(self) -> list[CrewMember]:
        return [member for member in self._known.values() if member.joined]

    def _prepare(self) -> None:
        """Hand out the parts, wait until everybody has made its requests, and learn how the clocks stand."""
        until_s = monotonic() + START_UP_S
        for part, member in enumerate(self._crew):
            plan = replace(self._plan, part=part, parts=self._schedule.parts, cpus=())
            message = shipped(plan, self._schedule.digests[part])
            self._say(member, message.kind, message.data, **message.fields)
        self._pump(until_s, lambda: all(member.ready or member.lost for member in self._crew))
        self._give_up_on(lambda member: not member.ready, "it was not ready in time")
        self._ask_for_time(PINGS_BEFORE)

    def _ask_for_time(self, times: int) -> None:
        """So many round trips to every worker that is left, one after the other: nothing else delays them."""
        for _ in range(times):
            for member in self._crew:
                if not member.lost:
                    self._ask_one(member)

    def _ask_one(self, member: CrewMember) -> None:
        number, before = next(self._ping_numbers), len(member.trips)
        self._asked_s[number] = monotonic()
        self._say(member, "ping", number=number)
        if not self._pump(monotonic() + PONG_WITHIN_S, lambda: len(member.trips) > before or bool(member.lost)):
            member.lost = member.lost or "it did not answer in time"

    def _begin(self) -> None:
        """Every worker is told the moment by its own clock, so that it does not matter how long the message takes."""
        for member in self._crew:
            member.before = member.clock()
        slowest_s = max(member.before.error_s for member in self._crew if member.before) * 2.0
        self._begin_s = monotonic() + LEAD_S + LEAD_ROUND_TRIPS * slowest_s
        for member in self._crew:
            if member.before:
                self._say(member, "begin", at_s=self._begin_s + member.before.offset_s)
        self._tell(event="started", notes="")

    def _gather(self) -> None:
        self._pump(self._begin_s + longest_s(self._plan.profile), lambda: all(member.settled for member in self._crew))
        self._give_up_on(lambda member: not member.whole, "its result did not come in time")
        self._ask_for_time(PINGS_AFTER)
        self._tell_progress()

    def _give_up_on(self, missing: Callable[[CrewMember], bool], reason: str) -> None:
        for member in self._crew:
            if not member.lost and missing(member):
                member.lost = reason

    def _result(self) -> LoadRun:
        if all(member.lost for member in self._crew):
            reasons = dict.fromkeys(f"{member.name}: {member.lost}" for member in self._crew)
            raise TransientFailure("\n".join(["every load worker was lost", *reasons]))
        intended_s, timeout_s = self._schedule.intended_s, self._plan.profile.timeout_s
        parts = [
            member.part(share_of(intended_s, number, len(self._crew)), timeout_s=timeout_s)
            for number, member in enumerate(self._crew)
        ]
        skew_s = start_skew_s([member.begin_error_s() for member in self._crew if not member.lost])
        return together(self._plan.profile, intended_s, parts, start_skew_s=skew_s)

    def _pump(self, until_s: float, done: Callable[[], bool]) -> bool:
        """Hear what comes until it is done; False if it is not by then."""
        while not done():
            if monotonic() >= until_s:
                return False
            item = self._inbox.get(until_s=min(until_s, monotonic() + TICK_S))
            if isinstance(item, Heard):
                self._hear(item)
            self._note_losses()
            self._stop_where_it_is_settled()
        return True

    def _note_losses(self) -> None:
        for address, member in list(self._known.items()):
            if not self._link.misses(address):
                continue
            if not self._crew:
                del self._known[address]
            elif not member.settled:
                member.lost = SILENT

    def _stop_where_it_is_settled(self) -> None:
        """A measurement that is spoiled, or an objective that is certainly broken, needs no more load."""
        if self._stopped:
            return
        pointless = any(member.lost for member in self._crew)
        if self._look_due and not pointless:
            self._look_due = False
            pointless = beside(lambda: fails_already(self._latencies.values, self._plan.profile.decisive_slos))
        if pointless:
            self._stopped = True
            for member in self._crew:
                if member.before is not None and not member.settled:
                    self._say(member, "stop")

    def _say(self, member: CrewMember, kind: str, data: bytes = b"", **fields: object) -> None:
        wire = seal(self._secret, Message(kind, fields, data), sender="master", run=member.number)
        self._link.send(member.address, wire)

    def _hear(self, heard: Heard) -> None:
        member = self._known.get(heard.sender)
        try:
            message = unseal(self._secret, heard.wire, sender="worker", run=member.run if member else "")
        except ForgedMessage as forged:
            self._turned_away.append(f"one was turned away: {forged}")
            if member is None:  # it cannot read this, and will know why
                stranger = CrewMember(address=heard.sender, name="", number="")
                self._say(stranger, "refused")
            return
        if member is None:
            self._welcome(heard.sender, message.fields)
        else:
            self._note(member, message, heard.at_s)

    def _welcome(self, address: str, said: Any) -> None:
        member = CrewMember(address=address, name=said["name"], number=said["number"])
        try:
            refuse_stranger(said)
        except UsageError as error:
            self._turned_away.append(error.message)
            self._say(member, "refused", error="UsageError", message=error.message, hint=error.hint)
            return
        if self._crew or len(self._known) >= self._schedule.parts:
            self._say(member, "refused", error="TransientFailure", message="the run has all its workers", hint="")
            return
        self._known[address] = member
        self._say(member, "welcome", run=member.run)

    def _note(self, member: CrewMember, message: Message, at_s: float) -> None:
        fields = message.fields
        match message.kind:
            case "joined" if not member.joined:
                member.joined = True
                self._tell(
                    event="joined", worker=member.name, joined=len(self._joined()), expected=self._schedule.parts
                )
            case "pong" if (asked_s := self._asked_s.pop(fields["number"], None)) is not None:
                member.trips.append(RoundTrip(asked_s=asked_s, answered_s=at_s, theirs_s=fields["at_s"]))
            case "progress":
                member.sent, member.errors, member.p99_ms = fields["sent"], fields["errors"], fields["p99_ms"]
                if monotonic() - self._told_s >= TICK_S:
                    self._tell_progress()
            case "latencies":
                values = array("d", b64decode(fields["values"]))
                self._look_due = self._latencies.add(self._crew.index(member), values) or self._look_due
            case "refused" if fields["error"] in REFUSALS:
                raise REFUSALS[fields["error"]](f"load worker {member.name}: {fields['message']}", fields["hint"])
            case _:
                member.note(message)

    def _tell_progress(self) -> None:
        self._told_s = monotonic()
        self._tell(
            event="progress",
            sent=sum(member.sent for member in self._crew),
            errors=sum(member.errors for member in self._crew),
            p99_ms=max(member.p99_ms for member in self._crew),
        )
