"""Several explanations of the same tests: under each arrival family, and from different starts, the best fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.special import logsumexp

from tuner.search.structured.observation import Floats, Observation
from tuner.search.structured.physics import COMPUTE_MS, CORE_MS, OVERHEAD_MS, PADDING, Physics
from tuner.search.structured.physics_fit import FULL_TEST, Evidence, Fit, draws, fit
from tuner.search.structured.queue_simulation import FAMILIES, arrivals
from tuner.search.structured.queue_tables import FAMILY_NAMES

# Numbers of tests after which every family is fitted afresh, also from other starts: fits are not free.
ALL_FITTED_AT = (1, 2, 3, 5, 8, 12)
POOR_FIT = 3.0
MOST_MODES = 4
LEAST_WEIGHT = 0.02
LOSS_TEMPER = 2.0
POISSON_IS_LIKELIER = 0.7
ALIKE = 0.5


@dataclass(frozen=True, slots=True)
class Mode:
    """One explanation, and how plausible it is beside the others: weights add to 1."""

    family: str
    fit: Fit
    weight: float


def explanations(
    physics: Physics, known: Evidence, observations: Sequence[Observation], before: Sequence[Mode]
) -> tuple[Mode, ...]:
    """The most plausible first. `before` are the modes of a shorter history: their fits are where these start.

    While little is known, every arrival family is fitted afresh, and the likeliest also from other starts: what looks
    like a slow accelerator may be bursts that pile up before the cores.
    """
    names = _families(physics, known, before)
    told = {name: _offered_score(physics, observations, name) if len(names) > 1 else 0.0 for name in names}
    found = [_fitted(physics, known, mode.family, mode.fit.theta) for mode in before if mode.family in names]
    if not len(known.rows):
        found = []
    centre = before[0].fit.theta if before else physics.prior.mean
    have = {name for name, _ in found}
    found += [_fitted(physics, known, name, centre) for name in names if name not in have]
    if len(known.rows) in ALL_FITTED_AT:
        likeliest = max(found, key=lambda one: told[one[0]] - _cost(one[1], known))
        found += [_fitted(physics, known, likeliest[0], start) for start in _other_starts(physics, known, likeliest[1])]
    scores = [told[name] - _cost(fitted, known) for name, fitted in found]
    return _plausible([Mode(name, fitted, score) for (name, fitted), score in zip(found, scores, strict=True)], physics)


def sampled(physics: Physics, known: Evidence, modes: Sequence[Mode], count: int) -> tuple[Floats, tuple[str, ...]]:
    """`count` + 1 draws in proportion to the modes' weights, each with its family; the likeliest fit comes first."""
    edges = np.cumsum([mode.weight for mode in modes])
    spots = (np.arange(count + 1) + 0.5) / (count + 1) * edges[-1]
    owners = np.minimum(np.searchsorted(edges, spots), len(modes) - 1)
    owners[0] = 0
    thetas = np.empty((count + 1, len(physics.prior.mean)))
    for k, mode in enumerate(modes):
        mine = np.flatnonzero(owners == k)
        if len(mine):
            many = max(len(mine) - 1, 1)
            seed = physics.terrain.seed + k
            thetas[mine] = draws(physics, known, mode.fit, family=mode.family, count=many, seed=seed)[: len(mine)]
    mixed = np.concatenate([[0], 1 + np.argsort(np.arange(count) * 7 % count, kind="stable")])
    return thetas[mixed], tuple(modes[int(owners[k])].family for k in mixed)


def test_noise(physics: Physics, known: Evidence, theta: Floats, family: str) -> Floats:
    """Standard deviation of the log of each test's tail latency that the queue alone accounts for."""
    if not len(known.rows):
        return np.zeros(0)
    found = physics.predict(theta[None], known.sites, family=family, offered_rps=known.offered_rps, sizes=known.sizes)
    return np.asarray(np.clip(found.noise[0], 0.0, 0.4))


def _families(physics: Physics, known: Evidence, before: Sequence[Mode]) -> tuple[str, ...]:
    if physics.terrain.family is not None:
        return (physics.terrain.family,)
    if before and len(known.rows) not in ALL_FITTED_AT:
        return tuple(dict.fromkeys(mode.family for mode in before))
    return tuple(name for name in FAMILY_NAMES if name != "constant")


def _fitted(physics: Physics, known: Evidence, family: str, start: Floats) -> tuple[str, Fit]:
    noise = test_noise(physics, known, start, family)
    return family, fit(physics, known, family=family, start=start, noise=noise)


def _cost(fitted: Fit, known: Evidence) -> float:
    """Minus the log of the evidence by Laplace, tempered: what no explanation explains must not choose among them."""
    if not len(known.rows):
        return 0.0
    spread = float(np.sum(np.log(fitted.believed)[np.isfinite(known.values)]))
    return (fitted.loss + spread) / LOSS_TEMPER + 0.5 * float(np.linalg.slogdet(fitted.precision)[1]) / LOSS_TEMPER


def _other_starts(physics: Physics, known: Evidence, best: Fit) -> list[Floats]:
    padded = best.theta.copy()
    padded[PADDING] = 2.5 if padded[PADDING] < 0.0 else -3.0
    if best.loss <= POOR_FIT * len(known.rows):
        return [padded]
    moved = [padded, physics.prior.mean]
    for place in (CORE_MS, COMPUTE_MS, OVERHEAD_MS):
        other = physics.prior.mean.copy()
        other[place] += 1.5
        moved.append(other)
    return moved


def _plausible(modes: Sequence[Mode], physics: Physics) -> tuple[Mode, ...]:
    """Weights from scores; of explanations that are the same the better one, and none that is hardly plausible."""
    width = 1.0 / np.sqrt(np.diag(physics.prior.precision))
    kept: list[Mode] = []
    for mode in sorted(modes, key=lambda one: -one.weight):
        alike = any(
            mode.family == other.family and np.max(np.abs(mode.fit.theta - other.fit.theta) / width) < ALIKE
            for other in kept
        )
        if not alike:
            kept.append(mode)
    scores = np.array([mode.weight for mode in kept])
    weights = np.exp(scores - logsumexp(scores))
    chosen = [k for k in range(len(kept)) if weights[k] >= LEAST_WEIGHT * weights[0]][:MOST_MODES]
    total = float(sum(weights[k] for k in chosen))
    return tuple(Mode(kept[k].family, kept[k].fit, float(weights[k]) / total) for k in chosen)


def _offered_score(physics: Physics, observations: Sequence[Observation], family: str) -> float:
    """Log likelihood of the measured offered rates, given how much 20,000 arrivals of a family vary.

    0 where the arrivals are known. Tests of another study were of another load.
    """
    if physics.terrain.family is not None:
        return 0.0
    score = POISSON_IS_LIKELIER if family == "poisson" else 0.0
    served = [seen for seen in observations if seen.outcome == "served" and seen.requests and not seen.doubt]
    for seen in served:
        off = np.log(seen.offered_rps / physics.terrain.offered_rps[seen.row])
        spread = np.hypot(offered_spread(family) * np.sqrt(FULL_TEST / seen.requests), 0.002)
        score += -0.5 * min((off / spread) ** 2, 12.0) - float(np.log(spread))
    return score


@cache
def offered_spread(family: str) -> float:
    """Standard deviation of the log of the rate seen over 20,000 arrivals."""
    chosen = next(one for one in FAMILIES if one.name == family)
    ends = [arrivals(chosen, FULL_TEST, seed)[-1] / FULL_TEST for seed in range(16)]
    return float(np.std(np.log(ends)))
