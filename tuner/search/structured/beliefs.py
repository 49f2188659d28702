"""What three models together believe of every candidate: physics with residuals, a plain process, and no structure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.linalg import cho_solve, cholesky
from scipy.special import logsumexp, ndtr

from tuner.search.structured.modes import Mode, explanations, sampled, test_noise
from tuner.search.structured.observation import Floats, Ints, Observation, Terrain
from tuner.search.structured.physics import Physics, Predicted
from tuner.search.structured.physics_fit import FULL_TEST, SATURATED, Evidence, evidence
from tuner.search.structured.plain import Process, Setting, learn, matern

LOW, HIGH = -3.0, 2.0
OVERLOADED, GIVEN_UP = 0.5, 2.5
DRAWS = 32
FEW = 3
RESIDUAL_SCALES = (0.08, 0.15, 0.3, 0.6, 1.0)
RESIDUAL_LENGTH = 0.8
OWN_SPREADS = (0.04, 0.1, 0.25)
TEST_NOISE = 0.04
UNSTARTED = 1.5
REPEATS_BELIEVED = 3.0
TEMPERED_TESTS = 3.0


@dataclass(frozen=True, slots=True)
class Guess:
    """A mixture of normals for log(latency / limit) at some rows: draws x rows, and one spread per row."""

    means: Floats
    spread: Floats

    def feasible(self) -> Floats:
        return np.asarray(ndtr(-self.means / self.spread).mean(axis=0))

    def log_density(self, value: float, noise: float) -> float:
        """Of one observed value at the first row, censored at both ends."""
        spread = np.hypot(self.spread[0], noise)
        z = (value - self.means[:, 0]) / spread
        each = -0.5 * z**2 - np.log(spread * np.sqrt(2 * np.pi))
        if value <= LOW:
            each = np.log(ndtr(z) + 1e-12)
        if value == GIVEN_UP:
            each = np.log(ndtr((self.means[:, 0] - OVERLOADED) / spread) + 1e-12)
        return float(np.maximum(logsumexp(each) - np.log(len(each)), -8.0))


@dataclass(frozen=True, slots=True)
class Tested:
    """All observations that say something about latency, as arrays: which rows, log(latency / limit), its noise."""

    rows: Ints
    values: Floats
    noise: Floats


def severity(terrain: Terrain, seen: Observation) -> float:
    """log(latency / limit) up to a ceiling; of a saturated server, the ceiling plus the log of its overload.

    Of a server that was given up on, a ceiling alone: what it finished says little of what it could.
    """
    value = float(np.clip(np.log(max(seen.latency_ms, 1e-6) / terrain.limit_ms), LOW, HIGH))
    if seen.throughput_rps < SATURATED * seen.offered_rps:
        if not np.isfinite(seen.latency_ms):
            return GIVEN_UP
        return max(value, OVERLOADED) + min(float(np.log(seen.offered_rps / max(seen.throughput_rps, 1e-6))), 4.0)
    return value


def pooled(terrain: Terrain, observations: Sequence[Observation], noise: Floats | None) -> Tested:
    served = [seen for seen in observations if seen.outcome == "served"]
    values = np.array([severity(terrain, seen) for seen in served])
    few = np.array([np.sqrt(FULL_TEST / max(seen.requests, 50)) for seen in served])
    base = np.full(len(served), 0.06) if noise is None else np.asarray(noise)
    rows = np.array([seen.row for seen in served], dtype=np.int64)
    expected = np.hypot(np.hypot(TEST_NOISE, base) * np.clip(few, 0.7, 8.0), [seen.doubt for seen in served])
    return Tested(rows, values, expected * _surprise(rows, values, expected))


def _surprise(rows: Ints, values: Floats, expected: Floats) -> float:
    """By how much repeated tests of the same candidates differ more than expected; at least 1."""
    square, count = REPEATS_BELIEVED, REPEATS_BELIEVED
    for row in np.unique(rows):
        mine = (rows == row) & (values < 0.8)
        if mine.sum() >= 2:
            off = (values[mine] - values[mine].mean()) / expected[mine]
            square, count = square + float(off @ off), count + float(mine.sum() - 1)
    return float(np.sqrt(max(square / count, 1.0)))


@dataclass(frozen=True, slots=True)
class Leftover:
    """What the physics leaves open: standard deviations of what neighbours share, and of each candidate's own."""

    shared: float
    own: float
    inverse: Floats


