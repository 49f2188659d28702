"""The KServe v2 protocol over gRPC: what is sent, and which answers count. Door to tritonclient's messages."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2
from tritonclient.utils import serialize_byte_tensor

from load_profiles.grpc_call import prefixed
from load_profiles.payload_shapes import ITEM_BYTES
from load_profiles.payloads import Tensor
from tuner.domain.deployment import TensorSpec

INFER_PATH = "/inference.GRPCInferenceService/ModelInfer"


def serialise(*, model_name: str, specs: Sequence[TensorSpec], tensors: Sequence[Tensor]) -> bytes:
    """One call's data: a ModelInferRequest with raw tensors. `specs` as in `sent_tensors`."""
    request = service_pb2.ModelInferRequest(model_name=model_name)
    for spec, tensor in zip(specs, tensors, strict=True):
        request.inputs.add(name=spec.name, datatype=spec.datatype, shape=tensor.shape)
        request.raw_input_contents.append(_raw(tensor))
    return prefixed(request.SerializeToString())


def _raw(tensor: Tensor) -> bytes:
    """As the protocol wants it: little-endian, row by row; BYTES elements with their lengths in front."""
    if tensor.dtype == np.object_:
        return bytes(serialize_byte_tensor(tensor).item())
    return tensor.astype(tensor.dtype.newbyteorder("<"), copy=False).tobytes()


def refusal(message: bytes) -> str:
    """The reason why a serialised message is no inference result; empty if it is one."""
    try:
        result = service_pb2.ModelInferResponse.FromString(message)
    except DecodeError:
        return f"no inference result: {message[:80]!r}"
    outputs, raw = result.outputs, result.raw_output_contents
    if not outputs:
        return "no inference result: the answer has no outputs"
    if not raw:
        hollow = [output.name for output in outputs if not output.HasField("contents")]
        return f"no inference result: output {hollow[0]} is empty" if hollow else ""
    if len(raw) != len(outputs):
        return f"no inference result: {len(outputs)} outputs, but contents of {len(raw)}"
    for output, content in zip(outputs, raw, strict=True):
        size = ITEM_BYTES.get(output.datatype)
        if size is not None and math.prod(output.shape) * size != len(content):
            shape = list(output.shape)
            return f"output {output.name} {output.datatype} {shape} is not as long as it says: {len(content)} bytes"
    return ""
