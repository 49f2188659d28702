"""Starting, telling, hearing and surely ending the child process. Controller side: never imports locust."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from time import monotonic
from types import TracebackType
from typing import IO, Self, cast

from load_profiles.plan import LoadPlan
from tuner.domain.errors import TransientFailure

LOAD = "load_profiles.locust_child"
STDERR_LINES = 12
READ_BYTES = 65536


class Child:
    """One load-generator process in a session of its own; gone when the `with` block ends, or when we die.

    Its errors and its samples go into files without a name, so that even SIGKILL leaves nothing behind on the disk.
    """

    def __init__(self, module: str = LOAD, *arguments: str) -> None:
        """It loads its libraries, then waits for its plan. Raises TransientFailure if it cannot be started.

        `module` is told our process id after its own arguments.
        """
        with contextlib.ExitStack() as files:
            self._errors = files.enter_context(tempfile.TemporaryFile())
            self._result = files.enter_context(tempfile.TemporaryFile())
            try:
                self._process = subprocess.Popen(  # noqa: S603 - our own module, our own arguments
                    [sys.executable, "-P", "-m", module, *arguments, str(os.getpid())],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._errors,
                    pass_fds=[self._result.fileno()],
                    start_new_session=True,
                )
            except OSError as error:
                raise TransientFailure(f"the load generator cannot be started: {error}") from error
            self._files = files.pop_all()
        self._plan_pipe = cast(IO[bytes], self._process.stdin)  # PIPE was asked for, so neither is None
        self._message_pipe = cast(IO[bytes], self._process.stdout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.end()

    @property
    def result_descriptor(self) -> int:
        """Where the child, which inherits it under the same number, writes its result."""
        return self._result.fileno()

    def result(self) -> bytes:
        """What the child wrote there."""
        self._result.seek(0)
        return self._result.read()

    @property
    def process_id(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def tell(self, plan: LoadPlan) -> None:
        """Hand over the plan; the load starts. Raises TransientFailure if nobody listens."""
        try:
            self._plan_pipe.write(plan.to_json().encode() + b"\n")
            self._plan_pipe.flush()
        except OSError as error:
            raise self.failure("the load generator ended before it was told what to do") from error

    def start_at(self, start_s: float) -> None:
        """Tell a worker that is ready the monotonic time of its begin; it may have died already."""
        with contextlib.suppress(BrokenPipeError):
            self._plan_pipe.write(f"{start_s!r}\n".encode())
            self._plan_pipe.flush()

    def stop(self) -> None:
        """Ask it to end its run where it is; its result is then that of a shorter one. It may have ended already."""
        with contextlib.suppress(BrokenPipeError):
            self._plan_pipe.write(b"stop\n")
            self._plan_pipe.flush()

    def messages(self, *, until_s: float) -> Iterator[dict[str, object]]:
        """What the child says, until it says no more. Raises TransientFailure at `until_s` (monotonic)."""
        descriptor = self._message_pipe.fileno()
        text = b""
        while True:
            readable, _, _ = select.select([descriptor], [], [], max(0.0, until_s - monotonic()))
            if not readable:
                raise self.failure("the load generator did not finish in time")
            received = os.read(descriptor, READ_BYTES)
            if not received:
                return
            *lines, text = (text + received).split(b"\n")
            for line in lines:
                yield json.loads(line)

    def await_exit(self, *, until_s: float) -> None:
        """Raises TransientFailure if the child fails, or does not end by `until_s` (monotonic)."""
        try:
            code = self._process.wait(timeout=max(0.0, until_s - monotonic()))
        except subprocess.TimeoutExpired as error:
            raise self.failure("the load generator does not end") from error
        if code:
            raise self.failure(f"the load generator ended with {_status(code)}")

    def failure(self, message: str) -> TransientFailure:
        """The error to raise, with the last lines the child wrote on stderr."""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").splitlines()[-STDERR_LINES:]
        return TransientFailure("\n".join([message, *lines]))

    def end(self) -> None:
        """Kill it and everything it started, close the pipes and files. May be called again."""
        if self.alive:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._message_pipe.close()
        with contextlib.suppress(BrokenPipeError):  # what it did not read is lost, as intended
            self._plan_pipe.close()
        self._files.close()


def _status(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
