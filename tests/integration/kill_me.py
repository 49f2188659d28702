"""Run by test_kill_and_resume: tune a study file, and SIGKILL this very process at one event of the loop.

python -m tests.integration.kill_me STUDY STORAGE PHASE COUNT DELAY_S
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from tuner.assemble import make_optimizer, open_bench
from tuner.domain.events import Event, PhaseStarted
from tuner.domain.trial import Confirmation
from tuner.history import open_history
from tuner.lease import coordinating
from tuner.spec_file import load_spec
from tuner.study import run_study


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    study, storage, phase, count, delay_s = sys.argv[1:]
    seen = 0

    def watch(event: Event) -> None:
        nonlocal seen
        if not isinstance(event, PhaseStarted):
            return
        proof = isinstance(event.purpose, Confirmation)
        if phase == event.phase or (phase == "confirm" and proof):
            seen += 1
        if seen == int(count):
            timer = threading.Timer(float(delay_s), die)
            timer.daemon = True
            timer.start() if float(delay_s) else die()

    spec = load_spec(Path(study))
    with coordinating(storage, spec.name):
        history = open_history(storage, spec)
        with open_bench(spec, watch) as bench:
            run_study(spec, optimizer=make_optimizer(spec), bench=bench, history=history, watch=watch)


if __name__ == "__main__":
    main()
