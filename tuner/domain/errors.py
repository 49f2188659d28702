"""Errors, named by the reaction they ask for.

TunerError(message, hint)
|-- SpecError                  the study file is wrong: every problem at once        exit 2
|-- UsageError                 the command cannot be carried out as asked            exit 2
|-- BudgetRefused              the estimate does not fit the budget                  exit 8
|-- LockUnusable               the lock file is missing, damaged, stale    exit 6
|-- TargetRefused              load was asked for a target nobody allowed            exit 9
|-- InfrastructureError        the machine failed again and again                    exit 7
|-- InfeasibleConfiguration    this configuration cannot serve: recorded, go on
|-- TransientFailure           the world failed: retry, then record as Failed
|-- InvalidMeasurement         the measurement spoiled itself: repeat, then Failed
`-- CleanupFailed              something still runs: stop and say what                exit 7
"""

from __future__ import annotations

from dataclasses import dataclass


class TunerError(Exception):
    """An error with a hint: what the reader can do about it."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a file, and where (line and column count from 1)."""

    file: str
    line: int
    column: int
    message: str
    hint: str = ""

    def __str__(self) -> str:
        tail = f" ({self.hint})" if self.hint else ""
        return f"{self.file}:{self.line}:{self.column}: {self.message}{tail}"


class SpecError(TunerError):
    """A file the user wrote is wrong. Carries every problem found, in file order."""

    exit_code = 2

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class UsageError(TunerError):
    """The command cannot be carried out as asked."""

    exit_code = 2


class BudgetRefused(TunerError):
    """The smallest possible study does not fit the budget."""

    exit_code = 8


class LockUnusable(TunerError):
    """The lock file cannot be compared with: missing, damaged, of a newer format, stale, or of something else."""

    exit_code = 6


class TargetRefused(TunerError):
    """Load was asked for a target that the user did not allow."""

    exit_code = 9


class InfrastructureError(TunerError):
    """The machine, not the configuration, failed again and again."""

    exit_code = 7


class InfeasibleConfiguration(TunerError):
    """This configuration cannot serve; the optimizer is told."""


class TransientFailure(TunerError):
    """The world failed; the optimizer is not told, a retry may follow."""


class InvalidMeasurement(TunerError):
    """The measurement spoiled itself; repeat it, never believe it."""


class CleanupFailed(TunerError):
    """Something that costs money still runs."""

    exit_code = 7
