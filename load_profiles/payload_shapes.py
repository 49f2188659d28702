"""Which tensors a payload needs for a model: pure, so that what cannot work is refused before anything starts."""

from __future__ import annotations

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
IMAGE_RANKS = (2, 3, 4)


def sent_tensors(inputs: Sequence[TensorSpec], payload: Payload, *, batched: bool) -> tuple[TensorSpec, ...]:
    """The inputs with the shapes that are really sent: free dimensions filled in, batch dimension 1 in front.

    Raises UsageError where the payload does not fit the model.
    """
    if payload.count < 1:
        raise UsageError("a load needs at least one payload", hint="set load.payload.count to 1 or more")
    if not inputs:
        raise UsageError("the model states no inputs, so nothing can be sent to it")
    return tuple(_sent(tensor, payload, batched=batched) for tensor in inputs)


def _sent(tensor: TensorSpec, payload: Payload, *, batched: bool) -> TensorSpec:
    shape = _filled(tensor, payload)
    if tensor.datatype not in DATATYPES:
        raise UsageError(f"input {tensor.name}: no payloads of datatype {tensor.datatype} can be made")
    if payload.kind == "image" and (tensor.datatype not in IMAGE_DATATYPES or len(shape) not in IMAGE_RANKS):
        raise UsageError(
            f"input {tensor.name} ({tensor.datatype} {list(shape)}) cannot hold an image",
            hint="set load.payload.kind to random",
        )
    if payload.kind == "text" and tensor.datatype != "BYTES":
        raise UsageError(f"input {tensor.name} ({tensor.datatype}) cannot hold a text", hint="set load.payload.kind")
    return TensorSpec(name=tensor.name, datatype=tensor.datatype, shape=(1, *shape) if batched else shape)


def _filled(tensor: TensorSpec, payload: Payload) -> tuple[int, ...]:
    """The model's own shape, or the payload's where the model leaves dimensions free."""
    if all(size > 0 for size in tensor.shape):
        return tensor.shape
    if payload.shape is None:
        raise UsageError(
            f"input {tensor.name} has free dimensions {list(tensor.shape)}",
            hint="state the sizes to send in load.payload.shape, without the batch dimension",
        )
    fits = len(payload.shape) == len(tensor.shape) and all(
        size > 0 and free_or_size in (-1, size) for free_or_size, size in zip(tensor.shape, payload.shape, strict=True)
    )
    if not fits:
        raise UsageError(
            f"load.payload.shape {list(payload.shape)} does not fit input {tensor.name} {list(tensor.shape)}"
        )
    return payload.shape
