"""`servetune gate`: the lock file beside what is there now, in one of three ways."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import assert_never

from rich.console import Console
from rich.text import Text

from tuner import __version__
from tuner.commands import find_study
from tuner.gate.check import check
from tuner.gate.result import GateResult
from tuner.gate_order import GateOrder
from tuner.lock_file import read_lock


def run_gate(order: GateOrder, console: Console, *, quiet: bool = False) -> GateResult:
    """Raises LockUnusable, SpecError, UsageError, BudgetRefused, InfrastructureError."""
    lock = read_lock(order.lock, today=datetime.now(UTC).date())
    spec, history = find_study(order.study, order.storage)

    def told(line: str) -> None:
        if not quiet:
            console.print(Text(line), soft_wrap=True)

    match order.mode:
        case "check":
            return check(lock, spec, tool=__version__, reproduce=order.reproduce, on_inconclusive=order.on_inconclusive)
        case "verify":
            from tuner.gate_verify import verify

            return verify(order, lock, spec, history, told)
        case "retune":
            from tuner.gate_retune import retune

            return retune(order, lock, spec, console, quiet=quiet)
        case _ as unreachable:
            assert_never(unreachable)
