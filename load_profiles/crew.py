"""The workers of one run as their master sees them."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from load_profiles.clock_offsets import Offset, RoundTrip, begin_error_s, offset_of
from load_profiles.packed_samples import unpack
from load_profiles.parts import Part, lost, never_sent
from load_profiles.pieces import Gathering, Parcel
from load_profiles.sealed_messages import Message
from tuner import __version__
from tuner.domain.errors import TransientFailure, UsageError
from tuner.domain.load import GeneratorHealth

PROTOCOL = 1
NONCE_BYTES = 16


def fresh_number() -> str:
    """What makes the messages of a run unlike those of any other."""
    return secrets.token_hex(NONCE_BYTES)


def introduction(*, name: str, number: str) -> dict[str, object]:
    """What a worker says first. These keys stay, whatever else the protocol becomes."""
    return {
        "name": name,
        "number": number,
        "protocol": PROTOCOL,
        "version": __version__,
        "byte_order": sys.byteorder,
    }


def refuse_stranger(said: Mapping[str, object]) -> None:
    """Raises UsageError for a worker that is not of our make: it might compute another schedule, or other samples."""
    ours = introduction(name="", number="")
    for what in ("version", "protocol", "byte_order"):
        if said[what] != ours[what]:
            raise UsageError(
                f"load worker {said['name']} has {what.replace('_', ' ')} {said[what]}, the master {ours[what]}",
                hint="install the same servetune on all machines",
            )


@dataclass(slots=True, kw_only=True)
class CrewMember:
    """One worker. `address` is where locust finds it, `number` the one it drew, `run` the one we drew for it."""

    address: str
    name: str
    number: str
    run: str = field(default_factory=fresh_number)
    joined: bool = False
    ready: bool = False
    sent: int = 0
    errors: int = 0
    p99_ms: float = 0.0
    late_s: float = 0.0
    gathering: Gathering | None = None
    lost: str = ""
    trips: list[RoundTrip] = field(default_factory=list)
    before: Offset | None = None

    @property
    def whole(self) -> bool:
        """Whether all of its result is here."""
        return self.gathering is not None and self.gathering.complete

    @property
    def settled(self) -> bool:
        """Whether nothing more is to be waited for."""
        return bool(self.lost) or self.whole

    def note(self, message: Message) -> None:
        """What it says of itself. Raises TransientFailure for a piece of no result."""
        fields = message.fields
        match message.kind:
            case "ready":
                self.ready = True
            case "parcel":
                self.late_s = fields["late_s"]
                self.gathering = Gathering(Parcel(**fields["parcel"]))
            case "piece" if self.gathering is not None:
                self.gathering.add(fields["number"], message.data)
            case "failed":
                self.lost = self.lost or fields["reason"]
            case _:
                pass

    def clock(self) -> Offset:
        """Its clock, from the round trips since the last call."""
        trips, self.trips = self.trips, []
        return offset_of(trips)

    def begin_error_s(self) -> float:
        """See `clock_offsets.begin_error_s`; nothing for one that never was told to begin."""
        if self.before is None:
            return 0.0
        return begin_error_s(self.before, self.clock() if self.trips else None, late_s=self.late_s)

    def part(self, share_s: tuple[float, ...], *, timeout_s: float) -> Part:
        """What it did, if that is known whole; nothing, if it never was told to begin."""
        reason = self.lost
        if not reason and self.gathering is None:
            idle = GeneratorHealth(cpu_ratio=0.0, cpu_ms_per_request=0.0, workers_lost=0)
            return never_sent(share_s, timeout_s=timeout_s), idle
        if not reason and self.gathering is not None:
            try:
                return unpack(self.gathering.content(), share_s)
            except TransientFailure as failure:
                reason = str(failure)
        return lost(share_s, timeout_s=timeout_s, reason=f"load worker {self.name} was lost: {reason}")
