"""What `servetune gate` is asked to do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from tuner.domain.errors import UsageError
from tuner.gate.fingerprint import FIELDS
from tuner.gate.result import Mode, OnInconclusive
from tuner.load_options import duration_s
from tuner.place import CLUSTER_WE_RUN_IN, ClusterAccess

VERIFY_S = 1200.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GateOrder:
    """The command line of the gate. `deployed` is the study file of the revision that the lock file is of."""

    study: str
    lock: Path
    mode: Mode
    storage: str
    deployed: Path | None = None
    max_duration_s: float = 1200.0
    max_cost: float | None = None
    on_inconclusive: OnInconclusive = "fail"
    accepted: tuple[str, ...] = ()
    cache_dir: Path | None = None
    cache_age_s: float = 14 * 86_400.0
    propose: Path | None = None
    access: ClusterAccess = CLUSTER_WE_RUN_IN

    @property
    def reproduce(self) -> str:
        """The command that does this again."""
        deployed = f" --deployed {self.deployed}" if self.deployed else ""
        return f"servetune gate {self.study} --{self.mode} --lock {self.lock}{deployed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateWords:
    """Of the command line what has to be read before it means anything."""

    modes: Sequence[str]
    max_duration: str | None
    cache_age: str
    on_inconclusive: str


def gate_order(
    study: str,
    words: GateWords,
    *,
    lock: Path,
    storage: str,
    deployed: Path | None,
    max_cost: float | None,
    accepted: Sequence[str],
    cache_dir: Path | None,
    propose: Path | None,
    access: ClusterAccess,
) -> GateOrder:
    """Raises UsageError where the words do not say one thing."""
    if len(words.modes) != 1:
        raise UsageError("the gate does one thing at a time", hint="one of --check, --verify, --retune")
    unknown = [field for field in accepted if field not in FIELDS]
    if unknown:
        raise UsageError(f"unknown field {unknown[0]!r}", hint=f"one of {', '.join(FIELDS)}")
    if max_cost is not None and not max_cost > 0.0:
        raise UsageError(f"--max-cost {max_cost:g} is no amount", hint="above 0")
    return GateOrder(
        study=study,
        lock=lock,
        mode=cast(Mode, words.modes[0]),
        storage=storage,
        deployed=deployed,
        max_duration_s=_longest_s(words),
        max_cost=max_cost,
        on_inconclusive=cast(OnInconclusive, words.on_inconclusive),
        accepted=tuple(accepted),
        cache_dir=cache_dir,
        cache_age_s=duration_s(words.cache_age),
        propose=propose,
        access=access,
    )


def _longest_s(words: GateWords) -> float:
    """As told; else VERIFY_S, and for a whole study what its file allows."""
    if words.max_duration is not None:
        return duration_s(words.max_duration)
    return VERIFY_S if words.modes == ["verify"] else math.inf
