"""Messages between load master and workers that only who knows the shared secret can write.

Locust's own messages travel unauthenticated; ours carry an HMAC-SHA256 (RFC 2104) over everything they say. They
also name the run they belong to by numbers both sides drew, so that a recorded message is of no use in another run.
They are not encrypted.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from tuner.domain.errors import UsageError

SECRET_VARIABLE = "SERVETUNE_LOAD_SECRET"  # noqa: S105 - the name of the variable, not the secret
SHORTEST_SECRET = 16
LENGTH_BYTES = 8


class ForgedMessage(Exception):
    """A message that was not written by who knows our secret, or is none of ours."""


@dataclass(frozen=True, slots=True)
class Message:
    """What is said: `kind`, fields that JSON can hold, and bytes beside them."""

    kind: str
    fields: Mapping[str, Any]
    data: bytes = b""


def shared_secret(environment: Mapping[str, str], *, needed: bool) -> bytes:
    """From the environment; empty if there is none. Raises UsageError where it is needed, or too short to be one."""
    secret = environment.get(SECRET_VARIABLE, "").encode()
    if needed and not secret:
        raise UsageError(
            f"load workers on other machines need a shared secret, and {SECRET_VARIABLE} is not set",
            hint="set it to the same long random text for the master and all workers",
        )
    if secret and len(secret) < SHORTEST_SECRET:
        raise UsageError(f"{SECRET_VARIABLE} is too short", hint=f"at least {SHORTEST_SECRET} characters")
    return secret


def seal(secret: bytes, message: Message, *, sender: str, run: str) -> dict[str, bytes]:
    """What goes over the wire. `sender` is master or worker: neither can be sent its own words back."""
    head = json.dumps({"kind": message.kind, "sender": sender, "run": run, "fields": dict(message.fields)}).encode()
    return {"head": head, "data": message.data, "mac": _mac(secret, head, message.data)}


def unseal(secret: bytes, wire: object, *, sender: str, run: str) -> Message:
    """The inverse of `seal`. Raises ForgedMessage for anything else, or of another run."""
    match wire:
        case {"head": bytes(head), "data": bytes(data), "mac": bytes(mac)}:
            pass
        case _:
            raise ForgedMessage("no sealed message")
    if not hmac.compare_digest(mac, _mac(secret, head, data)):
        raise ForgedMessage("sealed with another secret")
    said = cast(dict[str, Any], json.loads(head))  # ours: the seal says so
    if said["sender"] != sender or said["run"] != run:
        raise ForgedMessage("of another run")
    return Message(said["kind"], said["fields"], data)


def _mac(secret: bytes, head: bytes, data: bytes) -> bytes:
    return hmac.digest(secret, len(head).to_bytes(LENGTH_BYTES, "big") + head + data, "sha256")
