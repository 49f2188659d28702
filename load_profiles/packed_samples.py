"""What a child hands back, as bytes: a line of JSON, then sent, done (float64) and ok (bytes) of every request.

The line holds the digest of what follows, so that a damaged copy is noticed wherever it was carried.
"""

from __future__ import annotations

import hashlib
import json
import sys
from array import array
from dataclasses import asdict

from load_profiles.parts import ended_after
from load_profiles.recording import Recording
from tuner.domain.arrivals import intended_starts_s
from tuner.domain.errors import TransientFailure
from tuner.domain.load import GeneratorHealth, LoadProfile, LoadRun, Samples

TIMES_BYTES = 16
REQUEST_BYTES = TIMES_BYTES + 1


def pack(recording: Recording, health: GeneratorHealth, requests: int | None = None) -> bytes:
    """The first `requests` (default: all). For a reader on the same machine: numbers are in its byte order."""
    count = len(recording) if requests is None else requests
    return _packed(recording.sent_s[:count], recording.done_s[:count], bytes(recording.ok[:count]), health)


def pack_samples(samples: Samples, health: GeneratorHealth) -> bytes:
    """The same of samples that were put together."""
    return _packed(array("d", samples.sent_s), array("d", samples.done_s), bytes(samples.ok), health)


def _packed(sent_s: array[float], done_s: array[float], ok: bytes, health: GeneratorHealth) -> bytes:
    body = b"".join((sent_s.tobytes(), done_s.tobytes(), ok))
    head = {
        "requests": len(ok),
        "byte_order": sys.byteorder,
        "sha256": hashlib.sha256(body).hexdigest(),
        "health": asdict(health),
    }
    return b"\n".join((json.dumps(head).encode(), body))


def unpack(packed: bytes, intended_s: tuple[float, ...]) -> tuple[Samples, GeneratorHealth]:
    """The inverse of `pack`; of a run that ended early, the requests up to there.

    Raises TransientFailure if it is damaged, cut short or of another schedule.
    """
    line, _, rest = packed.partition(b"\n")
    try:
        head = json.loads(line)
        health = GeneratorHealth(**head["health"])
        count, byte_order, digest = int(head["requests"]), head["byte_order"], head["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise TransientFailure(f"the load generator left no readable result: {error}") from error
    if count > len(intended_s) or byte_order != sys.byteorder or len(rest) != REQUEST_BYTES * count:
        raise TransientFailure(
            f"the load generator's result is not that of the {len(intended_s)} requests it was given"
        )
    if hashlib.sha256(rest).hexdigest() != digest:
        raise TransientFailure("the load generator's result was damaged on its way")
    times_s = array("d", rest[: TIMES_BYTES * count])
    samples = Samples(
        intended_s=intended_s[:count],
        sent_s=tuple(times_s[:count]),
        done_s=tuple(times_s[count:]),
        ok=tuple(flag != 0 for flag in rest[TIMES_BYTES * count :]),
    )
    return samples, health


def unpack_run(packed: bytes, profile: LoadProfile) -> LoadRun:
    """The run of a profile whose result this is, wherever it was carried out. Raises TransientFailure as `unpack`."""
    intended_s = intended_starts_s(profile)
    samples, health = unpack(packed, intended_s)
    return LoadRun(profile=ended_after(profile, intended_s, len(samples)), samples=samples, generator=health)