@dataclass(frozen=True, slots=True)
class PhysicalBelief:
    """The physics after all observations, with a process over what it leaves unexplained."""

    physics: Physics
    modes: tuple[Mode, ...]
    thetas: Floats
    families: tuple[str, ...]
    known: Evidence
    unexplained: Floats
    points: Floats
    left: Leftover

    def guess(self, rows: Ints, points: Floats, *, few: bool = False) -> Guess:
        """Draws x rows; only the first FEW draws if a rough answer will do."""
        means = self.raw(rows, few=few)
        spread = np.full(len(rows), np.hypot(self.left.shared, self.left.own))
        if len(self.known.rows):
            cross = _residual_kernel(points, self.points, self.left.shared)
            cross += self.left.own**2 * (rows[:, None] == self.known.rows)
            gain = cross @ self.left.inverse
            means = means + self.unexplained[: len(means)] @ gain.T
            variance = spread**2 - np.sum(gain * cross, axis=1)
            spread = np.sqrt(np.maximum(variance, 1e-4))
        return Guess(means, spread)

    def raw(self, rows: Ints, *, few: bool = False) -> Floats:
        """Severity by the physics alone: draws x rows."""
        terrain = self.physics.terrain
        sites = self.physics.sites(rows)
        count = FEW if few else len(self.thetas)
        means = np.empty((count, len(rows)))
        for name in dict.fromkeys(self.families[:count]):
            chosen = [k for k, family in enumerate(self.families[:count]) if family == name]
            found = self.physics.predict(
                self.thetas[chosen], sites, family=name, offered_rps=terrain.offered_rps[rows], sizes=sites.batch
            )
            means[chosen] = predicted_severity(terrain, found, terrain.offered_rps[rows])
        return means


def predicted_severity(terrain: Terrain, found: Predicted, offered_rps: Floats) -> Floats:
    """The counterpart of `severity`."""
    latency = np.clip(found.log_tail_ms - np.log(terrain.limit_ms), LOW, HIGH)
    return np.asarray(latency + np.clip(np.log(offered_rps) - found.log_capacity_rps, 0.0, 4.0))


def believe_physics(
    physics: Physics, observations: Sequence[Observation], features: Floats, before: Sequence[Mode]
) -> PhysicalBelief:
    """Explain, draw, and learn what is left over; `before` is what explained a shorter history."""
    terrain = physics.terrain
    known = evidence(physics, observations)
    modes = explanations(physics, known, observations, before)
    noise = test_noise(physics, known, modes[0].fit.theta, modes[0].family)
    thetas, families = sampled(physics, known, modes, DRAWS)
    data = pooled(terrain, observations, _all_noise(noise, observations) if len(known.rows) else None)
    latest = slice(len(data.rows) - len(known.rows), None)
    data = Tested(data.rows[latest], data.values[latest], data.noise[latest])
    explained = _explained(physics, known, thetas, families)
    unexplained = np.where(known.collapsed & (explained > OVERLOADED), 0.0, data.values - explained)
    points = features[known.rows]
    left = _residual_fit(points, known.rows, unexplained[0], data.noise)
    kept = _resample(unexplained, left.inverse)
    thetas, unexplained, families = thetas[kept], unexplained[kept], tuple(families[k] for k in kept)
    return PhysicalBelief(physics, modes, thetas, families, known, unexplained, points, left)


