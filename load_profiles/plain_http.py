"""Plain HTTP: a file's bytes are POSTed to the URL as it stands, and every 2xx counts as good."""

from __future__ import annotations

from load_profiles.http_answer import Answer
from load_profiles.http_request import post
from load_profiles.payload_files import file_bodies
from tuner.domain.load import Payload

SHOWN_BYTES = 200


def messages(payload: Payload, *, host: str, path: str) -> list[bytes]:
    """One request per file."""
    return [
        post(path or "/", host=host, body=body.content, content_type=body.content_type) for body in file_bodies(payload)
    ]


def refusal(answer: Answer) -> str:
    """The reason why a complete answer does not count; empty if it does."""
    if 200 <= answer.status < 300:
        return ""
    return f"HTTP {answer.status}: {answer.head[:SHOWN_BYTES].decode('utf-8', errors='replace')}"
