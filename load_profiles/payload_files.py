"""Request bodies from files: each a whole body, or the bytes of a model's one input."""

from __future__ import annotations

import errno
import mimetypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from load_profiles.payload_shapes import MOST_BODIES_BYTES, file_tensor
from tuner.domain.deployment import Protocol, TensorSpec
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
    return FileBody(content=content, content_type=_content_type(path))


def _content_type(path: Path) -> str:
    return mimetypes.guess_type(path.name)[0] or "application/octet-stream"


def refuse_unfit_files(payload: Payload, protocol: Protocol, inputs: Sequence[TensorSpec], *, batched: bool) -> None:
    """Look at what the files are, not into them. Raises UsageError for one that cannot be sent, or read."""
    total_bytes = 0
    for name, _weight in payload.files:
        path = Path(name)
        try:
            size_bytes = path.stat().st_size
        except OSError as error:
            raise UsageError(f"cannot read the payload {path}: {error.strerror}") from error
        if not os.access(path, os.R_OK):
            raise UsageError(f"cannot read the payload {path}: {os.strerror(errno.EACCES)}")
        total_bytes += size_bytes
        if protocol in ("kserve_http", "kserve_grpc") and _content_type(path) != "application/json":
            _refuse_unfit(path, size_bytes, payload, inputs, batched=batched)
        elif protocol == "kserve_grpc":
            raise UsageError(f"{path}: a JSON body cannot be sent over gRPC", hint="write a file of raw numbers")
    if total_bytes > MOST_BODIES_BYTES:
        raise UsageError(f"files of {total_bytes:,} bytes", hint=f"at most {MOST_BODIES_BYTES:,} bytes in all")


def _refuse_unfit(
    path: Path, size_bytes: int, payload: Payload, inputs: Sequence[TensorSpec], *, batched: bool
) -> None:
    try:
        file_tensor(inputs, payload, size_bytes, batched=batched)
    except UsageError as error:
        raise UsageError(f"{path}: {error.message}", hint=error.hint) from error
