"""How many replicas when: bounds, target and patience of an autoscaler, from what a study measured."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tuner.domain.arrival_kinds import Arrivals, Diurnal, Periodic, Ramp, Replay, Shape, Spike, Steps
from tuner.domain.arrivals import PARTS_OF_MEAN, share_at
from tuner.domain.deployable import Deployable

HOURS_OF_A_RECORDING = 24
FEWEST_AN_HOUR = 10
# Kubernetes' own default for scaling down, and the longest it allows.
CALM_S = 300
MOST_CALM_S = 3600
MOST_PERIOD_S = 1800
USUAL_PERIOD_S = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSwing:
    """The lowest and the highest rate as shares of the offered rate.

    `gradual`: it moves so that a scaler can follow. `flat`: why nothing is known of a swing; empty where it is.
    """

    valley: float
    peak: float
    gradual: bool
    flat: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingPlan:
    """`replica_rps` is the mean rate of a replica that the scaler aims at.

    A replica that is no longer needed stays for `calm_s`; new ones come at most every `period_s`, so that those on
    their way count. `notes` say what was not known.
    """

    replica_rps: float
    least: int
    most: int
    calm_s: int
    period_s: int
    notes: tuple[str, ...]


def load_swing(arrivals: Arrivals | None, *, offered_requests: float) -> LoadSwing:
    """How far a load moves; `offered_requests` are as many as a measurement of it had."""
    match arrivals:
        case Ramp() | Diurnal():
            return _shaped(arrivals, gradual=True)
        case Steps() | Spike() | Periodic():
            return _shaped(arrivals, gradual=False)
        case Replay():
            return _recorded(arrivals, offered_requests)
        case None:
            return LoadSwing(valley=1.0, peak=1.0, gradual=False, flat="a lock file does not keep the load's shape")
        case _:
            return LoadSwing(valley=1.0, peak=1.0, gradual=False, flat="the study's load is the same all the time")


def scaling_plan(of: Deployable, *, least: int | None = None, most: int | None = None) -> ScalingPlan:
    """The plan for the study's own load; stated bounds take the place of those.

    Each replica was measured at peak x required / replicas, and keeps the headroom free: so peak x target / replicas is
    what a scaler may aim at, and at the valley valley / peak of the replicas carry it.
    """
    swing = load_swing(of.arrivals, offered_requests=of.replica_rps * of.window_s)
    notes = []
    lowest = math.ceil(of.replicas * swing.valley / swing.peak - 1e-9) if swing.gradual else of.replicas
    if least is None and not swing.gradual:
        why = swing.flat or "the study's load jumps, and a replica takes a cold start to come"
        notes.append(f"{why}: the fewest replicas are those for its peak (--min-replicas states others)")
    if of.cold_start_s is None:
        notes.append("the cold start was not measured: Kubernetes' own patience is kept")
    lower = max(1, lowest if least is None else least)
    upper = max(lower, of.replicas if most is None else most)
    if most is not None and most > of.replicas:
        notes.append(f"more than {of.replicas} replicas side by side were not measured")
    return ScalingPlan(
        replica_rps=swing.peak * of.target_rps / of.replicas,
        least=lower,
        most=upper,
        calm_s=calm_s(of.cold_start_s),
        period_s=USUAL_PERIOD_S
        if of.cold_start_s is None
        else min(MOST_PERIOD_S, max(USUAL_PERIOD_S, math.ceil(of.cold_start_s))),
        notes=tuple(notes),
    )


def calm_s(cold_start_s: float | None) -> int:
    """How long a replica is kept that seems not to be needed: Kubernetes' 300 s, and at least two cold starts."""
    return min(MOST_CALM_S, max(CALM_S, math.ceil(2.0 * (cold_start_s or 0.0))))


def _shaped(shape: Shape, *, gradual: bool) -> LoadSwing:
    # A shape of one unit of time is the same shape; only triggers count in seconds of their own.
    length_s = shape.every_s if isinstance(shape, Periodic) else 1.0
    shares = [share_at(shape, k / PARTS_OF_MEAN * length_s, length_s) for k in range(PARTS_OF_MEAN + 1)]
    return LoadSwing(valley=min(shares), peak=max(shares), gradual=gradual)


def _recorded(replay: Replay, offered_requests: float) -> LoadSwing:
    """The emptiest and the fullest of 24 equal parts of a recording, against its mean."""
    count = len(replay.starts_s)
    if count < HOURS_OF_A_RECORDING * FEWEST_AN_HOUR or offered_requests < count:
        why = "too short to show a day" if offered_requests >= count else "longer than what a replica was measured with"
        return LoadSwing(valley=1.0, peak=1.0, gradual=False, flat=f"the recording is {why}")
    parts = [0] * HOURS_OF_A_RECORDING
    for start_s in replay.starts_s:
        parts[min(HOURS_OF_A_RECORDING - 1, int(start_s / replay.length_s * HOURS_OF_A_RECORDING))] += 1
    mean = count / HOURS_OF_A_RECORDING
    return LoadSwing(valley=min(parts) / mean, peak=max(parts) / mean, gradual=True)
