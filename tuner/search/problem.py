"""What an optimizer is told once: the space, the known cost, the load and the objectives."""

from __future__ import annotations

from dataclasses import dataclass

from tuner.domain.cost import Pricing
from tuner.domain.slo import Slo
from tuner.domain.space import Configuration, SearchSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchProblem:
    """Minimise replicas x unit cost subject to the SLOs at `required_rps`; cost is exact, only capacity is unknown."""

    space: SearchSpace
    pricing: Pricing
    slos: tuple[Slo, ...]
    required_rps: float
    max_replicas: int
    seed: int

    def unit_cost_per_hour(self, configuration: Configuration) -> float:
        return self.pricing.unit_cost_per_hour(configuration)

    @property
    def replica_counts(self) -> tuple[int, ...]:
        return tuple(range(1, self.max_replicas + 1))
