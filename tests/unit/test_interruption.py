"""Ctrl-C while something must be finished first."""

from __future__ import annotations

import signal
import threading

import pytest

from tuner.clock import SystemClock
from tuner.interruption import Interrupted, Stopped, heed, orderly_stop, stoppable, undisturbed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_is_begun_is_finished_and_then_interrupted(number: signal.Signals):
    done: list[str] = []
    with pytest.raises(Interrupted) as stopped, orderly_stop():  # noqa: PT012 - the order is the point
        try:
            done.append("body")
        finally:
            with undisturbed():
                signal.raise_signal(number)
                done.append("teardown")
        done.append("never")
    assert done == ["body", "teardown"]
    assert stopped.value.exit_code == 128 + number


def test_a_second_signal_waits_too_and_says_so(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(Interrupted), orderly_stop(), undisturbed():  # noqa: PT012 - the order is the point
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
    assert "still taking the server down" in capsys.readouterr().err


def test_handlers_are_as_before_afterwards():
    before = signal.getsignal(signal.SIGINT)
    with undisturbed():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_other_threads_are_left_alone():
    seen: list[object] = []

    def work() -> None:
        with undisturbed():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]


def in_a_thread(work) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_a_thread_that_is_asked_to_stop_wakes_up():
    stop, seen = threading.Event(), []

    def work() -> None:
        with stoppable(stop):
            heed()
            threading.Timer(0.0, stop.set).start()
            try:
                SystemClock().sleep(60.0)
            except Stopped:
                seen.append("stopped")
        heed()

    in_a_thread(work)
    assert seen == ["stopped"]


def test_what_must_be_finished_sleeps_on_and_what_follows_stops():
    stop, seen = threading.Event(), []
    stop.set()

    def work() -> None:
        with stoppable(stop):
            with undisturbed(), undisturbed():
                SystemClock().sleep(0.001)
                heed()
                seen.append("torn down")
            try:
                heed()
            except Stopped:
                seen.append("stopped")

    in_a_thread(work)
    assert seen == ["torn down", "stopped"]
