"""The KServe v2 protocol over HTTP with binary tensors: what is sent, and which answers count. Door to tritonclient."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from tritonclient.http import InferenceServerClient, InferInput

from load_profiles.http_answer import Answer
from load_profiles.http_request import post
from load_profiles.payload_shapes import ITEM_BYTES
from load_profiles.payloads import Tensor
from tuner.domain.deployment import TensorSpec

KNOWN_HEADS = 1024
SHOWN_BYTES = 200


def serialise(
    *, model_name: str, host: str, specs: Sequence[TensorSpec], tensors: Sequence[Tensor], path: str = ""
) -> bytes:
    """One whole HTTP request: the head, and the body that tritonclient builds. `specs` as in `sent_tensors`."""
    inputs = []
    for spec, tensor in zip(specs, tensors, strict=True):
        entry = InferInput(spec.name, list(tensor.shape), spec.datatype)
        entry.set_data_from_numpy(tensor, binary_data=True)
        inputs.append(entry)
    body, json_bytes = InferenceServerClient.generate_request_body(inputs)
    return post(
        _infer_path(path, model_name),
        host=host,
        body=bytes(body),
        content_type="application/octet-stream",
        fields={"Inference-Header-Content-Length": json_bytes},
    )


def as_json(*, model_name: str, host: str, body: bytes, path: str = "") -> bytes:
    """One whole HTTP request around a body that is already the protocol's JSON."""
    return post(_infer_path(path, model_name), host=host, body=body, content_type="application/json")


def _infer_path(path: str, model_name: str) -> str:
    return f"{path}/v2/models/{quote(model_name, safe='')}/infer"


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
    if not isinstance(outputs, list) or not outputs or not all(map(_is_output, outputs)) or "error" in result:
        return f"no inference result: {_shown(head)}"
    if answer.json_bytes is not None and answer.json_bytes + _binary_bytes(outputs) != answer.body_bytes:
        return f"the answer's tensors are not as long as it says: {_shown(head)}"
    return next(filter(None, map(_misstated, outputs)), "")


def _is_output(output: Any) -> bool:
    return isinstance(output, dict) and isinstance(_size_bytes(output), int | None)


def _size_bytes(output: dict[str, Any]) -> Any:
    """What an output says of its size in the binary part; None where it is not there."""
    parameters = output.get("parameters")
    return parameters.get("binary_data_size") if isinstance(parameters, dict) else None


def _binary_bytes(outputs: list[Any]) -> int:
    return sum(_size_bytes(output) or 0 for output in outputs)


def _misstated(output: dict[str, Any]) -> str:
    """Where an output has not as many values as its shape says; empty where it has, or states no whole shape."""
    shape, datatype, values = output.get("shape"), output.get("datatype"), output.get("data")
    if not isinstance(shape, list) or not all(isinstance(size, int) and size >= 0 for size in shape):
        return ""
    size_bytes, item_bytes = _size_bytes(output), ITEM_BYTES.get(str(datatype))
    if size_bytes is not None and item_bytes and math.prod(shape) * item_bytes != size_bytes:
        found = f"{size_bytes} bytes"
    elif isinstance(values, list) and _count(values) != math.prod(shape):
        found = f"{_count(values)} values"
    else:
        return ""
    return f"output {output.get('name')} {datatype} {shape} is not as long as it says: {found}"


def _count(values: Any) -> int:
    """Values of a tensor in JSON, which may be nested row by row or flat."""
    if not isinstance(values, list):
        return 1
    return sum(map(_count, values)) if values and isinstance(values[0], list) else len(values)


def _shown(head: bytes) -> str:
    return head[:SHOWN_BYTES].decode("utf-8", errors="replace")
