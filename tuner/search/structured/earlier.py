"""What earlier studies say: their tests with doubt added, or only how fast such models run, as a prior by parameter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tuner.search.structured.observation import Floats, Observation, Terrain
from tuner.search.structured.physics import Physics, Prior, physics_of
from tuner.search.structured.physics_fit import evidence, fit

SAME_LOAD = 0.03
FEWEST_TESTS = 3
# How much a parameter differs from one model to another, as a share of what was thought possible beforehand: guessed
# for one earlier model, and learned from the third one on.
BETWEEN_MODELS = 0.5
BETWEEN_STUDIES = 0.15
GUESS_WEIGHT = 3.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one earlier study says of the parameters: by name, in logarithms, with standard deviations.

    `between` is how much another study may differ, as a share of the prior's spread.
    """

    means: dict[str, float]
    spreads: dict[str, float]
    between: float


@dataclass(frozen=True, slots=True)
class Earlier:
    """Tests of the same model on rows of this terrain, and estimates from studies whose tests are none of its rows."""

    observations: tuple[Observation, ...] = ()
    parameters: tuple[Estimate, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.observations or self.parameters)


NO_EARLIER = Earlier()


def at_the_same_load(terrain: Terrain, observations: Sequence[Observation]) -> list[Observation]:
    """What the plain model can use: it knows nothing of loads."""
    return [
        seen
        for seen in observations
        if seen.outcome != "served" or abs(np.log(seen.offered_rps / terrain.offered_rps[seen.row])) < SAME_LOAD
    ]


def estimate(terrain: Terrain, observations: Sequence[Observation], *, same_model: bool) -> Estimate | None:
    """The physics fitted to another study's tests on its own terrain; None where they are too few."""
    physics = physics_of(terrain)
    known = evidence(physics, observations)
    if len(known.rows) < FEWEST_TESTS:
        return None
    found = fit(
        physics,
        known,
        family=terrain.family or "poisson",
        start=physics.prior.mean,
        noise=np.full(len(known.rows), 0.1),
    )
    spreads = np.sqrt(np.diag(np.linalg.inv(found.precision)))
    names = physics.prior.names
    return Estimate(
        means=dict(zip(names, found.theta.tolist(), strict=True)),
        spreads=dict(zip(names, spreads.tolist(), strict=True)),
        between=BETWEEN_STUDIES if same_model else BETWEEN_MODELS,
    )


def with_prior(physics: Physics, estimates: Sequence[Estimate]) -> Physics:
    """The physics with a hierarchical prior: each parameter is drawn around a mean that the earlier studies share.

    Of a parameter that k studies estimated, they count as one measurement with the variance of that mean plus the
    variance between studies (DerSimonian and Laird's random effects, with a guess of the latter worth GUESS_WEIGHT
    studies).
    """
    if not estimates:
        return physics
    prior = physics.prior
    usual = np.sqrt(np.diag(np.linalg.inv(prior.precision)))
    told, precision = prior.mean.copy(), np.zeros(len(usual))
    for k, name in enumerate(prior.names):
        found = [(one.means[name], one.spreads[name], one.between) for one in estimates if name in one.means]
        if found:
            told[k], variance = _shared(np.array(found), float(usual[k]))
            precision[k] = 1.0 / variance
    total = prior.precision + np.diag(precision)
    mean = np.linalg.solve(total, prior.precision @ prior.mean + precision * told)
    return replace(physics, prior=Prior(np.asarray(mean), total, prior.names))


def _shared(found: Floats, usual: float) -> tuple[float, float]:
    """(mean, variance) for one more study, from rows of estimate, its standard deviation, and the guessed share."""
    values, spreads, between = found.T
    guess = (between * usual) ** 2
    weight = 1.0 / (guess + spreads**2)
    centre = float(weight @ values / weight.sum())
    excess = max(float(np.sum((values - centre) ** 2 - spreads**2)), 0.0)
    variance = (GUESS_WEIGHT * float(guess.mean()) + excess) / (GUESS_WEIGHT + len(values) - 1.0)
    weight = 1.0 / (variance + spreads**2)
    return float(weight @ values / weight.sum()), float(1.0 / weight.sum()) + variance
