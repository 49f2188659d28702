"""gRPC in the hot path, in this process, against an HTTP/2 server of another make with planned faults."""

from __future__ import annotations

import math
import os
import re

import numpy as np
import pytest

from load_profiles.connections import resolve
from load_profiles.grpc_call import GrpcCall, call_head
from load_profiles.kserve_grpc import INFER_PATH, refusal, serialise
from load_profiles.open_loop import TIMED_OUT, OpenLoop
from load_profiles.recording import Recording
from tests.recordings import most_at_once
from tests.servers.behaviour import GRPC_SERVER, Behaviour, serving
from tuner.domain.deployment import TensorSpec

PERIOD_S = 0.01
HUNG_S = 3.0
"""Where answers never come: longer than a busy machine keeps the others waiting."""


def ran(
    port: int,
    *,
    count: int = 20,
    floats: int = 4,
    timeout_s: float = 20.0,
    period_s: float = PERIOD_S,
    opened: list[GrpcCall] | None = None,
) -> Recording:
    """One request every `period_s`. `opened` gets a conversation for each connection."""
    opened = [] if opened is None else opened

    def converse() -> GrpcCall:
        opened.append(GrpcCall(call_head(INFER_PATH, authority="127.0.0.1"), refusal, {}))
        return opened[-1]

    recording = Recording(tuple(k * period_s for k in range(count)))
    spec = TensorSpec(name="x", datatype="FP32", shape=(1, floats))
    message = serialise(model_name="identity", specs=[spec], tensors=[np.zeros((1, floats), np.float32)])
    lifeline, other_end = os.pipe()
    try:
        OpenLoop(
            address=resolve("127.0.0.1", port),
            messages=[message] * count,
            recording=recording,
            converse=converse,
            timeout_s=timeout_s,
            max_connections=1000,
            lifeline=lifeline,
            spare_time=lambda: None,
        ).run()
    finally:
        os.close(lifeline)
        os.close(other_end)
    return recording


def recorded(behaviour: Behaviour, **settings: float) -> Recording:
    with serving(behaviour, GRPC_SERVER) as port:
        return ran(port, **settings)


@pytest.mark.parametrize(
    "answer", ["binary", "pieces", "padded", "long_head", "ping", "close", "small_windows", "large"]
)
def test_every_way_to_frame_an_answer_is_understood(answer: str):
    recording = recorded(Behaviour(answer=answer), count=10)
    assert all(recording.ok), recording.first_error
    assert recording.errors == 0


def test_a_message_larger_than_the_servers_windows_arrives_whole():
    """An HTTP/2 server of another make refuses a connection that sends more than it has admitted."""
    recording = recorded(Behaviour(), floats=100_000, count=5)
    assert all(recording.ok), recording.first_error


def test_windows_that_shrink_between_calls_are_kept():
    recording = recorded(Behaviour(answer="small_windows"), floats=10_000, count=4, period_s=0.2)
    assert all(recording.ok), recording.first_error


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("late_error", "gRPC RESOURCE_EXHAUSTED: out of memory"),
        ("odd_status", "gRPC error 99"),
        ("no_status", "no gRPC status"),
        ("http_404", "HTTP 404"),
        ("reset_stream", "the server ended the call: REFUSED_STREAM"),
        ("garbage", "not an HTTP/2 answer"),
        ("compressed", "no single uncompressed gRPC message"),
        ("two", "no single uncompressed gRPC message"),
        ("not_protobuf", "no inference result"),
        ("no_outputs", "the answer has no outputs"),
        ("wrong_size", r"output y0 FP32 \[1, 4\] is not as long as it says: 20 bytes"),
    ],
)
def test_what_is_no_result_is_a_failure_and_says_why(answer: str, reason: str):
    recording = recorded(Behaviour(answer=answer), count=5)
    assert not any(recording.ok)
    assert re.search(reason, recording.first_error), recording.first_error
    assert recording.errors == len(recording)


def test_an_error_before_the_whole_message_was_sent_fails_its_request_only():
    recording = recorded(Behaviour(answer="early_error"), floats=1_000_000, count=5)
    assert recording.errors == 5
    assert "gRPC INTERNAL: failed as planned" in recording.first_error


def test_errors_are_counted_one_by_one_and_cost_no_connection():
    with serving(Behaviour(error_every=5, delay_s=0.0), GRPC_SERVER) as port:
        opened: list[GrpcCall] = []
        recording = ran(port, opened=opened)
    assert recording.errors == 4
    assert recording.first_error == "gRPC INTERNAL: failed as planned"
    assert len(opened) <= most_at_once(recording)


def test_a_reset_connection_costs_its_own_request_only():
    recording = recorded(Behaviour(reset_every=10))
    assert recording.errors == 2
    assert "reset" in recording.first_error


def test_a_server_that_dies_under_load_leaves_failures_for_the_rest():
    recording = recorded(Behaviour(die_after=10), count=40)
    assert sum(recording.ok) == 10
    died_s = min(recording.done_s[k] for k in range(40) if not recording.ok[k])
    assert not any(ok for ok, sent_s in zip(recording.ok, recording.sent_s, strict=True) if sent_s > died_s)
    assert all(map(math.isfinite, recording.sent_s)), "every request was tried"


def test_a_server_that_hangs_delays_no_send_and_every_request_fails_at_its_own_time_limit():
    recording = recorded(Behaviour(hang_after=5), timeout_s=HUNG_S)
    assert sum(recording.ok) == 5
    assert recording.first_error == TIMED_OUT
    hung = [k for k in range(20) if not recording.ok[k]]
    assert all(recording.done_s[k] >= recording.intended_s[k] + HUNG_S for k in hung)
    assert max(recording.sent_s[k] - recording.intended_s[k] for k in hung) < HUNG_S, "nothing waited for an answer"


def test_a_server_that_speaks_http_1_is_told_apart():
    with serving(Behaviour()) as port:
        recording = ran(port, count=3)
    assert not any(recording.ok)
