"""What a child hands back, as bytes: a line of JSON, then sent, done (float64) and ok (bytes) of every request."""

from __future__ import annotations

import json
import sys
from array import array
from dataclasses import asdict

from load_profiles.recording import Recording
from tuner.domain.errors import TransientFailure
from tuner.domain.load import GeneratorHealth, Samples

TIMES_BYTES = 16
REQUEST_BYTES = TIMES_BYTES + 1


def pack(recording: Recording, health: GeneratorHealth) -> bytes:
    """For a reader on the same machine: numbers are in its byte order."""
    head = {"requests": len(recording), "byte_order": sys.byteorder, "health": asdict(health)}
    parts = (recording.sent_s.tobytes(), recording.done_s.tobytes(), bytes(recording.ok))
    return b"".join((json.dumps(head).encode(), b"\n", *parts))


def unpack(packed: bytes, intended_s: tuple[float, ...]) -> tuple[Samples, GeneratorHealth]:
    """The inverse of `pack`. Raises TransientFailure if it is damaged, cut short or of another schedule."""
    line, _, rest = packed.partition(b"\n")
    try:
        head = json.loads(line)
        health = GeneratorHealth(**head["health"])
        described = head["requests"], head["byte_order"]
    except (ValueError, KeyError, TypeError) as error:
        raise TransientFailure(f"the load generator left no readable result: {error}") from error
    count = len(intended_s)
    if described != (count, sys.byteorder) or len(rest) != REQUEST_BYTES * count:
        raise TransientFailure(f"the load generator's result is not that of the {count} requests it was given")
    times_s = array("d", rest[: TIMES_BYTES * count])
    samples = Samples(
        intended_s=intended_s,
        sent_s=tuple(times_s[:count]),
        done_s=tuple(times_s[count:]),
        ok=tuple(flag != 0 for flag in rest[TIMES_BYTES * count :]),
    )
    return samples, health
