"""Starting the exact server, and what it recorded of itself."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tuner.domain.histogram import nearest_rank

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactSettings:
    """A law of `exact_server.LAWS`, a queue before one worker or none, stalls as in `Behaviour`, and its cores."""

    law: str
    one_at_a_time: bool = False
    stall_every_s: float = 0.0
    stall_s: float = 0.0
    seed: int = 0
    cpus: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerRecord:
    """Every request in order of arrival; seconds on the machine's monotonic clock."""

    arrived_s: tuple[float, ...]
    due_s: tuple[float, ...]
    left_s: tuple[float, ...]

    def latencies_s(self, skipped: int) -> list[float]:
        """From a request's first byte to its answer, by this server's own clock, ascending; the first are left out."""
        return sorted(b - a for a, b in zip(self.arrived_s[skipped:], self.left_s[skipped:], strict=True))

    def services_s(self) -> list[float]:
        """How long its one worker had each request, in order of arrival."""
        free_s = (0.0, *self.left_s)
        return [end - max(begin, free) for begin, end, free in zip(self.arrived_s, self.left_s, free_s, strict=False)]

    def late_ms(self, skipped: int) -> float:
        """How late its own timers were: p99 of when an answer left against when it was due."""
        late_s = sorted(b - a for a, b in zip(self.due_s[skipped:], self.left_s[skipped:], strict=True))
        return nearest_rank(late_s, 99.0) * 1000.0


class RunningExactServer:
    """It serves at `port` until its record is asked for."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.port = int(process.stdout.readline())

    def record(self) -> ServerRecord:
        """End it, and what it recorded."""
        packed = memoryview(self._process.communicate(timeout=240)[0]).cast("d")
        count = len(packed) // 3
        columns = [tuple(packed[k * count : (k + 1) * count]) for k in range(3)]
        return ServerRecord(arrived_s=columns[0], due_s=columns[1], left_s=columns[2])


@contextmanager
def serving_exactly(settings: ExactSettings) -> Iterator[RunningExactServer]:
    """Such a server on 127.0.0.1, in a process of its own; gone afterwards."""
    argv = [sys.executable, "-m", "tests.servers.exact_server", json.dumps(asdict(settings))]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as process:
        try:
            yield RunningExactServer(process)
        finally:
            process.kill()
