"""What an optimizer is told once: the space, the known cost, the load and the objectives."""

from __future__ import annotations

from dataclasses import dataclass

from tuner.domain.arrivals import mean_share
from tuner.domain.cost import Pricing
from tuner.domain.load import LoadProfile
from tuner.domain.slo import Slo
from tuner.domain.space import Configuration, SearchSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchProblem:
    """Minimise replicas x unit cost subject to the SLOs at `required_rps`; cost is exact, only capacity is unknown.

    `load` is what all replicas together will be sent in one search trial; None where nobody said how requests come.
    """

    space: SearchSpace
    pricing: Pricing
    slos: tuple[Slo, ...]
    required_rps: float
    max_replicas: int
    seed: int
    load: LoadProfile | None = None

    def unit_cost_per_hour(self, configuration: Configuration) -> float:
        return self.pricing.unit_cost_per_hour(configuration)

    @property
    def replica_counts(self) -> tuple[int, ...]:
        return tuple(range(1, self.max_replicas + 1))

    @property
    def mean_rps(self) -> float:
        """What arrives per second on average: shapes offer the required rate at their peak only."""
        if self.load is None:
            return self.required_rps
        return self.required_rps * mean_share(self.load.arrivals, self.load.window_s)
