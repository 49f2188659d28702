"""The file a child leaves behind: one line of JSON, then sent, done (float64) and ok (bytes) of every request."""

from __future__ import annotations

import json
import sys
from array import array
from dataclasses import asdict
from pathlib import Path

from load_profiles.recording import Recording
from tuner.domain.errors import TransientFailure
from tuner.domain.load import GeneratorHealth, Samples


def write_result(path: Path, recording: Recording, health: GeneratorHealth) -> None:
    """All or nothing."""
    head = {"requests": len(recording), "byte_order": sys.byteorder, "health": asdict(health)}
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        file.write(json.dumps(head).encode() + b"\n")
        file.writelines((recording.sent_s.tobytes(), recording.done_s.tobytes(), bytes(recording.ok)))
    part.replace(path)


def read_result(path: Path, intended_s: tuple[float, ...]) -> tuple[Samples, GeneratorHealth]:
    """What `write_result` wrote. Raises TransientFailure if the file is missing, damaged or of another schedule."""
    try:
        line, _, rest = path.read_bytes().partition(b"\n")
        head = json.loads(line)
        health = GeneratorHealth(**head["health"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TransientFailure(f"the load generator left no readable result: {error}") from error
    count = len(intended_s)
    if head["requests"] != count or head["byte_order"] != sys.byteorder or len(rest) != 17 * count:
        raise TransientFailure(f"the load generator's result is not that of the {count} requests it was given")
    times_s = array("d", rest[: 16 * count])
    samples = Samples(
        intended_s=intended_s,
        sent_s=tuple(times_s[:count]),
        done_s=tuple(times_s[count:]),
        ok=tuple(flag != 0 for flag in rest[16 * count :]),
    )
    return samples, health
