"""The KServe v2 protocol over HTTP with binary tensors: what is sent, and which answers count. Door to tritonclient."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from tritonclient.http import InferenceServerClient, InferInput

from load_profiles.http_answer import Answer
from load_profiles.payloads import Tensor
from tuner.domain.deployment import TensorSpec

KNOWN_HEADS = 1024
SHOWN_BYTES = 200


def serialise(*, model_name: str, host: str, specs: Sequence[TensorSpec], tensors: Sequence[Tensor]) -> bytes:
    """One whole HTTP request: the head, and the body that tritonclient builds. `specs` as in `sent_tensors`."""
    inputs = []
    for spec, tensor in zip(specs, tensors, strict=True):
        entry = InferInput(spec.name, list(spec.shape), spec.datatype)
        entry.set_data_from_numpy(tensor, binary_data=True)
        inputs.append(entry)
    body, json_bytes = InferenceServerClient.generate_request_body(inputs)
    head = (
        f"POST /v2/models/{quote(model_name, safe='')}/infer HTTP/1.1\r\n"
        f"Host: {host}\r\n"
        "Content-Type: application/octet-stream\r\n"
        f"Inference-Header-Content-Length: {json_bytes}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode("ascii") + bytes(body)


class AnswerCheck:
    """Tells what is wrong with an answer. Remembers the heads it accepted: a server sends the same ones again."""

    def __init__(self) -> None:
        self._accepted: set[tuple[bytes, int]] = set()

    def __call__(self, answer: Answer) -> str:
        """The reason why a complete answer is no inference result; empty if it is one."""
        if answer.status != 200:
            return f"HTTP {answer.status}: {_shown(answer.head)}"
        head = answer.head[: answer.json_bytes or len(answer.head)]
        if (head, answer.body_bytes) in self._accepted:
            return ""
        refusal = _refusal(head, answer)
        if not refusal and answer.json_bytes is not None:
            if len(self._accepted) >= KNOWN_HEADS:
                self._accepted.clear()
            self._accepted.add((head, answer.body_bytes))
        return refusal


def _refusal(head: bytes, answer: Answer) -> str:
    if answer.json_bytes is None and len(head) < answer.body_bytes:
        # A long all-JSON answer is not kept whole: its end cannot be checked.
        return "" if b'"outputs"' in head else f"no inference result: {_shown(head)}"
    try:
        result = json.loads(head)
    except ValueError:
        return f"no inference result: {_shown(head)}"
    outputs = result.get("outputs") if isinstance(result, dict) else None
    if not isinstance(outputs, list) or not outputs or "error" in result:
        return f"no inference result: {_shown(head)}"
    if answer.json_bytes is not None and answer.json_bytes + _binary_bytes(outputs) != answer.body_bytes:
        return f"the answer's tensors are not as long as it says: {_shown(head)}"
    return ""


def _binary_bytes(outputs: list[Any]) -> int:
    return sum(int(output.get("parameters", {}).get("binary_data_size", 0)) for output in outputs)


def _shown(head: bytes) -> str:
    return head[:SHOWN_BYTES].decode("utf-8", errors="replace")
