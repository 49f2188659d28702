"""What a gRPC call says on the wire, byte for byte, and which results count."""

from __future__ import annotations

import pytest
from hpack import Decoder
from hyperframe.frame import DataFrame, Frame, HeadersFrame
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import InferInput, service_pb2
from tritonclient.grpc._utils import _get_inference_request

from load_profiles.grpc_call import GREETING, GrpcCall, call_head, prefixed
from load_profiles.kserve_grpc import INFER_PATH, refusal, serialise
from load_profiles.payload_shapes import sent_tensors
from load_profiles.payloads import tensors
from tuner.domain.deployment import TensorSpec
from tuner.domain.load import Payload

DATATYPES = ("FP16", "FP32", "FP64", "BOOL", "BYTES", "INT8", "INT64", "UINT8", "UINT64")


def frames_of(data: bytes) -> list[Frame]:
    frames = []
    while data:
        frame, size = Frame.parse_frame_header(memoryview(data[:9]))
        frame.parse_body(memoryview(data[9 : 9 + size]))
        frames.append(frame)
        data = data[9 + size :]
    return frames


@pytest.mark.parametrize("datatype", DATATYPES)
def test_the_request_is_the_one_that_tritonclient_would_send(datatype: str):
    spec = TensorSpec(name="x", datatype=datatype, shape=(3, 5))
    specs = sent_tensors([spec], Payload(), batched=True)
    (made,) = tensors([spec], Payload(count=1), batched=True, seed=3)
    sent = serialise(model_name="m", specs=specs, tensors=made)
    entry = InferInput("x", [1, 3, 5], datatype)
    entry.set_data_from_numpy(made[0])
    theirs = _get_inference_request(
        inputs=[entry], model_name="m", model_version="", request_id="", outputs=None, sequence_id=0,
        sequence_start=False, sequence_end=False, priority=0, timeout=None, parameters=None,
    )  # fmt: skip
    assert int.from_bytes(sent[1:5], "big") == len(sent) - 5
    assert service_pb2.ModelInferRequest.FromString(sent[5:]) == theirs


@given(size=st.integers(0, 60_000))
def test_a_call_is_one_head_and_the_message_in_frames_that_every_server_takes(size: int):
    call = GrpcCall(call_head(INFER_PATH, authority="h:1"), refusal, {})
    message = prefixed(bytes(size))
    for stream in (1, 3):
        said = call.begin(message)
        head, *body = frames_of(said.removeprefix(GREETING))
        assert isinstance(head, HeadersFrame)
        assert head.flags == {"END_HEADERS"}
        assert all(isinstance(frame, DataFrame) and len(frame.data) <= 16_384 for frame in body)
        assert {frame.stream_id for frame in (head, *body)} == {stream}
        fields = dict(Decoder().decode(head.data))
        assert (fields[":path"], fields[":authority"]) == (INFER_PATH, "h:1")
        if stream == 1:
            assert b"".join(frame.data for frame in body) == message
            assert ["END_STREAM" in frame.flags for frame in body] == [False] * (len(body) - 1) + [True]


def test_no_more_is_sent_than_the_server_admits():
    call = GrpcCall(call_head(INFER_PATH, authority="h:1"), refusal, {})
    frames = frames_of(call.begin(prefixed(bytes(100_000))).removeprefix(GREETING))
    assert sum(len(frame.data) for frame in frames[1:]) == 65_535
    assert not any("END_STREAM" in frame.flags for frame in frames)


def answer(shape: tuple[int, ...] = (1, 2), datatype: str = "FP32", raw: tuple[bytes, ...] = (bytes(8),)) -> bytes:
    result = service_pb2.ModelInferResponse(model_name="m")
    result.outputs.add(name="y", datatype=datatype, shape=shape)
    result.raw_output_contents.extend(raw)
    return result.SerializeToString()


def test_results_whose_tensors_fit_count():
    typed = service_pb2.ModelInferResponse(model_name="m")
    typed.outputs.add(name="y", datatype="FP32", shape=(1, 1)).contents.fp32_contents.append(1.0)
    texts = answer(shape=(1,), datatype="BYTES", raw=(b"\x02\x00\x00\x00ab",))
    assert [refusal(result) for result in (answer(), texts, typed.SerializeToString())] == ["", "", ""]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"", "no outputs"),
        (b"\xff", "no inference result"),
        (answer(raw=()), "output y is empty"),
        (answer(raw=(bytes(8), bytes(8))), "1 outputs, but contents of 2"),
        (answer(shape=(1, 3)), "not as long as it says"),
        (answer(datatype="FP64"), "not as long as it says"),
    ],
)
def test_what_is_no_result_is_told(message: bytes, reason: str):
    assert reason in refusal(message)
