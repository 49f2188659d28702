"""Measuring pairs: each side deployed afresh, the same arrivals on both, until the verdict is certain or time is up."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from tuner.domain.deployment import Deployment, telemetry_between
from tuner.domain.errors import InfeasibleConfiguration, InfrastructureError, InvalidMeasurement, TransientFailure
from tuner.domain.load import LoadProfile
from tuner.domain.measurement import Doubt, Measurement, measure
from tuner.domain.slo import Slo
from tuner.domain.space import Configuration
from tuner.domain.spec import StudySpec
from tuner.domain.trial import trial_seed
from tuner.gate.pairs import Pair, Reading, Side, order_of, reading_of
from tuner.trial_run import Bench

ATTEMPTS = 3
INVALID_IN_A_ROW = 3
OVERLOAD = 1.5
MOST_DOUBLINGS = 6
CALIBRATION_WINDOW_S = 3.0
FOREVER_S = 600.0
# Of a server that is kept busy only how much it finishes counts: what is sent a little late waits in its queue anyway.
NO_MATTER_WHEN_SATURATED = (Doubt.SEND_LAG, Doubt.START_SKEW)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredSide:
    """What one side is: a configuration of a study, and where it is deployed."""

    name: Side
    spec: StudySpec
    configuration: Configuration
    replicas: int
    bench: Bench


@dataclass(frozen=True, slots=True, kw_only=True)
class PairPlan:
    """How pairs are measured. One replica gets its part of the target load, then for a while `overload_rps`: what
    one deployed replica cannot carry.
    """

    saturation_s: float
    overload_rps: float
    seed: int


class CandidateInfeasible(InfeasibleConfiguration):
    """The candidate, and not the deployed spec, cannot serve."""


class PairStore(Protocol):
    """Pairs that an earlier gate measured of the same two things on the same machine."""

    def read(self, number: int) -> Pair | None: ...
    def write(self, pair: Pair) -> None: ...


Tell = Callable[[str], None]


def calibrated_rps(side: MeasuredSide, *, tell: Tell) -> float:
    """A load well above what the deployed side finishes: doubled until a fifth of it is left undone.

    Raises InfrastructureError where no load did that, InvalidMeasurement, TransientFailure, InfeasibleConfiguration.
    """
    rate_rps = OVERLOAD * side.spec.required_rps / side.replicas
    with side.bench.runner.deploy(
        side.configuration, deployment_id=_deployment_id(side, 0, "calibration-")
    ) as deployment:
        for attempt in range(MOST_DOUBLINGS):
            profile = _overload(side.spec, rate_rps, CALIBRATION_WINDOW_S, trial_seed(side.spec.search.seed, attempt))
            seen = _measured(side, deployment, profile, ())
            tell(f"finding the capacity: {rate_rps:.4g} rps offered, {seen.answered_rps:.4g} finished")
            if seen.answered_rps < 0.8 * seen.offered_rps:
                return OVERLOAD * seen.answered_rps
            rate_rps *= 2.0
    raise InfrastructureError(
        f"the deployed spec was not saturated by {rate_rps / 2.0:.4g} rps", hint="this machine sends no more"
    )


def measured_pairs(
    sides: dict[Side, MeasuredSide], plan: PairPlan, store: PairStore | None, tell: Tell
) -> Iterator[Pair]:
    """Pairs without end, numbered from 0: the consumer stops. One that cannot be measured is tried again.

    Raises InfrastructureError after INVALID_IN_A_ROW of those, InfeasibleConfiguration.
    """
    number = failures = 0
    while True:
        pair = store.read(number) if store else None
        if pair is None:
            try:
                pair = _pair(sides, plan, number, attempt=failures)
            except (InvalidMeasurement, TransientFailure) as error:
                failures += 1
                tell(f"pair {number + 1} does not count: {error.message}")
                if failures >= INVALID_IN_A_ROW:
                    raise InfrastructureError(
                        f"{failures} pairs in a row could not be measured, the last: {error.message}",
                        hint="mend the cause and run the gate again",
                    ) from error
                continue
            if store:
                store.write(pair)
        number, failures = number + 1, 0
        yield pair


def _pair(sides: dict[Side, MeasuredSide], plan: PairPlan, number: int, *, attempt: int) -> Pair:
    clock = sides["deployed"].bench.clock
    begin_s = clock.now_s()
    readings: dict[Side, Reading] = {}
    elapsed_s = 0.0
    for name in order_of(number):
        side = sides[name]
        side_begin_s = side.bench.clock.now_s()
        readings[name] = _served(side, overload_for(side, sides["deployed"], plan), number, attempt)
        elapsed_s += side.bench.clock.now_s() - side_begin_s
    if not readings["deployed"].saturated:
        raise InvalidMeasurement(
            f"the deployed side was not saturated by {plan.overload_rps:.4g} rps: it carries more than when calibrated"
        )
    return Pair(
        number=number,
        deployed=readings["deployed"],
        candidate=readings["candidate"],
        elapsed_s=max(elapsed_s, clock.now_s() - begin_s),
    )


def overload_for(side: MeasuredSide, deployed: MeasuredSide, plan: PairPlan) -> PairPlan:
    """The plan for one replica of a side: all replicas of either side together get the same overload."""
    return replace(plan, overload_rps=plan.overload_rps * deployed.replicas / side.replicas)


def _served(side: MeasuredSide, plan: PairPlan, number: int, attempt: int) -> Reading:
    try:
        return _reading(side, plan, number, attempt)
    except InfeasibleConfiguration as error:
        if side.name == "candidate":
            raise CandidateInfeasible(error.message, hint=error.hint) from error
        raise


def _reading(side: MeasuredSide, plan: PairPlan, number: int, attempt: int) -> Reading:
    """One fresh deployment."""
    with side.bench.runner.deploy(
        side.configuration, deployment_id=_deployment_id(side, ATTEMPTS * number + attempt)
    ) as deployment:
        return reading_on(side, deployment, plan, number)


def reading_on(side: MeasuredSide, deployment: Deployment, plan: PairPlan, number: int) -> Reading:
    """The target load, then more than it can carry. Raises InvalidMeasurement, TransientFailure."""
    spec = side.spec
    at_target = _believed(side, deployment, _target(side, plan), spec.slos, number=number)
    overload = _overload(spec, plan.overload_rps, plan.saturation_s, plan.seed)
    saturated = _believed(side, deployment, overload, (), number=number, forgiven=NO_MATTER_WHEN_SATURATED)
    return reading_of(
        at_target,
        saturated,
        replicas=side.replicas,
        timeout_s=spec.timeout_s,
        ready_after_s=deployment.ready_after_s,
        facts=deployment.facts,
    )


def _believed(
    side: MeasuredSide,
    deployment: Deployment,
    profile: LoadProfile,
    slos: Sequence[Slo],
    *,
    number: int,
    forgiven: Collection[Doubt] = (),
) -> Measurement:
    """Repeated while it spoils itself, with other arrivals. Raises InvalidMeasurement."""
    for attempt in range(ATTEMPTS):
        # Of the pair and the attempt alone: both sides get the same arrivals.
        seed = trial_seed(profile.seed, number, attempt)
        seen = _measured(side, deployment, replace(profile, seed=seed), slos)
        doubts = ", ".join(doubt for doubt in seen.doubts if doubt.spoils and doubt not in forgiven)
        if not doubts:
            return seen
    raise InvalidMeasurement(
        f"{ATTEMPTS} measurements spoiled themselves, the last by {doubts} "
        f"(send lag p99 {seen.send_lag_p99_ms:.1f} ms, generator CPU {seen.generator_cpu_ratio:.0%})"
    )


def _measured(side: MeasuredSide, deployment: Deployment, profile: LoadProfile, slos: Sequence[Slo]) -> Measurement:
    before = side.bench.runner.telemetry(deployment)
    run = side.bench.load.drive(deployment, profile)
    return measure(run, slos, telemetry_between(before, side.bench.runner.telemetry(deployment)))


def _target(side: MeasuredSide, plan: PairPlan) -> LoadProfile:
    """The load of the proof; never ended early, because both sides are to be seen whole."""
    window_s = side.spec.confirm.window_s * side.replicas
    return replace(side.spec.load_profile(replicas=side.replicas, window_s=window_s, seed=plan.seed), slos=())


def _overload(spec: StudySpec, rate_rps: float, window_s: float, seed: int) -> LoadProfile:
    """Evenly more than can be carried; every answer is awaited, however late."""
    profile = spec.load_profile(replicas=1, window_s=window_s, seed=seed)
    warmup_s = max(1.0, min(spec.load.warmup_s, window_s))
    return replace(
        profile, arrivals="poisson", offered_rps=rate_rps, warmup_s=warmup_s, timeout_s=_patience_s(window_s), slos=()
    )


def _patience_s(window_s: float) -> float:
    return min(FOREVER_S, 10.0 * window_s + 60.0)


def _deployment_id(side: MeasuredSide, number: int, purpose: str = "") -> str:
    return f"gate-{side.spec.fingerprint[:8] or 'study'}-{side.name}-{purpose}{number}"


def pair_estimate_s(spec: StudySpec, plan: PairPlan, overhead_s: float, *, replicas: int) -> float:
    """Seconds that a pair is likely to take: two deployments, two windows each, and the backlog of the second."""
    saturation_s = OVERLOAD * (plan.saturation_s + max(1.0, min(spec.load.warmup_s, plan.saturation_s)))
    return 2.0 * (overhead_s + spec.confirm.window_s * replicas + saturation_s)


def most_pairs_within(budget_s: float, used_s: float, pair_s: float, most: int) -> int:
    """How many pairs fit into the time that is left."""
    return min(most, max(0, math.floor((budget_s - used_s) / pair_s)))