def _resample(unexplained: Floats, inverse: Floats) -> Ints:
    """Which draws to keep, by how well they explain the tests; the fit itself stays first.

    The likelihood is tempered: with few draws in many dimensions the plain one would leave a single draw.
    """
    count, tests = unexplained.shape
    if not tests:
        return np.arange(count)
    misfit = np.einsum("ij,jk,ik->i", unexplained, inverse, unexplained) / max(1.0, tests / TEMPERED_TESTS)
    weight = np.exp(-0.5 * (misfit - misfit.min()))
    edges = np.cumsum(weight) / weight.sum()
    kept = np.searchsorted(edges, (np.arange(count) + 0.5) / count)
    return np.concatenate([[0], np.minimum(kept[1:], count - 1)])


def _all_noise(noise: Floats, observations: Sequence[Observation]) -> Floats:
    served = sum(seen.outcome == "served" for seen in observations)
    return np.concatenate([np.full(served - len(noise), 0.1), noise])


def _explained(physics: Physics, known: Evidence, thetas: Floats, families: tuple[str, ...]) -> Floats:
    found = np.zeros((len(thetas), len(known.rows)))
    if len(known.rows):
        for name in dict.fromkeys(families):
            chosen = [k for k, family in enumerate(families) if family == name]
            seen = physics.predict(
                thetas[chosen], known.sites, family=name, offered_rps=known.offered_rps, sizes=known.sizes
            )
            found[chosen] = predicted_severity(physics.terrain, seen, known.offered_rps)
    return found


def _residual_kernel(first: Floats, second: Floats, scale: float) -> Floats:
    setting = Setting(np.full(first.shape[1], RESIDUAL_LENGTH), scale, 0.0)
    return matern(first, second, setting)


def _residual_fit(points: Floats, rows: Ints, left: Floats, noise: Floats) -> Leftover:
    """The spreads by marginal likelihood with a prior for small ones, and the inverse of the tests' covariance.

    A second pass trusts outliers less: a hiccup of one deployment says little about its neighbours.
    """
    if not len(rows):
        return Leftover(0.15, OWN_SPREADS[0], np.zeros((0, 0)))
    inverse = _scaled_fit(points, rows, left, noise).inverse
    alone = inverse @ left / np.diag(inverse)  # leave-one-out residuals
    spread = 1.0 / np.sqrt(np.diag(inverse))
    return _scaled_fit(points, rows, left, noise * np.sqrt(np.maximum(1.0, np.abs(alone) / spread / 1.5)))


def _scaled_fit(points: Floats, rows: Ints, left: Floats, noise: Floats) -> Leftover:
    same, unit = rows[:, None] == rows, _residual_kernel(points, points, 1.0)
    best, chosen = -np.inf, (RESIDUAL_SCALES[0], OWN_SPREADS[0], np.eye(len(rows)))
    for shared, own in product(RESIDUAL_SCALES, OWN_SPREADS):
        factor = np.asarray(cholesky(shared**2 * unit + own**2 * same + np.diag(noise**2), lower=True))
        value = -0.5 * float(left @ cho_solve((factor, True), left)) - float(np.sum(np.log(np.diag(factor))))
        value -= 0.5 * (np.log(shared / 0.15) / 0.7) ** 2 + 0.5 * (np.log(own / OWN_SPREADS[0]) / 1.0) ** 2
        if value > best:
            best, chosen = value, (shared, own, factor)
    return Leftover(chosen[0], chosen[1], np.asarray(cho_solve((chosen[2], True), np.eye(len(rows)))))


def believe_plain(terrain: Terrain, observations: Sequence[Observation], features: Floats) -> Process | None:
    """The plain process over served tests; None before there are two."""
    data = pooled(terrain, observations, None)
    return learn(data.rows, features[data.rows], data.values, data.noise) if len(data.rows) >= 2 else None


def structureless(terrain: Terrain, observations: Sequence[Observation]) -> Guess:
    """No candidate differs from another in anything but luck: the values seen so far, and a wide one."""
    values = pooled(terrain, observations, None).values
    centres = np.concatenate([values, [1.0, 0.0, -1.0]])
    return Guess(centres[:, None], np.array([0.6]))
