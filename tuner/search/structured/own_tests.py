"""What a candidate's own tests say of it, whatever the models say: log(latency / limit) of each, and their noise."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, stdtr

from tuner.search.structured.observation import Floats

LEAST_SPREAD = 0.02
MODELS_OUTVOTE = 0.6
CLEARLY_OVER = 1.0
HOPELESS = 0.1
ENOUGH_ALONE = 3
LEAST_DEVIATION = 0.03
FINALIST_EDGES = (-0.8, -0.25)


def chance_alone(values: Floats, noise: Floats) -> float:
    """P[meets the limit] by these tests alone."""
    spread = np.hypot(noise.mean() / np.sqrt(len(noise)), LEAST_SPREAD)
    return float(ndtr(-np.median(values) / spread))


def tempered(believed: float, values: Floats, noise: Floats) -> float:
    """What the models believe, and no more than the tests allow: they outvote one test in part, many hardly."""
    outvoted = MODELS_OUTVOTE / len(values)
    return min(believed, 1.0 - (1.0 - outvoted) * (1.0 - chance_alone(values, noise)))


def proved_alone(values: Floats) -> float:
    """P[meets the limit] by at least ENOUGH_ALONE tests and Student's t; else 0."""
    if len(values) < ENOUGH_ALONE:
        return 0.0
    spread = max(float(values.std(ddof=1)), LEAST_DEVIATION) / np.sqrt(len(values))
    return float(stdtr(len(values) - 1, -values.mean() / spread))


def is_refuted(values: Floats, noise: Floats) -> bool:
    """One test says so clearly, or several together."""
    if len(values) < 2:
        return bool(values[0] > CLEARLY_OVER)
    return chance_alone(values, noise) < HOPELESS


def tests_owed(values: Floats) -> int:
    """A finalist is tested afresh, the oftener the nearer it is to the limit: one good test may be luck."""
    value = float(np.median(values))
    return 1 + sum(value > edge for edge in FINALIST_EDGES)
