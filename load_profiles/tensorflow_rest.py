"""TensorFlow Serving's REST `:predict`: JSON bodies from files, answers that hold predictions or outputs."""

from __future__ import annotations

import json
from urllib.parse import quote

from load_profiles import plain_http
from load_profiles.http_answer import Answer
from load_profiles.http_request import post
from load_profiles.payload_files import file_bodies
from tuner.domain.load import Payload

RESULTS = (b'"predictions"', b'"outputs"')


def messages(payload: Payload, *, model_name: str, host: str, path: str) -> list[bytes]:
    """One request per file."""
    url = f"{path}/v1/models/{quote(model_name, safe='')}:predict"
    return [post(url, host=host, body=body.content, content_type="application/json") for body in file_bodies(payload)]


def refusal(answer: Answer) -> str:
    """The reason why a complete answer is no prediction; empty if it is one. A long answer's end is not looked at."""
    refused = plain_http.refusal(answer)
    if refused:
        return refused
    if not any(name in answer.head for name in RESULTS):
        return f"no prediction: {answer.head[:200].decode('utf-8', errors='replace')}"
    if len(answer.head) == answer.body_bytes:
        try:
            json.loads(answer.head)
        except ValueError:
            return f"no prediction: {answer.head[:200].decode('utf-8', errors='replace')}"
    return ""
