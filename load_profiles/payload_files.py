"""Request bodies from files: each a whole body, or the bytes of a model's one input."""

from __future__ import annotations

import mimetypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tuner.domain.errors import UsageError
from tuner.domain.load import Payload


@dataclass(frozen=True, slots=True, kw_only=True)
class FileBody:
    """What a file holds, and what kind of thing that is by its name."""

    content: bytes
    content_type: str

    @property
    def is_json(self) -> bool:
        return self.content_type == "application/json"


def file_bodies(payload: Payload) -> list[FileBody]:
    """In the order of `payload.files`. Raises UsageError for what cannot be read."""
    return [_read(Path(name)) for name, _weight in payload.files]


def weights(payload: Payload, messages: Sequence[bytes]) -> list[float]:
    """How often each message is sent, relative to the others."""
    return [weight for _name, weight in payload.files] or [1.0] * len(messages)


def _read(path: Path) -> FileBody:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read the payload {path}: {error.strerror}") from error
    return FileBody(content=content, content_type=mimetypes.guess_type(path.name)[0] or "application/octet-stream")
