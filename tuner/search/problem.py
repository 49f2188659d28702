"""What an optimizer is told once: the space, the known cost, the load and the objectives."""

from __future__ import annotations

from dataclasses import dataclass

from tuner.domain.arrivals import mean_share
from tuner.domain.cost import Pricing
from tuner.domain.earlier import EarlierStudy
from tuner.domain.load import LoadProfile
from tuner.domain.slo import Slo
from tuner.domain.space import Configuration, SearchSpace
from tuner.domain.spec import StudySpec


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchProblem:
    """Minimise replicas x unit cost subject to the SLOs at `required_rps`; cost is exact, only capacity is unknown.

    `load` is what all replicas together will be sent in one search trial; None where nobody said how requests come.
    `earlier` are studies that an optimizer may learn from.
    """

    space: SearchSpace
    pricing: Pricing
    slos: tuple[Slo, ...]
    required_rps: float
    max_replicas: int
    seed: int
    load: LoadProfile | None = None
    earlier: tuple[EarlierStudy, ...] = ()

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


def search_problem(spec: StudySpec, earlier: tuple[EarlierStudy, ...] = ()) -> SearchProblem:
    """What a study asks, as an optimizer needs it."""
    return SearchProblem(
        space=spec.space,
        pricing=spec.pricing,
        slos=spec.slos,
        required_rps=spec.required_rps,
        max_replicas=spec.max_replicas,
        seed=spec.search.seed,
        load=spec.load_profile(replicas=1, window_s=spec.load.window_s, seed=spec.search.seed),
        earlier=earlier,
    )
