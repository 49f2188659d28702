"""The lock file on disk: canonical JSON, known by its own digest, read strictly and written whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from tuner.domain.errors import LockUnusable, UsageError
from tuner.gate.lock import SCHEMA_VERSION, Lock, refuse_unusable

DEFAULT_LOCK = Path("serving-baseline.lock.json")
DIALECT = "https://json-schema.org/draft/2020-12/schema"
MOST_BYTES = 1_000_000
HEAD = ("schema_version", "content_digest")
WRITE_ANEW = "write it anew: servetune baseline update"

Document = dict[str, Any]
# One function for each step: from the format that is its key to the next one.
MIGRATIONS: Mapping[int, Callable[[Document], Document]] = {}


@cache
def _adapter() -> TypeAdapter[Lock]:
    return TypeAdapter(Lock)


def lock_text(lock: Lock) -> str:
    """Canonical JSON: keys sorted, one value a line, no NaN; the digest is over everything else."""
    return _text(_sealed(_adapter().dump_python(lock, mode="json"), SCHEMA_VERSION))


def _sealed(content: Document, version: int) -> Document:
    return {"schema_version": version, "content_digest": _digest(content, version), **content}


def _digest(content: Document, version: int) -> str:
    text = json.dumps([version, content], sort_keys=True, separators=(",", ":"), allow_nan=False)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _text(document: Document) -> str:
    return json.dumps(document, sort_keys=True, indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def read_lock(path: Path, *, today: date) -> Lock:
    """The lock file, migrated to today's format. Raises LockUnusable for everything that is wrong with it."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise LockUnusable(f"{path} is no lock file: it is larger than {MOST_BYTES:,} bytes", hint=WRITE_ANEW)
        content = path.read_bytes()
    except OSError as error:
        raise LockUnusable(f"cannot read the lock file {path}: {error.strerror}", hint=WRITE_ANEW) from error
    lock = lock_from(content, str(path))
    refuse_unusable(lock, today)
    return lock


def lock_from(content: bytes, name: str) -> Lock:
    """A lock file's content, checked against its digest. Raises LockUnusable."""
    document = _parsed(content, name)
    version = document.pop("schema_version", None)
    digest = document.pop("content_digest", None)
    if type(version) is not int or version < 1:
        raise LockUnusable(f"{name} is no lock file: it has no schema_version", hint=WRITE_ANEW)
    if version > SCHEMA_VERSION:
        raise LockUnusable(
            f"{name} has format {version}, this servetune knows {SCHEMA_VERSION}",
            hint="use the newer servetune that wrote it",
        )
    if digest != _digest(document, version):
        raise LockUnusable(
            f"{name} was changed by hand or by a merge: its content does not have the digest it states",
            hint="restore it from version control, or write it anew: servetune baseline update",
        )
    return _validated(migrated(document, version, MIGRATIONS, SCHEMA_VERSION), name)


def migrated(
    document: Document, version: int, migrations: Mapping[int, Callable[[Document], Document]], newest: int
) -> Document:
    """The document in the newest format, one step after the other."""
    for step in range(version, newest):
        document = migrations[step](document)
    return document


def _parsed(content: bytes, name: str) -> Document:
    try:
        document = json.loads(content.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise LockUnusable(f"{name} is damaged: {error}", hint=WRITE_ANEW) from error
    if not isinstance(document, dict):
        raise LockUnusable(f"{name} is no lock file: it holds no object", hint=WRITE_ANEW)
    return document


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no number")


def _unique(pairs: list[tuple[str, Any]]) -> Document:
    keys = [key for key, _ in pairs]
    if len(set(keys)) != len(keys):
        raise ValueError("a key occurs twice")
    return dict(pairs)


def _validated(document: Document, name: str) -> Lock:
    try:
        lock = _adapter().validate_json(json.dumps(document))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise LockUnusable(f"{name} is damaged: {where}: {first['msg']}", hint=WRITE_ANEW) from error
    # Nothing unknown, and nothing that was read as something else than it says.
    if _adapter().dump_python(lock, mode="json") != document:
        raise LockUnusable(f"{name} is damaged: it holds what no servetune writes", hint=WRITE_ANEW)
    return lock


def write_lock(path: Path, lock: Lock) -> None:
    """Whole or not at all. Raises UsageError."""
    partial = path.with_name(path.name + ".part")
    try:
        partial.write_text(lock_text(lock), encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UsageError(
            f"cannot write {path}: {error.strerror}", hint="name a file in a folder of your own"
        ) from error


def lock_schema() -> str:
    """JSON Schema (draft 2020-12) of lock files."""
    schema = _closed(_adapter().json_schema(mode="serialization"))
    schema["properties"] = {
        "schema_version": {"const": SCHEMA_VERSION},
        "content_digest": {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"},
        **schema["properties"],
    }
    schema["required"] = [*HEAD, *schema["required"]]
    return json.dumps({"$schema": DIALECT, **schema}, indent=2, ensure_ascii=False) + "\n"


def _closed(node: Any) -> Any:
    """Without pydantic's titles, and no keys but those that are named."""
    if isinstance(node, list):
        return [_closed(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {key: _closed(value) for key, value in node.items() if key != "title" or not isinstance(value, str)}
    if kept.get("type") == "object" and "properties" in kept:
        kept["additionalProperties"] = False
    return kept
