"""The two sides of `gate --verify`: what the lock file says is deployed, and what the study asks for now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tuner import __version__
from tuner.commands import conclusion_now
from tuner.domain.errors import LockUnusable, UsageError
from tuner.domain.recommendation import NothingFeasible, Proven
from tuner.domain.space import Configuration
from tuner.domain.spec import StudySpec
from tuner.domain.trial import Trial
from tuner.gate.cost import Bought, lent_prices
from tuner.gate.fingerprint import ASKED, differences, fingerprint_of, model_identity, runner_text
from tuner.gate.lock import Lock
from tuner.gate_order import GateOrder
from tuner.spec_file import load_spec

REPRODUCED_MODEL = "name the study file of the deployed revision: --deployed FILE"
UNPROVEN = (
    "this study has no proven answer in the storage: the candidate is the locked spec with the model and settings that "
    "the study names now"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """What is compared: the lock file's spec as a study describes it, and what the study file asks for now."""

    deployed: StudySpec
    candidate: StudySpec
    configuration: Configuration
    replicas: int
    notes: tuple[str, ...] = ()

    def bought(self, needed_rps: float) -> Bought:
        """The candidate's spec for so much load, all of which its replicas just carry."""
        return Bought(
            configuration=self.configuration,
            footprint=self.candidate.pricing.footprint,
            replicas=self.replicas,
            required_rps=needed_rps,
            carried_rps=needed_rps / self.replicas,
        )


def sides_of(order: GateOrder, lock: Lock, spec: StudySpec, history: Sequence[Trial]) -> Sides | NothingFeasible:
    """Raises LockUnusable where the deployed spec is not here, or the study asks for something else than the lock."""
    deployed = spec if order.deployed is None else load_spec(order.deployed)
    if model_identity(deployed) != lock.fingerprint.model:
        found = model_identity(deployed)
        where = order.deployed or order.study
        raise LockUnusable(
            f"the lock file is of model {lock.fingerprint.model}, {where} names {found}", hint=REPRODUCED_MODEL
        )
    if "runner" not in order.accepted and runner_text(deployed) != lock.fingerprint.runner:
        where = order.deployed or order.study
        raise LockUnusable(
            f"the lock file is of {lock.fingerprint.runner} for a replica, {where} says {runner_text(deployed)}",
            hint=REPRODUCED_MODEL,
        )
    for asked in (deployed, spec):
        now = fingerprint_of(asked, lock.configuration, (), (), tool=__version__)
        other = [one for one in differences(lock.fingerprint, now, ASKED) if one.field not in order.accepted]
        then_rps, now_rps = lock.load.target_rps, asked.load.target_rps
        if other or (then_rps, lock.load.headroom) != (now_rps, asked.headroom):
            words = [*map(str, other), *([f"load: {then_rps:g} -> {now_rps:g} rps"] if then_rps != now_rps else [])]
            raise LockUnusable(
                f"the lock file is of another question: {'; '.join(words) or 'headroom'}",
                hint="tune anew, and servetune baseline update",
            )
    sides = _candidate(lock, deployed, spec, history)
    if isinstance(sides, NothingFeasible):
        return sides
    # Asked before the minutes of measuring, not after them.
    lent = lent_prices(sides.bought(spec.required_rps), old=lock.pricing, new=spec.pricing)
    return replace(sides, notes=(*sides.notes, *lent))


def _candidate(lock: Lock, deployed: StudySpec, spec: StudySpec, history: Sequence[Trial]) -> Sides | NothingFeasible:
    """The proven answer; without one the locked configuration. Raises UsageError where the study has no such one."""
    conclusion = conclusion_now(spec, history) if history else None
    if isinstance(conclusion, Proven):
        proven = conclusion.evidence.candidate
        return Sides(deployed=deployed, candidate=spec, configuration=proven.configuration, replicas=proven.replicas)
    if isinstance(conclusion, NothingFeasible):
        return conclusion
    if lock.configuration not in spec.space:
        raise UsageError(
            f"{spec.name} has no proven answer, and the locked {lock.configuration} is none of its configurations",
            hint="tune first: servetune tune",
        )
    return Sides(
        deployed=deployed,
        candidate=spec,
        configuration=lock.configuration,
        replicas=lock.spec.replicas,
        notes=(UNPROVEN,),
    )
