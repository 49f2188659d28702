"""A study's answer as something to deploy: so many replicas of one configuration, and what that rests on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tuner.domain.arrival_kinds import Arrivals
from tuner.domain.capacity import Capacity, Probe, capacity_of
from tuner.domain.cluster import ClusterOptions
from tuner.domain.cost import Pricing
from tuner.domain.deployment import ModelRef
from tuner.domain.recommendation import Candidate, Evidence, Proven, Unproven, evidence_for
from tuner.domain.slo import Slo, Verdict
from tuner.domain.space import Configuration
from tuner.domain.spec import RunnerKind, StudySpec
from tuner.domain.trial import Confirmation, Measured, Trial

HOURS_PER_MONTH = 730


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployable:
    """What is to be deployed, and everything known of it that a file for a cluster may say.

    `unproven` says why it is not proven, and is empty where it is. `capacity` is of one replica, as mean rates of the
    load's own shape: PASS was certain at its lower end, FAIL at its upper. `cold_start_s` is the longest time that one
    of its deployments took from being asked for to ready, None where there was none. `as_of` is when it was last
    measured (ISO 8601), empty where it never was or is not kept.
    `arrivals` is None where the source does not keep the load's shape.
    """

    study: str
    unproven: str
    fingerprint: str
    model: ModelRef
    runner: RunnerKind
    configuration: Configuration
    replicas: int
    unit_cost_per_hour: float
    pricing: Pricing
    slos: tuple[Slo, ...]
    arrivals: Arrivals | None
    window_s: float
    target_rps: float
    required_rps: float
    headroom: float
    capacity: Capacity
    cold_start_s: float | None
    deployments: int
    as_of: str
    cluster: ClusterOptions | None = None

    @property
    def cost_per_hour(self) -> float:
        return self.replicas * self.unit_cost_per_hour

    @property
    def cost_per_month(self) -> float:
        return self.cost_per_hour * HOURS_PER_MONTH

    @property
    def simulated(self) -> bool:
        return self.runner == "simulated"

    @property
    def replica_rps(self) -> float:
        """The full rate that each replica was asked to carry, headroom included: what was proven, where it was."""
        return self.required_rps / self.replicas


def deployable(spec: StudySpec, history: Sequence[Trial], conclusion: Proven | Unproven) -> Deployable:
    """The answer of a study."""
    evidence = conclusion.evidence
    candidate = evidence.candidate
    own = tuple(_proofs(candidate, history))
    measured_at = [trial.started_at for trial in history if trial.configuration == candidate.configuration]
    return Deployable(
        study=spec.name,
        unproven=" ".join(conclusion.reason.split()) if isinstance(conclusion, Unproven) else "",
        fingerprint=spec.fingerprint,
        model=spec.model,
        runner=spec.runner.kind,
        configuration=candidate.configuration,
        replicas=candidate.replicas,
        unit_cost_per_hour=candidate.unit_cost_per_hour,
        pricing=spec.pricing,
        slos=spec.slos,
        arrivals=spec.load.arrivals,
        window_s=candidate.replicas * spec.confirm.window_s,
        target_rps=spec.load.target_rps,
        required_rps=spec.required_rps,
        headroom=spec.headroom,
        capacity=capacity_seen(candidate.configuration, history),
        cold_start_s=max((trial.phases.deploy_s for trial in own), default=None),
        deployments=len(evidence.runs),
        as_of=max(measured_at, default=""),
        cluster=spec.runner.kubernetes,
    )


def capacity_seen(configuration: Configuration, history: Sequence[Trial]) -> Capacity:
    """What one replica was certainly seen to carry, and certainly not to carry, in all trials of a configuration.

    Proofs with the same number of replicas are pooled, as the study itself judges them.
    """
    return capacity_of(tuple(_probes(configuration, history)))


def _probes(configuration: Configuration, history: Sequence[Trial]) -> Iterator[Probe]:
    proved: dict[int, Candidate] = {}
    for trial in history:
        if trial.configuration != configuration or not isinstance(trial.outcome, Measured):
            continue
        if isinstance(trial.purpose, Confirmation):
            replicas = trial.purpose.replicas
            proved[replicas] = Candidate(
                configuration=configuration, replicas=replicas, unit_cost_per_hour=trial.unit_cost_per_hour
            )
            continue
        yield from (_probe(level.measurement.offered_rps, level.verdict) for level in trial.outcome.levels)
    for candidate in proved.values():
        evidence = evidence_for(candidate, history)
        yield _probe(_mean_rps(evidence), evidence.verdict)


def _probe(offered_rps: float, verdict: Verdict) -> Probe:
    return Probe(offered_rps=offered_rps, verdict=verdict, looks_good=verdict is Verdict.PASS, settled=True)


def _mean_rps(evidence: Evidence) -> float:
    return sum(run.requests for run in evidence.runs) / sum(run.window_s for run in evidence.runs)


def _proofs(candidate: Candidate, history: Sequence[Trial]) -> Iterator[Trial]:
    """The deployments of the candidate that came to serve; those of the search, where it was never deployed afresh."""
    served = [t for t in history if t.configuration == candidate.configuration and isinstance(t.outcome, Measured)]
    proofs = [t for t in served if isinstance(t.purpose, Confirmation) and t.purpose.replicas == candidate.replicas]
    yield from proofs or served
