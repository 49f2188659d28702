"""The result of a run of load as its master prints it: base64 in lines of JSON, with its size and digest at the end."""

from __future__ import annotations

import binascii
import hashlib
import json
from base64 import b64decode
from collections.abc import Iterator

from tuner.domain.errors import TransientFailure
from tuner.manifests.plain import PlainObject, number_at, text_at

MOST_RESULT_BYTES = 7_000_000
"""What a pod's log carries for sure: kubelet starts another file at 10 MiB, and hands out the newest file only.

Base64 and the runtime's own words make 9.5 MB of it. At 17 bytes a request that is 411,000 requests in one run.
"""
_LAST_LINES = 12


def result_in(log: str) -> bytes:
    """The whole result. Raises TransientFailure where anything of it is missing, doubled or damaged."""
    pieces: list[bytes] = []
    for said in _told(log):
        match text_at(said, "event"):
            case "result":
                if number_at(said, "number") != len(pieces):
                    raise TransientFailure(f"the load's result lacks its part {len(pieces)}")
                pieces.append(_decoded(text_at(said, "base64")))
            case "finished":
                return _checked(b"".join(pieces), said)
            case _:
                pass
    raise TransientFailure(f"the load's result breaks off after {len(pieces)} parts")


def _decoded(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except binascii.Error as error:
        raise TransientFailure(f"the load's result was damaged on its way: {error}") from error


def _checked(packed: bytes, said: PlainObject) -> bytes:
    if len(packed) != number_at(said, "size_bytes"):
        raise TransientFailure(f"the load's result has {len(packed)} bytes of {number_at(said, 'size_bytes')}")
    if hashlib.sha256(packed).hexdigest() != text_at(said, "sha256"):
        raise TransientFailure("the load's result was damaged on its way")
    return packed


def last_words(log: str) -> str:
    """Why a load pod ended, in its own words: the master's reason, else its last lines."""
    for said in _told(log):
        if text_at(said, "event") == "failed":
            return " ".join(part for part in (text_at(said, "message"), text_at(said, "hint")) if part)
    return "\n".join(line for line in log.strip().splitlines()[-_LAST_LINES:] if not line.startswith("{"))


def _told(log: str) -> Iterator[PlainObject]:
    """Lines of JSON; libraries may print others between them."""
    for line in log.splitlines():
        if not line.startswith("{"):
            continue
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if isinstance(said, dict):
            yield said
