"""Ctrl-C while something must be finished first."""

from __future__ import annotations

import signal
import threading

import pytest

from tuner.interruption import Interrupted, orderly_stop, undisturbed


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
