"""What the user asked for, as frozen values. Reading it from a file is `tuner.spec_file`'s work."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from tuner.domain.arrival_kinds import Arrivals
from tuner.domain.cluster import ClusterOptions
from tuner.domain.cost import Pricing, required_rps
from tuner.domain.deployment import KserveProtocol, ModelRef
from tuner.domain.load import LoadProfile, Payload
from tuner.domain.slo import PERCENT, Slo
from tuner.domain.space import KnobValue, SearchSpace

LEAST_ROUNDS = 4
RunnerKind = Literal["local", "simulated", "container", "kubernetes", "replay"]
OptimizerName = Literal["random", "grid", "tpe", "gp", "forest", "structured"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerSpec:
    """Which runner, and its own options (deadlines, the simulated service's physics, ...).

    `parallel_trials` are carried out at once; `auto`: as many as there is room for.
    """

    kind: RunnerKind
    ready_timeout_s: float = 60.0
    options: tuple[tuple[str, KnobValue], ...] = ()
    kubernetes: ClusterOptions | None = None
    parallel_trials: int | Literal["auto"] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSpec:
    """The load the service as a whole must carry, and how long one search trial measures."""

    arrivals: Arrivals
    target_rps: float
    warmup_s: float
    window_s: float
    timeout_s: float | None
    payload: Payload
    protocol: KserveProtocol = "kserve_http"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmSpec:
    """The winner is deployed afresh `repeats` times and measured `window_s` each, times its replicas.

    One of r replicas gets 1/r of the load, so r times the window shows as many requests.
    """

    repeats: int = 3
    window_s: float = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What the study may use. `failed_trials` in a row end it: the machine is at fault."""

    trials: int
    wall_time_s: float
    failed_trials: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSpec:
    """`warm_start` names the studies of the same storage to learn from; `auto`: those of the same model."""

    optimizer: OptimizerName
    seed: int
    warm_start: Literal["auto"] | tuple[str, ...] = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySpec:
    """One study, validated."""

    name: str
    model: ModelRef
    runner: RunnerSpec
    space: SearchSpace
    load: LoadSpec
    slos: tuple[Slo, ...]
    pricing: Pricing
    headroom: float
    max_replicas: int
    confirm: ConfirmSpec
    budget: Budget
    search: SearchSpec
    fingerprint: str = field(default="", compare=False)

    @property
    def required_rps(self) -> float:
        """The load all replicas together must carry, headroom included."""
        return required_rps(self.load.target_rps, self.headroom)

    @property
    def at_once(self) -> int:
        """At most so many trials run at once.

        `auto` leaves the search at least four rounds to learn in: beside each other, trials learn nothing of one
        another.
        """
        asked = self.runner.parallel_trials
        return max(1, math.ceil(self.budget.trials / LEAST_ROUNDS)) if asked == "auto" else asked

    @property
    def surely_at_once(self) -> int:
        """So many trials a plan may count on: where the room decides, one."""
        asked = self.runner.parallel_trials
        return 1 if asked == "auto" else asked

    @property
    def timeout_s(self) -> float:
        """When an answer no longer counts: as stated, else 1 s or five times the widest latency limit."""
        limits_s = [slo.max / 1000.0 for slo in self.slos if slo.indicator in PERCENT]
        return self.load.timeout_s or max(1.0, 5.0 * max(limits_s, default=0.0))

    def load_profile(self, *, replicas: int, window_s: float, seed: int) -> LoadProfile:
        """What one of so many replicas gets."""
        return LoadProfile(
            arrivals=self.load.arrivals,
            offered_rps=self.required_rps / replicas,
            warmup_s=self.load.warmup_s,
            window_s=window_s,
            timeout_s=self.timeout_s,
            payload=self.load.payload,
            seed=seed,
            slos=self.slos,
        )
