"""What a study does next, as a pure function of its history and of what runs beside it: resume is replay."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tuner.domain.recommendation import (
    Candidate,
    Conclusion,
    Evidence,
    NothingFeasible,
    NoVerdict,
    Proven,
    Standing,
    Unproven,
    candidates,
    closest_miss,
    evidence_for,
)
from tuner.domain.space import Configuration
from tuner.domain.spec import StudySpec
from tuner.domain.trial import Confirmation, Failed, Measured, Search, Trial, studied_s
from tuner.domain.underway import ALONE, Pending, Underway

# What a deployment costs beside its load before any was seen: start, readiness, teardown.
ASSUMED_OVERHEAD_S = 8.0


@dataclass(frozen=True, slots=True)
class SearchNext:
    """Ask the optimizer for a configuration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmNext:
    """Deploy a candidate afresh for the `repeat`-th time (from 0)."""

    candidate: Candidate
    repeat: int


@dataclass(frozen=True, slots=True)
class AwaitNext:
    """Begin nothing before one of the trials underway has ended: what it shows decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    conclusion: Conclusion


Step = SearchNext | ConfirmNext | AwaitNext | Finish


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Seconds, from what this study has seen so far; a deployment takes `overhead_s` beside its window.

    `elapsed_s` is the time used up to now, by `studied_s`.
    """

    overhead_s: float
    window_s: float
    proof_window_s: float
    elapsed_s: float

    @property
    def search_trial_s(self) -> float:
        return self.overhead_s + self.window_s

    def confirmation_s(self, replicas: int = 1) -> float:
        """One proof of a candidate with so many replicas."""
        return self.overhead_s + replicas * self.proof_window_s

    def ends_s(self, one: Pending) -> float:
        """When a trial is likely to end that runs, on the study's own clock."""
        purpose = one.purpose
        takes_s = self.confirmation_s(purpose.replicas) if isinstance(purpose, Confirmation) else self.search_trial_s
        return max(self.elapsed_s, one.began_s + takes_s)


def estimate(spec: StudySpec, history: Sequence[Trial], underway: Underway = ALONE) -> Estimate:
    """Time used, and what one more search trial or confirmation is likely to take."""
    measured = [(t, t.outcome) for t in history if isinstance(t.outcome, Measured)]
    overheads_s = [
        trial.phases.elapsed_s - sum(level.measurement.window_s for level in outcome.levels)
        for trial, outcome in measured
    ]
    assumed_s = ASSUMED_OVERHEAD_S + spec.load.warmup_s
    return Estimate(
        overhead_s=sum(overheads_s) / len(overheads_s) if overheads_s else assumed_s,
        window_s=spec.load.window_s,
        proof_window_s=spec.confirm.window_s,
        elapsed_s=studied_s(history) if underway.now_s is None else underway.now_s,
    )


def proof_s(spec: StudySpec, history: Sequence[Trial], at_once: int = 1) -> float:
    """What the whole proof of the cheapest candidate so far is likely to take; of one replica before there is one.

    Its repeats run side by side, as far as so many trials may.
    """
    best = candidates(history)
    replicas = best[0].replicas if best else 1
    return math.ceil(spec.confirm.repeats / at_once) * estimate(spec, history).confirmation_s(replicas)


def next_step(spec: StudySpec, history: Sequence[Trial], *, exhausted: str = "", underway: Underway = ALONE) -> Step:
    """Search while trials and time for a proof are left, then prove the cheapest candidate, else the next one.

    A search that ended early goes on when its candidates were refuted. `exhausted` is the optimizer's reason for
    having nothing to propose as the history stands. What is underway counts as used, of every budget; a study does not
    finish before it has ended, and a proof begins only where nothing underway could find a cheaper candidate.
    """
    if exhausted and underway.searching:
        return AwaitNext()
    step = _wanted(spec, history, exhausted, underway)
    return AwaitNext() if isinstance(step, Finish) and underway.pending else step


def _wanted(spec: StudySpec, history: Sequence[Trial], exhausted: str, underway: Underway) -> Step:
    ended = search_ended(spec, history, exhausted=exhausted, underway=underway)
    if not ended and not _proofs_begun(history, underway):
        return SearchNext()
    stuck: Evidence | None = None
    for candidate in contenders(spec, history):
        evidence = evidence_for(candidate, history)
        match evidence.standing(spec.confirm.repeats):
            case Standing.PROVEN:
                return Finish(conclusion=Proven(evidence=evidence))
            case Standing.OPEN:
                return _confirm_or_stop(spec, history, evidence, stuck, underway)
            case Standing.STUCK:
                stuck = stuck or evidence
            case Standing.REFUTED:
                continue
    if not ended:
        return SearchNext()
    if stuck is not None:
        return Finish(
            conclusion=Unproven(evidence=stuck, reason="its proof is undecided, and cannot come out any more")
        )
    return Finish(conclusion=_nothing(history))


