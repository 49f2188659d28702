"""Payloads: what is sent for which model, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from load_profiles.kserve_http import serialise
from load_profiles.payload_files import refuse_unfit_files
from load_profiles.payload_shapes import refuse_too_large, sent_tensors
from load_profiles.payloads import file_tensors, tensors
from tuner.domain.deployment import TensorSpec
from tuner.domain.errors import UsageError
from tuner.domain.load import Payload

PICTURE = TensorSpec(name="x", datatype="FP32", shape=(3, 48, 192))


def spec(datatype: str = "FP32", shape: tuple[int, ...] = (4,), name: str = "x") -> TensorSpec:
    return TensorSpec(name=name, datatype=datatype, shape=shape)


def one(tensor: TensorSpec, payload: Payload, *, batched: bool = False) -> np.ndarray:
    return tensors([tensor], payload, batched=batched, seed=1)[0][0]


def test_the_batch_dimension_is_put_in_front_of_a_batched_model_only():
    payload = Payload()
    assert sent_tensors([spec()], payload, batched=True)[0].shape == (1, 4)
    assert sent_tensors([spec()], payload, batched=False)[0].shape == (4,)


def test_a_free_dimension_takes_its_size_from_the_payload():
    free = spec(shape=(3, -1, -1))
    assert sent_tensors([free], Payload(shape=(3, 48, 192)), batched=True)[0].shape == (1, 3, 48, 192)


def test_the_payloads_shape_leaves_inputs_without_free_dimensions_alone():
    sent = sent_tensors([spec(shape=(-1,)), spec(shape=(7,), name="y")], Payload(shape=(128,)), batched=False)
    assert [tensor.shape for tensor in sent] == [(128,), (7,)]


@pytest.mark.parametrize(
    ("tensor", "payload", "message"),
    [
        (spec(shape=(3, -1, -1)), Payload(), "free dimensions"),
        (spec(shape=(3, -1, -1)), Payload(shape=(48, 192)), "does not fit"),
        (spec(shape=(3, -1, -1)), Payload(shape=(1, 48, 192)), "does not fit"),
        (spec(shape=(3, -1, -1)), Payload(shape=(3, 0, 192)), "does not fit"),
        (spec(datatype="BF16"), Payload(), "datatype BF16"),
        (spec(datatype="INT64"), Payload(kind="image"), "cannot hold an image"),
        (spec(shape=(4,)), Payload(kind="image"), "cannot hold an image"),
        (spec(), Payload(count=0), "at least one payload"),
    ],
)
def test_what_does_not_fit_the_model_is_refused(tensor: TensorSpec, payload: Payload, message: str):
    with pytest.raises(UsageError, match=message):
        sent_tensors([tensor], payload, batched=True)


def test_a_model_without_inputs_is_refused():
    with pytest.raises(UsageError, match="no inputs"):
        sent_tensors([], Payload(), batched=True)


def test_pictures_are_smooth_in_range_and_not_flat():
    picture = one(PICTURE, Payload(kind="image"))
    assert picture.dtype == np.float32
    assert 0.5 < np.abs(picture).max() < 1.5
    steps = np.abs(np.diff(picture, axis=-1)).mean()
    assert steps < 0.5 * picture.std(), "neighbouring pixels are alike, as in a photograph"
    assert picture.std() > 0.1


@pytest.mark.parametrize(
    ("datatype", "shape"),
    [
        ("UINT8", (480, 640, 3)),
        ("FP16", (3, 224, 224)),
        ("FP64", (1, 3, 8, 8)),
        ("FP32", (28, 28)),
        ("UINT8", (1, 32, 32)),
    ],
)
def test_pictures_come_in_every_layout(datatype: str, shape: tuple[int, ...]):
    picture = one(spec(datatype, shape), Payload(kind="image"), batched=True)
    assert picture.shape == (1, *shape)
    assert picture.flags["C_CONTIGUOUS"]
    assert len(np.unique(picture)) > 50


def test_a_channels_last_picture_is_smooth_along_its_rows():
    picture = one(spec("FP32", (64, 64, 3)), Payload(kind="image"))
    assert np.abs(np.diff(picture, axis=1)).mean() < 0.5 * picture.std()


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64", "BOOL", "BYTES", "INT8", "INT64", "UINT8", "UINT64"])
def test_random_payloads_come_in_every_datatype_and_serialise(datatype: str):
    payload = Payload(count=5)
    specs = sent_tensors([spec(datatype, (3, 5))], payload, batched=True)
    bodies = {
        serialise(model_name="m", host="h", specs=specs, tensors=each)
        for each in tensors([spec(datatype, (3, 5))], payload, batched=True, seed=3)
    }
    assert len(bodies) == 5, "distinct payloads"


def test_random_integers_are_small_and_not_negative():
    numbers = one(spec("INT64", (1000,)), Payload())
    assert 0 <= numbers.min() < numbers.max() < 100


def test_the_seed_decides_the_bytes():
    def draw(seed: int) -> bytes:
        return b"".join(t[0].tobytes() for t in tensors([PICTURE], Payload(kind="image"), batched=True, seed=seed))

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


@given(shape=st.lists(st.integers(1, 6), min_size=1, max_size=3).map(tuple))
def test_the_request_is_http_with_a_json_head_and_exactly_the_tensors_bytes(shape: tuple[int, ...]):
    specs = sent_tensors([spec(shape=shape)], Payload(count=1), batched=True)
    ((tensor,),) = tensors([spec(shape=shape)], Payload(count=1), batched=True, seed=0)
    message = serialise(model_name="a/b c", host="127.0.0.1:8000", specs=specs, tensors=[tensor])
    head, _, body = message.partition(b"\r\n\r\n")
    request_line, *lines = head.decode().split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines)
    json_bytes = int(fields["Inference-Header-Content-Length"])
    assert request_line == "POST /v2/models/a%2Fb%20c/infer HTTP/1.1"
    assert fields["Host"] == "127.0.0.1:8000"
    assert int(fields["Content-Length"]) == len(body)
    (entry,) = json.loads(body[:json_bytes])["inputs"]
    assert (entry["name"], entry["datatype"], tuple(entry["shape"])) == ("x", "FP32", (1, *shape))
    assert body[json_bytes:] == tensor.tobytes()


NUMBERS = np.arange(12, dtype=np.float32)


@pytest.mark.parametrize(
    ("tensor", "payload", "shape"),
    [
        (spec(shape=(3, 4)), Payload(), (1, 3, 4)),
        (spec(shape=(3, -1)), Payload(), (1, 3, 4)),
        (spec(shape=(3, -1, -1)), Payload(shape=(3, 2, 2)), (1, 3, 2, 2)),
    ],
)
def test_a_file_of_numbers_fills_the_input(tensor: TensorSpec, payload: Payload, shape: tuple[int, ...]):
    (sent,), (values,) = file_tensors([tensor], payload, NUMBERS.tobytes(), batched=True)
    assert (sent.shape, values.shape) == (shape, shape)
    assert values.ravel().tolist() == NUMBERS.tolist()


def test_a_file_is_one_element_of_a_bytes_input():
    (sent,), (values,) = file_tensors([spec("BYTES", (-1,))], Payload(), b"a text", batched=False)
    assert (sent.shape, values.tolist()) == ((1,), [b"a text"])


@pytest.mark.parametrize(
    ("inputs", "name", "protocol", "message"),
    [
        ([spec(shape=(13,))], "a.raw", "kserve_http", "a.raw: 12 values do not fill input x"),
        ([spec(shape=(5, -1))], "a.raw", "kserve_grpc", "do not fill"),
        ([spec(shape=(-1, -1))], "a.raw", "kserve_http", "free dimensions"),
        ([spec("BF16")], "a.raw", "kserve_http", "datatype BF16"),
        ([spec(shape=(12,)), spec(name="y")], "a.raw", "kserve_http", "the model has 2"),
        ([spec(shape=(12,))], "a.json", "kserve_grpc", "JSON body"),
        ([], "missing", "http", "cannot read the payload"),
    ],
)
def test_a_file_that_cannot_be_sent_is_refused_before_the_load(tmp_path: Path, inputs, name, protocol, message: str):
    for each in ("a.raw", "a.json"):
        (tmp_path / each).write_bytes(NUMBERS.tobytes())
    payload = Payload(kind="files", files=((str(tmp_path / name), 1.0),))
    with pytest.raises(UsageError, match=message):
        refuse_unfit_files(payload, protocol, inputs, batched=True)


def test_bodies_that_would_fill_the_memory_are_refused():
    huge, wordy = [spec(shape=(3, 100_000, 100_000))], Payload(kind="text", tokens=(1, 99_999), count=64)
    with pytest.raises(UsageError, match="16 bodies of 120,000 MB"):
        refuse_too_large(huge, Payload())
    refuse_too_large([spec("BYTES", (1, 1))], wordy)
    with pytest.raises(UsageError, match="too large"):
        refuse_too_large([spec("BYTES", (1, 100))], wordy)
