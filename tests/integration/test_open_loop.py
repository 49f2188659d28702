"""The hot path alone, in this process, against small servers with known behaviour."""

from __future__ import annotations

import math
import os
import socket
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest

from load_profiles.connections import resolve
from load_profiles.http_answer import Answer
from load_profiles.kserve_http import AnswerCheck, serialise
from load_profiles.open_loop import TIMED_OUT, ControllerGone, Effort, OpenLoop
from load_profiles.recording import Recording
from tests.recordings import most_at_once
from tests.servers.behaviour import Behaviour, serving
from tuner.domain.deployment import TensorSpec

PERIOD_S = 0.01
HUNG_S = 3.0
"""Where answers never come: longer than a busy machine keeps the others waiting."""


@dataclass(frozen=True, kw_only=True)
class Ran:
    """`opened` counts the connections."""

    recording: Recording
    effort: Effort
    opened: int


def ran(port: int, *, count: int = 30, floats: int = 4, timeout_s: float = 20.0, max_connections: int = 1000) -> Ran:
    """100 rps for `count` requests."""
    opened: list[Answer] = []

    def converse() -> Answer:
        opened.append(Answer(AnswerCheck()))
        return opened[-1]

    recording = Recording(tuple(k * PERIOD_S for k in range(count)))
    message = serialise(
        model_name="identity",
        host="127.0.0.1",
        specs=[TensorSpec(name="x", datatype="FP32", shape=(1, floats))],
        tensors=[np.zeros((1, floats), np.float32)],
    )
    lifeline, other_end = os.pipe()
    try:
        loop = OpenLoop(
            address=resolve("127.0.0.1", port),
            messages=[message] * count,
            recording=recording,
            converse=converse,
            timeout_s=timeout_s,
            max_connections=max_connections,
            lifeline=lifeline,
            spare_time=lambda: None,
        )
        return Ran(recording=recording, effort=loop.run(), opened=len(opened))
    finally:
        os.close(lifeline)
        os.close(other_end)


def recorded(behaviour: Behaviour, **settings: float) -> Recording:
    with serving(behaviour) as port:
        return ran(port, **settings).recording


@pytest.mark.parametrize("answer", ["binary", "json", "nested_json", "chunked", "pieces", "close", "early_hints"])
def test_every_way_to_frame_an_answer_is_understood(answer: str):
    recording = recorded(Behaviour(answer=answer))
    assert all(recording.ok), recording.first_error
    assert recording.errors == 0


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("redirect", "HTTP 302"),
        ("error_body", "out of memory"),
        ("short", "before its answer was complete"),
        ("wrong_size", "not as long as it says"),
        ("wrong_shape", "output y FP32 [1, 1000] is not as long as it says: 16 bytes"),
        ("wrong_json_shape", "output y FP32 [1, 4] is not as long as it says: 3 values"),
        ("odd_size", "no inference result"),
        ("odd_outputs", "no inference result"),
        ("garbage", "not an HTTP answer"),
        ("two", "two answers"),
    ],
)
def test_what_is_no_result_is_a_failure_and_says_why(answer: str, reason: str):
    recording = recorded(Behaviour(answer=answer))
    assert not any(recording.ok)
    assert reason in recording.first_error
    assert recording.errors == len(recording)


def test_errors_are_counted_one_by_one():
    recording = recorded(Behaviour(error_every=5))
    assert recording.errors == 6
    assert "failed as planned" in recording.first_error


def test_a_reset_connection_costs_its_own_request_only():
    recording = recorded(Behaviour(reset_every=10))
    assert recording.errors == 3
    assert "reset" in recording.first_error


def test_a_server_that_dies_under_load_leaves_failures_for_the_rest():
    recording = recorded(Behaviour(die_after=20), count=60)
    assert sum(recording.ok) == 20
    died_s = min(recording.done_s[k] for k in range(60) if not recording.ok[k])
    assert not any(ok for ok, sent_s in zip(recording.ok, recording.sent_s, strict=True) if sent_s > died_s)
    assert all(map(math.isfinite, recording.sent_s)), "every request was tried"


def test_a_server_that_hangs_delays_no_send_and_every_request_fails_at_its_own_time_limit():
    recording = recorded(Behaviour(hang_after=10), timeout_s=HUNG_S)
    assert sum(recording.ok) == 10
    assert recording.first_error == TIMED_OUT
    hung = [k for k in range(30) if not recording.ok[k]]
    assert all(recording.done_s[k] >= recording.intended_s[k] + HUNG_S for k in hung)
    assert max(recording.sent_s[k] - recording.intended_s[k] for k in hung) < HUNG_S, "nothing waited for an answer"


def test_a_body_larger_than_the_sockets_buffer_arrives_whole():
    recording = recorded(Behaviour(), floats=1_000_000, count=10)
    assert all(recording.ok), recording.first_error


def test_what_this_machine_cannot_send_counts_as_never_sent():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(512)
        recording = ran(silent.getsockname()[1], max_connections=5, timeout_s=HUNG_S, count=20).recording
    never = [k for k in range(20) if math.isinf(recording.sent_s[k])]
    assert never == list(range(5, 20))
    assert not any(recording.ok)
    assert "all 5 connections" in recording.first_error


def test_connections_are_kept_and_used_again():
    """One is opened only where every other waits for an answer at that moment."""
    with serving(Behaviour(delay_s=0.0)) as port:
        one = ran(port, count=60)
    assert all(one.recording.ok), one.recording.first_error
    most = most_at_once(one.recording)
    if most == 60:
        pytest.skip("this machine was so busy that all requests waited at once")
    assert one.opened <= most


def test_the_run_ends_when_the_lifeline_does():
    recording = Recording((0.0, 60.0))
    lifeline, other_end = os.pipe()
    os.close(other_end)
    loop = OpenLoop(
        address=resolve("127.0.0.1", 9),
        messages=[b"", b""],
        recording=recording,
        converse=partial(Answer, AnswerCheck()),
        timeout_s=1.0,
        max_connections=5,
        lifeline=lifeline,
        spare_time=lambda: None,
    )
    with pytest.raises(ControllerGone):
        loop.run()
    os.close(lifeline)
