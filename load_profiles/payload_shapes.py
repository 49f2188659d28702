"""Which tensors a payload needs for a model: pure, so that what cannot work is refused before anything starts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tuner.domain.deployment import TensorSpec
from tuner.domain.errors import UsageError
from tuner.domain.load import Payload

FLOATS = frozenset({"FP16", "FP32", "FP64"})
INTEGERS = frozenset({f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)})
DATATYPES = FLOATS | INTEGERS | {"BOOL", "BYTES"}
ITEM_BYTES = {"BOOL": 1, "FP16": 2, "BF16": 2, "FP32": 4, "FP64": 8} | {
    f"{sign}INT{8 * size}": size for sign in ("", "U") for size in (1, 2, 4, 8)
}
IMAGE_DATATYPES = FLOATS | {"UINT8"}
OPTION_OR_KEY = "--payload, or load.payload.kind in a study"
IMAGE_RANKS = (2, 3, 4)
ITEM_BYTES = {
    **{f"FP{bits}": bits // 8 for bits in (16, 32, 64)},
    **{f"{sign}INT{bits}": bits // 8 for sign in ("", "U") for bits in (8, 16, 32, 64)},
    "BOOL": 1,
}
WORD_LETTERS = 8
MOST_BODIES_BYTES = 2_000_000_000


def sent_tensors(inputs: Sequence[TensorSpec], payload: Payload, *, batched: bool) -> tuple[TensorSpec, ...]:
    """The inputs with the shapes that are really sent: free dimensions filled in, batch dimension 1 in front.

    Raises UsageError where the payload does not fit the model.
    """
    if payload.count < 1:
        raise UsageError("a load needs at least one payload", hint="set load.payload.count to 1 or more")
    if not inputs:
        raise UsageError("the model states no inputs, so nothing can be sent to it")
    return tuple(_sent(tensor, payload, batched=batched) for tensor in inputs)


def file_tensor(inputs: Sequence[TensorSpec], payload: Payload, size_bytes: int, *, batched: bool) -> TensorSpec:
    """The model's one input as a file of this size fills it: one BYTES element, or raw numbers; batch dimension 1.

    A single free dimension is as long as the file makes it. Raises UsageError if the file does not fill it.
    """
    if len(inputs) != 1:
        raise UsageError(f"a file holds one input, and the model has {len(inputs)}", hint="write a .json request body")
    (spec,) = inputs
    if spec.datatype not in DATATYPES:
        raise UsageError(f"input {spec.name}: no payloads of datatype {spec.datatype} can be made")
    number, rest = (1, 0) if spec.datatype == "BYTES" else divmod(size_bytes, ITEM_BYTES[spec.datatype])
    if rest:
        raise UsageError(f"{size_bytes} bytes are no whole number of {spec.datatype} values")
    known = math.prod(size for size in spec.shape if size > 0)
    if payload.shape is None and list(spec.shape).count(-1) == 1 and known:
        shape = tuple(number // known if size < 0 else size for size in spec.shape)
    else:
        shape = _filled(spec, payload)
    if math.prod(shape) != number or not number:
        raise UsageError(f"{number} values do not fill input {spec.name} {list(shape)}")
    return TensorSpec(name=spec.name, datatype=spec.datatype, shape=(1, *shape) if batched else shape)


def refuse_too_large(sent: Sequence[TensorSpec], payload: Payload) -> None:
    """Raises UsageError where the bodies, which are made beforehand, would fill the memory."""
    bytes_each = sum(math.prod(one.shape) * _item_bytes(one.datatype, payload) for one in sent)
    if bytes_each * payload.count > MOST_BODIES_BYTES:
        size = f"{payload.count} bodies of {bytes_each / 1e6:,.0f} MB"
        raise UsageError(f"{size} are too large to be made beforehand", hint=f"at most {MOST_BODIES_BYTES:,} bytes")


def _item_bytes(datatype: str, payload: Payload) -> int:
    words = payload.tokens[1] if payload.kind == "text" else 1
    return words * (WORD_LETTERS + 1) if datatype == "BYTES" else ITEM_BYTES[datatype]


def _sent(tensor: TensorSpec, payload: Payload, *, batched: bool) -> TensorSpec:
    shape = _filled(tensor, payload)
    if tensor.datatype not in DATATYPES:
        raise UsageError(f"input {tensor.name}: no payloads of datatype {tensor.datatype} can be made")
    if payload.kind == "image" and (tensor.datatype not in IMAGE_DATATYPES or len(shape) not in IMAGE_RANKS):
        raise UsageError(
            f"input {tensor.name} ({tensor.datatype} {list(shape)}) cannot hold an image",
            hint=f"choose another kind of payload ({OPTION_OR_KEY})",
        )
    if payload.kind == "text" and tensor.datatype != "BYTES":
        raise UsageError(
            f"input {tensor.name} ({tensor.datatype}) cannot hold a text",
            hint=f"choose another kind of payload ({OPTION_OR_KEY})",
        )
    return TensorSpec(name=tensor.name, datatype=tensor.datatype, shape=(1, *shape) if batched else shape)


def _filled(tensor: TensorSpec, payload: Payload) -> tuple[int, ...]:
    """The model's own shape, or the payload's where the model leaves dimensions free."""
    if all(size > 0 for size in tensor.shape):
        return tensor.shape
    if payload.shape is None:
        raise UsageError(
            f"input {tensor.name} has free dimensions {list(tensor.shape)}",
            hint="state the sizes to send, without the batch dimension: --shape, or load.payload.shape in a study",
        )
    fits = len(payload.shape) == len(tensor.shape) and all(
        size > 0 and free_or_size in (-1, size) for free_or_size, size in zip(tensor.shape, payload.shape, strict=True)
    )
    if not fits:
        raise UsageError(
            f"the payload's shape {list(payload.shape)} does not fit input {tensor.name} {list(tensor.shape)}"
        )
    return payload.shape
