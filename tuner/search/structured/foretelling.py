"""How well what the server tells of itself was foretold: unlike its latency, it is hardly ever right by luck."""

from __future__ import annotations

import numpy as np

from tuner.search.structured.beliefs import PhysicalBelief
from tuner.search.structured.observation import Observation
from tuner.search.structured.physics_fit import SPREAD, evidence, predicted_channels

# Time on the cores, time of a batch, and its part on the accelerator: the first channels of the evidence.
TOLD = 3
# The models are only that: how far off they are where nothing was fitted yet (standard deviation of a logarithm).
MISFIT = 0.15
FREEDOM = 4.0


def telemetry_density(belief: PhysicalBelief, seen: Observation) -> float:
    """Log density, up to a constant of the test, of a served test's telemetry; 0 where the server told nothing.

    Student's t around the draws' mean, with their spread: a draw of many cannot be near by luck, and one surprise
    does not settle everything.
    """
    known = evidence(belief.physics, [seen])
    values = known.values[:TOLD, 0]
    told = np.isfinite(values)
    if not told.any():
        return 0.0
    found = np.empty((len(belief.thetas), TOLD))
    for name in dict.fromkeys(belief.families):
        chosen = [k for k, family in enumerate(belief.families) if family == name]
        found[chosen] = predicted_channels(belief.physics, known, belief.thetas[chosen], name)[:, :TOLD, 0]
    spread = np.sqrt(found.var(axis=0) + SPREAD[:TOLD] ** 2 + MISFIT**2)
    z = (values - found.mean(axis=0)) / spread
    each = -np.log(spread) - 0.5 * (FREEDOM + 1.0) * np.log1p(z**2 / FREEDOM)
    return float(each[told].sum())
