"""`python local_launch.py SPEC.json`: become the server, inside its control groups and on its cores.

A program of its own, and not a `preexec_fn`: code between fork and exec of a process with threads may deadlock. It
runs without site packages, so it imports the standard library only. It ends with the server's program in its place, so
its process number is the server's.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1


def die_with(parent_pid: int) -> None:
    """Ask the kernel to kill this process when its parent ends, be it by SIGKILL (prctl(2))."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        # It ended before the request was made, so no signal will come.
        sys.exit("the controller is gone")


def launch(spec_path: Path) -> None:
    """Replace this process by the server that the file describes."""
    spec = json.loads(spec_path.read_text("utf-8"))
    die_with(spec["parent_pid"])
    for path in spec["join"]:
        Path(path).write_text(str(os.getpid()), "ascii")
    os.sched_setaffinity(0, spec["cpus"])
    os.execve(spec["argv"][0], spec["argv"], spec["env"])  # noqa: S606 - the runner's own command, no shell


if __name__ == "__main__":
    launch(Path(sys.argv[1]))
