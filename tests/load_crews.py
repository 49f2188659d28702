"""Load masters and workers as processes of their own, on loopback, all gone when a test ends."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from load_profiles.locust_generator import plan_of
from load_profiles.packed_samples import unpack_run
from tuner.domain.deployment import Deployment
from tuner.domain.errors import TransientFailure
from tuner.domain.load import LoadProfile, LoadRun

ENDS_WITHIN_S = 180.0


def start_worker(master: str, *options: str, secret: str = "") -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "load_profiles.load_worker", "--master", master, *options]
    return subprocess.Popen(argv, env=os.environ | {"SERVETUNE_LOAD_SECRET": secret}, stderr=subprocess.PIPE, text=True)


def processes_of(worker: subprocess.Popen[str]) -> list[psutil.Process]:
    """The worker and the child that sends its load."""
    process = psutil.Process(worker.pid)
    return [process, *process.children(recursive=True)]


def all_end(processes: list[psutil.Process]) -> bool:
    return psutil.wait_procs(processes, timeout=ENDS_WITHIN_S)[1] == []


def outcome(worker: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit status and what it said on stderr."""
    _, errors = worker.communicate(timeout=ENDS_WITHIN_S)
    return worker.returncode, errors


@dataclass(frozen=True, slots=True)
class Master:
    """A master as a cluster job would run it: its plan from a file, its result into a file."""

    process: subprocess.Popen[str]
    result: Path
    profile: LoadProfile

    def events(self) -> Iterator[dict]:
        """What it tells, until it ends."""
        for line in self.process.stdout:
            yield json.loads(line)

    def event(self, name: str, **fields: object) -> dict:
        """The next of that name with these fields."""
        wanted = {"event": name} | fields
        told = []
        for event in self.events():
            told.append(event)
            if event | wanted == event:
                return event
        raise AssertionError(f"the master never told {wanted}, but {told}")

    def run(self) -> LoadRun:
        """Its result, once it has ended well."""
        rest = list(self.events())
        assert self.process.wait(ENDS_WITHIN_S) == 0, rest
        packed = self.result.read_bytes()
        digest = hashlib.sha256(packed).hexdigest()
        assert rest[-1] == {"event": "finished", "size_bytes": len(packed), "sha256": digest}
        return unpack_run(packed, self.profile)

    def failure(self, exit_code: int = TransientFailure.exit_code) -> dict:
        """What it says when it ends without a result, and with the error's exit code."""
        *_, last = self.events()
        assert self.process.wait(ENDS_WITHIN_S) == exit_code
        assert not self.result.exists()
        return last


@contextmanager
def master(
    folder: Path,
    deployment: Deployment,
    profile: LoadProfile,
    workers: int,
    *,
    secret: str = "",
    max_wait_s: float = 240.0,
) -> Iterator[tuple[Master, str]]:
    """A master that listens, and where."""
    plan, result = folder / "plan.json", folder / "result"
    plan.write_text(plan_of(deployment, profile, -1).to_json())
    options = ["--plan", str(plan), "--result", str(result), "--bind", "127.0.0.1:0", "--max-wait-s", str(max_wait_s)]
    argv = [sys.executable, "-m", "load_profiles.load_master", *options, "--expect-workers", str(workers)]
    environment = os.environ | {"SERVETUNE_LOAD_SECRET": secret}
    with subprocess.Popen(
        argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            one = Master(process, result, profile)
            yield one, one.event("listening")["address"]
        finally:
            process.kill()


@contextmanager
def crew(address: str, workers: int, *options: str) -> Iterator[list[subprocess.Popen[str]]]:
    """So many workers; what is left of them afterwards is killed."""
    started = [start_worker(address, *options) for _ in range(workers)]
    try:
        yield started
    finally:
        for worker in started:
            worker.kill()
            worker.wait()
            worker.stderr.close()