def _proofs_begun(history: Sequence[Trial], underway: Underway) -> bool:
    purposes = (*(trial.purpose for trial in history), *(one.purpose for one in underway.pending))
    return any(isinstance(purpose, Confirmation) for purpose in purposes)


def contenders(spec: StudySpec, history: Sequence[Trial]) -> tuple[Candidate, ...]:
    """The candidates, cheapest first, and for each one that its proof did not bear out the same with a replica more."""
    found = dict.fromkeys(candidates(history))
    unchecked = list(found)
    while unchecked:
        candidate = unchecked.pop()
        standing = evidence_for(candidate, history).standing(spec.confirm.repeats)
        if standing in (Standing.REFUTED, Standing.STUCK) and candidate.replicas < spec.max_replicas:
            more = replace(candidate, replicas=candidate.replicas + 1)
            if more not in found:
                found[more] = None
                unchecked.append(more)
    return tuple(sorted(found, key=lambda candidate: candidate.cost_per_hour))


def search_ended(spec: StudySpec, history: Sequence[Trial], *, exhausted: str = "", underway: Underway = ALONE) -> str:
    """Why no more search trial is made; empty while there is room for one and for the proof of a winner after it."""
    if exhausted:
        return exhausted
    searching = underway.searching
    searched = sum(isinstance(trial.purpose, Search) for trial in history) + len(searching)
    if searched >= spec.budget.trials:
        return f"all {spec.budget.trials} search trials were used"
    if len(tried(history) | {one.configuration for one in searching}) >= len(spec.space):
        return f"all {len(spec.space)} configurations were tried"
    cost = estimate(spec, history, underway)
    ends_s = max([cost.elapsed_s + cost.search_trial_s, *(cost.ends_s(one) for one in underway.pending)])
    if ends_s + proof_s(spec, history, underway.at_once) > spec.budget.wall_time_s:
        return f"the rest of the {spec.budget.wall_time_s:g} s is kept for the proof"
    return ""


def tried(history: Sequence[Trial]) -> frozenset[Configuration]:
    """The configurations that something was learned about."""
    return frozenset(trial.configuration for trial in history if not isinstance(trial.outcome, Failed))


def _confirm_or_stop(
    spec: StudySpec, history: Sequence[Trial], evidence: Evidence, stuck: Evidence | None, underway: Underway
) -> ConfirmNext | AwaitNext | Finish:
    candidate = evidence.candidate
    running = underway.proving(candidate.configuration, candidate.replicas)
    free = [repeat for repeat in range(spec.confirm.repeats) if repeat not in running | _seen(evidence, history)]
    cheaper = any(one.least_cost_per_hour <= candidate.cost_per_hour for one in underway.searching)
    if cheaper or not free:
        return AwaitNext()
    cost = estimate(spec, history, underway)
    if cost.elapsed_s + cost.confirmation_s(candidate.replicas) > spec.budget.wall_time_s:
        reason = f"the {spec.budget.wall_time_s:g} s of wall time were used up before its proof was complete"
        return Finish(conclusion=Unproven(evidence=stuck or evidence, reason=reason))
    return ConfirmNext(candidate=candidate, repeat=free[0])


def _seen(evidence: Evidence, history: Sequence[Trial]) -> frozenset[int]:
    """Which repeats of a candidate's proof were measured."""
    candidate = evidence.candidate
    return frozenset(
        trial.purpose.repeat
        for trial in history
        if isinstance(trial.purpose, Confirmation) and isinstance(trial.outcome, Measured)
        if (trial.configuration, trial.purpose.replicas) == (candidate.configuration, candidate.replicas)
    )


def _nothing(history: Sequence[Trial]) -> NothingFeasible | NoVerdict:
    told = [trial for trial in history if not isinstance(trial.outcome, Failed)]
    if not told:
        return NoVerdict(reason="no trial was measured")
    refuted = any(isinstance(t.outcome, Measured) and t.outcome.plausible for t in told)
    reason = "every candidate was refuted by its proof" if refuted else "no configuration tried could meet the SLOs"
    return NothingFeasible(reason=reason, closest=closest_miss(history))
