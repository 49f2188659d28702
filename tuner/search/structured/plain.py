"""The plain model: a Gaussian process over knob positions that knows nothing of servers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.linalg import cho_solve, cholesky

from tuner.search.structured.observation import Floats, Ints, Terrain

LENGTHS = (0.25, 0.5, 1.0, 2.0)
SIGNALS = (0.6, 1.2, 2.4)
OWN = (0.04, 0.2, 0.5)
RELEVANCES = (0.3, 2.5)
MOST_FOR_SETTING = 120
CATEGORY_DISTANCE = 0.7
TREND = 0.7
PRIOR_LEVEL = 0.8
PRIOR_SLOPE = -0.6
PRIOR_TESTS = 2.0


@dataclass(frozen=True, slots=True)
class Setting:
    """Length scale per feature, and standard deviations: of what neighbours share, and of each candidate's own."""

    lengths: Floats
    signal: float
    own: float


@dataclass(frozen=True, slots=True)
class Process:
    """A fitted process: predicts mean and standard deviation of the true value, without the noise of a test."""

    rows: Ints
    points: Floats
    setting: Setting
    level: float
    weights: Floats
    factor: Floats

    def predict(self, rows: Ints, points: Floats) -> tuple[Floats, Floats]:
        cross = kernel(points, self.points, self.setting) + self.setting.own**2 * (rows[:, None] == self.rows)
        mean = self.level + PRIOR_SLOPE * points[:, 0] + cross @ self.weights
        solved = cho_solve((self.factor, True), cross.T)
        prior = self.setting.signal**2 + self.setting.own**2 + TREND**2 * points[:, 0] ** 2
        variance = prior - np.einsum("ij,ji->i", cross, solved)
        return mean, np.sqrt(np.maximum(variance, 1e-6))


def features(terrain: Terrain) -> Floats:
    """Candidates x features: first the standardised log cost, then every knob's position (or one column a label)."""
    log_cost = np.log(np.maximum(terrain.cost, 1e-12))
    columns = [(log_cost - log_cost.mean()) / (log_cost.std() or 1.0)]
    for knob in terrain.knobs:
        if len(knob.labels) < 2:
            continue
        if knob.numbers is None:
            columns += [CATEGORY_DISTANCE * (knob.positions == k) for k in range(len(knob.labels))]
        else:
            columns.append(_scaled(np.array(knob.numbers))[knob.positions])
    return np.column_stack([np.asarray(column, dtype=np.float32) for column in columns]).astype(np.float32)


def _scaled(numbers: Floats) -> Floats:
    """Half by rank, half by the logarithm (where there is one), onto [0, 1]."""
    rank = np.linspace(0.0, 1.0, len(numbers))
    if numbers.min() <= 0.0:
        return rank
    logs = np.log(numbers)
    return np.asarray(0.5 * rank + 0.5 * (logs - logs[0]) / (logs[-1] - logs[0]))


def kernel(first: Floats, second: Floats, setting: Setting) -> Floats:
    """Matern 5/2 plus a linear trend in the log cost."""
    trend = TREND**2 * first[:, [0]] * second[:, 0]
    return matern(first, second, setting) + trend


def matern(first: Floats, second: Floats, setting: Setting) -> Floats:
    left, right = first / setting.lengths, second / setting.lengths
    square = np.sum(left**2, axis=1)[:, None] + np.sum(right**2, axis=1) - 2.0 * left @ right.T
    distance = np.sqrt(5.0 * np.maximum(square, 0.0))
    shape = (1.0 + distance + distance**2 / 3.0) * np.exp(-distance)
    return np.asarray(setting.signal**2 * shape)


def learn(rows: Ints, points: Floats, values: Floats, noise: Floats) -> Process:
    """Settings by marginal likelihood over a grid, then one pass over the features' relevance.

    `noise` are the standard deviations of the tests; what differs between candidates beyond it is their own.
    """
    falling = values - PRIOR_SLOPE * points[:, 0]
    level = float((falling.sum() + PRIOR_TESTS * PRIOR_LEVEL) / (len(values) + PRIOR_TESTS))
    left = falling - level
    latest = slice(-MOST_FOR_SETTING, None)
    chosen = _choose(rows[latest], points[latest], left[latest], noise[latest])
    factor = _factor(rows, points, noise, chosen)
    return Process(rows, points, chosen, level, cho_solve((factor, True), left), factor)


def _factor(rows: Ints, points: Floats, noise: Floats, setting: Setting) -> Floats:
    own = setting.own**2 * (rows[:, None] == rows)
    covariance = kernel(points, points, setting) + own + np.diag(noise**2)
    return np.asarray(cholesky(covariance, lower=True, check_finite=False))


def _choose(rows: Ints, points: Floats, values: Floats, noise: Floats) -> Setting:
    width = points.shape[1]
    if len(values) < 4:
        return Setting(np.full(width, 0.7), 1.2, 0.2)

    def evidence(setting: Setting) -> float:
        factor = _factor(rows, points, noise, setting)
        fitted = float(values @ cho_solve((factor, True), values, check_finite=False))
        shrink = 0.05 * float(np.sum(np.log(setting.lengths) ** 2)) + 0.5 * np.log(setting.signal) ** 2
        return float(-0.5 * fitted - np.sum(np.log(np.diag(factor))) - shrink)

    grid = [Setting(np.full(width, length), signal, own) for length, signal, own in product(LENGTHS, SIGNALS, OWN)]
    reached, best = max(((evidence(setting), k) for k, setting in enumerate(grid)), key=lambda pair: pair[0])
    return _relevant(grid[best], reached, evidence) if len(values) >= 8 else grid[best]


def _relevant(best: Setting, reached: float, evidence: Callable[[Setting], float]) -> Setting:
    """One pass over the features: each may matter more or less than the others."""
    for k in range(len(best.lengths)):
        for relevance in RELEVANCES:
            lengths = best.lengths.copy()
            lengths[k] *= relevance
            tried = Setting(lengths, best.signal, best.own)
            value = evidence(tried)
            if value > reached:
                best, reached = tried, value
    return best
