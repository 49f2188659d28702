"""One whole HTTP/1.1 request as bytes, ready before the clock starts."""

from __future__ import annotations

from collections.abc import Mapping


def post(path: str, *, host: str, body: bytes, content_type: str, fields: Mapping[str, object] | None = None) -> bytes:
    """A POST on a keep-alive connection. The caller vouches for `path` and `host`: printable ASCII, no blanks."""
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: {host}",
        f"Content-Type: {content_type}",
        *(f"{name}: {value}" for name, value in (fields or {}).items()),
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*lines, "\r\n"]).encode("ascii") + body
