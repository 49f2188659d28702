"""`servetune gate`: the lock file beside what is there now, in one of three ways."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import assert_never

from rich.console import Console
from rich.text import Text

from tuner import __version__
from tuner.commands import STUDY_SUFFIXES, find_study, storage_exists
from tuner.domain.spec import StudySpec
from tuner.domain.trial import Trial
from tuner.gate.check import check
from tuner.gate.fingerprint import refuse_unknown_place
from tuner.gate.result import GateResult
from tuner.gate_order import GateOrder
from tuner.lock_file import read_lock


def asked(order: GateOrder) -> tuple[StudySpec, tuple[Trial, ...]]:
    """The study of a file as it is now, with its trials where it was tuned like that; or one by its name.

    Unlike for tuning, the storage may hold a study of this name with other content: a release changes it.
    Raises SpecError, UsageError.
    """
    from tuner.history import read_study, study_names
    from tuner.spec_file import load_spec

    if not order.study.endswith(STUDY_SUFFIXES) and not Path(order.study).is_file():
        return find_study(order.study, order.storage)
    spec = load_spec(Path(order.study))
    if not storage_exists(order.storage) or spec.name not in study_names(order.storage):
        return spec, ()
    known, trials = read_study(order.storage, spec.name)
    return spec, trials if known.fingerprint == spec.fingerprint else ()


def run_gate(order: GateOrder, console: Console, *, quiet: bool = False) -> GateResult:
    """Raises LockUnusable, SpecError, UsageError, BudgetRefused, InfrastructureError."""
    lock = read_lock(order.lock, today=datetime.now(UTC).date())
    spec, history = asked(order)
    refuse_unknown_place(spec)

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
