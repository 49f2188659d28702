"""The child process: one plan in on stdin, load out, samples into a file, progress as lines of JSON on stdout.

`python -m load_profiles.locust_child PARENT_PID`. Ends when stdin does, or its parent.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import random
import resource
import sys
from array import array
from base64 import b64encode
from bisect import bisect_left
from math import inf
from time import monotonic, process_time
from urllib.parse import urlsplit

from load_profiles.connections import resolve
from load_profiles.locust_run import LocustRun
from load_profiles.open_loop import Effort, OpenLoop
from load_profiles.packed_samples import pack
from load_profiles.parent_death import end_with_parent, wake_precisely
from load_profiles.payload_files import weights
from load_profiles.plan import LoadPlan
from load_profiles.recording import Recording
from load_profiles.running_latencies import RunningLatencies
from tuner.domain.arrivals import intended_starts_s
from tuner.domain.load import GeneratorHealth
from tuner.domain.sequential import LOOKS

MAX_CONNECTIONS = 16384
SPARE_DESCRIPTORS = 64
NICENESS = -10
PROGRESS_EVERY_S = 0.5
COUNTED_PER_CALL = 16
STDIN = 0


def main() -> None:
    """Load everything, wait for the plan, carry it out."""
    end_with_parent(int(sys.argv[1]))
    run = LocustRun()
    # Not at the top: tritonclient brings gevent along, which locust has to patch first.
    importlib.import_module("load_profiles.protocols")
    _tell(event="loaded")
    line = sys.stdin.readline()
    if line:
        _carry_out(LoadPlan.from_json(line), run)


def _tell(**fields: object) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def _carry_out(plan: LoadPlan, run: LocustRun) -> None:
    notes = _settle(plan.cpus)
    recording = Recording(intended_starts_s(plan.profile)[plan.part :: plan.parts])
    watch = _Watch(recording, run, plan)
    loop = _open_loop(plan, recording, watch)
    _keep_garbage_collector_out()
    efforts: list[Effort] = []
    _tell(event="started", notes=notes)
    run.carry_out(lambda: efforts.append(loop.run()))
    begun_s = process_time()
    watch.finish()  # what high rates put off is part of the cost
    counting_ms = (process_time() - begun_s) * 1000.0 / max(recording.sent, 1)
    health = GeneratorHealth(
        cpu_ratio=efforts[0].cpu_ratio,
        cpu_ms_per_request=efforts[0].cpu_ms_per_request + counting_ms,
        workers_lost=0,
        first_error=recording.first_error,
    )
    with os.fdopen(plan.result_descriptor, "wb") as result:
        result.write(pack(recording, health, recording.settled_from(0)))
    _tell(event="finished")


def _open_loop(plan: LoadPlan, recording: Recording, watch: _Watch) -> OpenLoop:
    from load_profiles.protocols import conversations, messages

    address, payload = urlsplit(plan.endpoint), plan.profile.payload
    different = messages(plan)
    if payload.files:
        mix = random.Random(plan.profile.seed + plan.part).choices(
            different, weights(payload, different), k=len(recording)
        )
    else:
        mix = [different[(plan.part + k * plan.parts) % len(different)] for k in range(len(recording))]
    return OpenLoop(
        address=resolve(address.hostname or "", address.port or 80),
        messages=mix,
        recording=recording,
        converse=conversations(plan),
        timeout_s=plan.profile.timeout_s,
        max_connections=_allow_descriptors(),
        lifeline=STDIN,
        spare_time=watch,
        start_at_s=_agreed_start_s() if plan.parts > 1 else None,
    )


def _agreed_start_s() -> float:
    """Say that all is ready, and wait for the moment at which all workers begin."""
    _tell(event="ready")
    return float(sys.stdin.readline())


class _Watch:
    """What is done while nothing is due: events and percentiles for answers that came, a line of progress."""

    def __init__(self, recording: Recording, run: LocustRun, plan: LoadPlan) -> None:
        self._recording = recording
        self._run = run
        self._name = plan.model_name
        self._shown = bisect_left(recording.intended_s, plan.profile.warmup_s)
        self._show_every_s = max(PROGRESS_EVERY_S, plan.profile.window_s / LOOKS) if plan.profile.slos else inf
        self._shown_s = monotonic()
        self._latencies = RunningLatencies()
        self._counted = 0
        self._told_s = monotonic()

    def __call__(self) -> None:
        now_s = monotonic()
        tells = now_s - self._told_s > PROGRESS_EVERY_S
        if tells or len(self._recording.finished) - self._counted >= COUNTED_PER_CALL:
            self._count(COUNTED_PER_CALL)
        if tells:
            self._told_s = now_s
            self._tell_progress()
            self._run.let_others_run()
        if now_s - self._shown_s > self._show_every_s:
            self._shown_s = now_s
            self._show_latencies()

    def _show_latencies(self) -> None:
        """What came of the requests due in the window, without gaps, so that others can tell whether to go on."""
        last = max(self._shown, self._recording.settled_from(self._shown))
        latencies_s = array("d", map(self._recording.latency_s, range(self._shown, last)))
        _tell(event="latencies", values=b64encode(latencies_s.tobytes()).decode())
        self._shown = last

    def finish(self) -> None:
        """Count what is left."""
        self._count(len(self._recording))
        self._tell_progress()

    def _count(self, at_most: int) -> None:
        recording = self._recording
        last = min(self._counted + at_most, len(recording.finished))
        for index in recording.finished[self._counted : last]:
            latency_s = recording.done_s[index] - recording.intended_s[index]
            ok = recording.ok[index]
            self._latencies.record(latency_s if ok else float("inf"))
            self._run.announce(
                name=self._name, latency_ms=latency_s * 1000.0, error="" if ok else recording.first_error
            )
        self._counted = last

    def _tell_progress(self) -> None:
        p99_ms = self._latencies.percentile_ms(99.0) if self._counted else 0.0
        _tell(event="progress", sent=self._recording.sent, errors=self._recording.errors, p99_ms=p99_ms)


def _settle(cpus: tuple[int, ...]) -> str:
    """Take the cores left by the server, and go first there; returns what was not allowed."""
    if cpus:
        os.sched_setaffinity(0, cpus)
    wake_precisely()
    try:
        os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
    except PermissionError:
        return "runs at normal priority: only root may raise it"
    return ""


def _allow_descriptors() -> int:
    """Raise the limit of open files as far as needed and allowed; returns how many connections that leaves."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + SPARE_DESCRIPTORS
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed - SPARE_DESCRIPTORS


def _keep_garbage_collector_out() -> None:
    gc.collect()
    gc.freeze()
    gc.disable()


if __name__ == "__main__":
    main()
