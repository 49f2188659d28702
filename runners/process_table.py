"""Processes by identity, from /proc: a process number alone may be another program's by now."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from dataclasses import dataclass
from pathlib import Path

import psutil

PROC = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessIdentity:
    """One process of one boot, for good: its number, and its start in clock ticks since that boot.

    `scope` is the host and process namespace in which the number means anything.
    """

    pid: int
    start_ticks: int
    boot_id: str
    scope: str

    def __str__(self) -> str:
        return f"{self.pid}:{self.start_ticks}:{self.boot_id}:{self.scope}"

    @staticmethod
    def parse(text: str) -> ProcessIdentity:
        """The inverse of `str`. Raises ValueError."""
        pid, start_ticks, boot_id, scope = text.split(":", 3)
        return ProcessIdentity(pid=int(pid), start_ticks=int(start_ticks), boot_id=boot_id, scope=scope)


def this_process() -> ProcessIdentity:
    """Our own identity."""
    own = identity_of(os.getpid())
    assert own is not None, "a running process is in /proc"  # noqa: S101
    return own


def identity_of(pid: int) -> ProcessIdentity | None:
    """The identity behind a number; None if there is no such process, or only its unreaped remains."""
    try:
        # The second field is the program's name in parentheses, and may contain anything.
        fields = (PROC / str(pid) / "stat").read_text("utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    if fields[0] in ("Z", "X"):
        return None
    return ProcessIdentity(pid=pid, start_ticks=int(fields[19]), boot_id=_boot_id(), scope=_scope())


def _boot_id() -> str:
    return (PROC / "sys/kernel/random/boot_id").read_text("ascii").strip()


def _scope() -> str:
    return f"{socket.gethostname()}:{(PROC / 'self/ns/pid').readlink()}"


def certainly_gone(process: ProcessIdentity) -> bool:
    """Whether it has ended. A process of another host or container is not ours to judge: False."""
    return process.scope == _scope() and identity_of(process.pid) != process


def processes_with(variable: str) -> dict[ProcessIdentity, dict[str, str]]:
    """The processes whose environment has a variable, with their environment, as far as we may read it."""
    found = {}
    needle = f"{variable}=".encode()
    for folder in PROC.iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            block = (folder / "environ").read_bytes()
            identity = identity_of(int(folder.name)) if needle in block else None
            if identity is not None:
                pairs = (entry.partition("=") for entry in block.decode(errors="replace").split("\0"))
                found[identity] = {name: value for name, _, value in pairs}
    return {identity: environ for identity, environ in found.items() if variable in environ}


def kill(process: ProcessIdentity) -> None:
    """SIGKILL to exactly this process: the descriptor cannot come to mean another one (pidfd_open(2))."""
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(process.pid)
        try:
            if identity_of(process.pid) == process:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        finally:
            os.close(descriptor)


def machine_busy_s() -> float:
    """CPU seconds that all cores of this machine spent on anything since it started, stolen ones included."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq + times.steal)


def cpu_model() -> str:
    """The processor's own name (proc_cpuinfo(5)), so that a share of a core can be read elsewhere."""
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "an unnamed processor"
