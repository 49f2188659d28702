"""A plan on its way to another machine: with the contents of its payload files, and a digest of its schedule."""

from __future__ import annotations

import hashlib
import re
from array import array
from dataclasses import replace
from pathlib import Path

from load_profiles.parts import share_of
from load_profiles.payload_files import file_bodies
from load_profiles.plan import LoadPlan
from load_profiles.sealed_messages import Message
from tuner.domain.errors import UsageError

PLAN = "plan"
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,16}")


def shipped(plan: LoadPlan, schedule_sha256: str) -> Message:
    """Raises UsageError if a payload file cannot be read."""
    contents = [body.content for body in file_bodies(plan.profile.payload)]
    fields = {"plan": plan.to_json(), "schedule_sha256": schedule_sha256, "sizes_bytes": [*map(len, contents)]}
    return Message(PLAN, fields, b"".join(contents))


def received(message: Message, folder: Path, *, result_descriptor: int) -> LoadPlan:
    """The plan as it can be carried out here, by any core; its payload files are written into the folder.

    No file is ever read by the name the sender gave it. Raises UsageError if the contents do not fit the names.
    """
    plan = LoadPlan.from_json(message.fields["plan"])
    payload, sizes = plan.profile.payload, message.fields["sizes_bytes"]
    if len(sizes) != len(payload.files) or sum(sizes) != len(message.data):
        raise UsageError("the load master sent a plan without the contents of its payload files")
    files: list[tuple[str, float]] = []
    begin = 0
    for number, ((name, weight), size) in enumerate(zip(payload.files, sizes, strict=True)):
        suffix = Path(name).suffix
        path = folder / f"payload{number}{suffix if _SUFFIX.fullmatch(suffix) else ''}"
        path.write_bytes(message.data[begin : begin + size])
        files.append((str(path), weight))
        begin += size
    profile = replace(plan.profile, payload=replace(payload, files=tuple(files)))
    return replace(plan, profile=profile, cpus=(), result_descriptor=result_descriptor)


def schedule_sha256(intended_s: tuple[float, ...], part: int, parts: int) -> str:
    """Of the times a part is due at. Two machines whose mathematics differ in the last bit differ here."""
    return hashlib.sha256(array("d", share_of(intended_s, part, parts)).tobytes()).hexdigest()
