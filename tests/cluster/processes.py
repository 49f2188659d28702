"""Servers of a test cluster as processes of our own: ended by their own ids, and with us if we are killed."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

POLL_S = 0.1
PATIENCE_S = 120.0
"""What only a hang exceeds, on a machine however busy."""


@contextmanager
def running(name: str, argv: Sequence[str | Path], folder: Path, **environment: str) -> Iterator[subprocess.Popen]:
    """The process, until the end of the block; what it says goes to NAME.log in the folder."""
    home = {"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8"}
    # setpriv becomes the server, so that the pid is the server's own; it dies with the thread that started it.
    command = ["nice", "-n", "5", "setpriv", "--pdeathsig", "KILL", *map(str, argv)]
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, env=home | environment
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def await_true(
    what: str, probe: Callable[[], bool], *, deadline_s: float = PATIENCE_S, log: Path | None = None
) -> float:
    """Seconds until the probe said yes; fails with the log's last lines."""
    begun_s = time.monotonic()
    while not probe():
        if time.monotonic() - begun_s > deadline_s:
            said = "\n".join(log.read_text(errors="replace").splitlines()[-15:]) if log else ""
            raise TimeoutError(f"{what} within {deadline_s:g} s\n{said}")
        time.sleep(POLL_S)
    return time.monotonic() - begun_s
