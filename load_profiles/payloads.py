"""Input tensors for a model: seeded and distinct. The door to numpy of this package; only the child imports it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from load_profiles.payload_shapes import WORD_LETTERS, file_tensor, sent_tensors
from tuner.domain.deployment import TensorSpec
from tuner.domain.load import Payload

Tensor = NDArray[Any]

NUMPY_NAMES = {"FP16": "float16", "FP32": "float32", "FP64": "float64", "BOOL": "bool", "BYTES": "object"}
LOW_FREQUENCIES = 6
NOISE = 0.05
RANDOM_INTEGERS_BELOW = 100


def tensors(inputs: Sequence[TensorSpec], payload: Payload, *, batched: bool, seed: int) -> list[list[Tensor]]:
    """`payload.count` distinct requests, each a list with one tensor per input. Raises UsageError."""
    source = np.random.default_rng(seed)
    sent = sent_tensors(inputs, payload, batched=batched)
    return [[_tensor(tensor, payload, source) for tensor in sent] for _ in range(payload.count)]


def file_tensors(
    inputs: Sequence[TensorSpec], payload: Payload, content: bytes, *, batched: bool
) -> tuple[tuple[TensorSpec, ...], list[Tensor]]:
    """A file's bytes as the model's one input: one BYTES element (an image file, a text), or raw little-endian numbers.

    Raises UsageError as `file_tensor`.
    """
    sent = file_tensor(inputs, payload, len(content), batched=batched)
    values: Tensor
    if sent.datatype == "BYTES":
        values = np.array([content], dtype=object)
    else:
        values = np.frombuffer(content, np.dtype(NUMPY_NAMES.get(sent.datatype, sent.datatype.lower())))
    return (sent,), [values.reshape(sent.shape)]


def _tensor(tensor: TensorSpec, payload: Payload, source: np.random.Generator) -> Tensor:
    match payload.kind:
        case "image":
            return _image(tensor, source)
        case "text":
            return _text(tensor, payload.tokens, source)
        case "random" | "files":
            return _random(tensor, source)
        case _ as unreachable:
            assert_never(unreachable)


def _text(tensor: TensorSpec, tokens: tuple[int, int], source: np.random.Generator) -> Tensor:
    """Texts of random words, as many as `tokens` allows, evenly distributed."""
    fewest, most = tokens

    def one() -> bytes:
        words = source.integers(97, 123, size=(int(source.integers(fewest, most + 1)), WORD_LETTERS), dtype=np.uint8)
        return b" ".join(word.tobytes() for word in words)

    return np.array([one() for _ in range(int(np.prod(tensor.shape)))], dtype=object).reshape(tensor.shape)


def _image(tensor: TensorSpec, source: np.random.Generator) -> Tensor:
    """A smooth picture with a little noise, about [-1, 1] as most vision models are fed; UINT8 fills [0, 255]."""
    *outer, first, second, third = (1, 1, *tensor.shape) if len(tensor.shape) < 3 else tensor.shape
    channels_last = third <= 4 < first
    height, width = (first, second) if channels_last else (second, third)
    channels = third if channels_last else first
    planes = [_picture(height, width, source) for _ in range(channels * int(np.prod(outer)))]
    stack = np.stack(planes).reshape(*outer, channels, height, width)
    picture = (np.moveaxis(stack, -3, -1) if channels_last else stack).reshape(tensor.shape)
    if tensor.datatype == "UINT8":
        return np.ascontiguousarray(np.clip(np.rint((picture + 1.0) * 127.5), 0, 255).astype(np.uint8))
    return np.ascontiguousarray(picture.astype(NUMPY_NAMES[tensor.datatype]))


def _picture(height: int, width: int, source: np.random.Generator) -> Tensor:
    """A sum of a few cosines of random direction, strength falling with frequency, scaled to [-1, 1], plus noise."""
    frequency = np.arange(LOW_FREQUENCIES)
    strength = source.normal(size=(LOW_FREQUENCIES, LOW_FREQUENCIES)) / (1.0 + np.add.outer(frequency, frequency))
    rows = np.cos(np.pi * np.outer((np.arange(height) + 0.5) / height, frequency))
    columns = np.cos(np.pi * np.outer(frequency, (np.arange(width) + 0.5) / width))
    smooth = rows @ strength @ columns
    return smooth / max(float(np.abs(smooth).max()), 1e-9) + source.normal(scale=NOISE, size=(height, width))


def _random(tensor: TensorSpec, source: np.random.Generator) -> Tensor:
    """Standard normal floats, small non-negative integers (safe as token ids), coin flips, random words."""
    shape, datatype = tensor.shape, tensor.datatype
    if datatype.startswith("FP"):
        return source.normal(size=shape).astype(NUMPY_NAMES[datatype])
    if datatype == "BOOL":
        return source.random(size=shape) < 0.5
    if datatype == "BYTES":
        letters = source.integers(97, 123, size=(int(np.prod(shape)), WORD_LETTERS), dtype=np.uint8)
        return np.array([row.tobytes() for row in letters], dtype=object).reshape(shape)
    return source.integers(0, RANDOM_INTEGERS_BELOW, size=shape).astype(datatype.lower())
