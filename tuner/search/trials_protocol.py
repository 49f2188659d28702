"""Any optimizer of trials on the benchmark's protocol: results become trials of one replica."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, assert_never

from tuner.domain.cost import Footprint, PriceBook, Pricing
from tuner.domain.deployment import Telemetry
from tuner.domain.histogram import LatencyCounts
from tuner.domain.measurement import LatencyMs, Measurement
from tuner.domain.recommendation import candidates
from tuner.domain.slo import Slo, Tally
from tuner.domain.space import Configuration, Knob, SearchSpace
from tuner.domain.trial import Failed, Infeasible, Level, Measured, Outcome, Phases, Proposal, Search, Trial
from tuner.search.optimizers import OptimizerOf
from tuner.search.problem import SearchProblem
from tuner.search.protocol import Costs, Info, Json, Question, Result


def problem_of(info: Mapping[str, Any], seed: int) -> SearchProblem:
    """The scenario as a search problem. Its money comes with each trial: the price book is empty."""
    knobs = tuple(Knob(name=name, values=tuple(_sorted(options))) for name, options in info["space"].items())
    return SearchProblem(
        space=SearchSpace(knobs=knobs),
        pricing=Pricing(book=PriceBook(currency="USD", term="on_demand", prices=()), footprint=Footprint()),
        slos=(Slo(indicator="latency_p99_ms", max=float(info["p99_limit_ms"])),),
        required_rps=float(info["target_rps"]),
        max_replicas=1,
        seed=seed,
    )


def _sorted(options: Sequence[Any]) -> Sequence[Any]:
    return options if any(isinstance(option, str) for option in options) else sorted(options)


def outcome_of(result: Mapping[str, Any], slo: Slo) -> Outcome:
    """A result as the loop would have recorded it."""
    if result["status"] == "ok":
        return Measured(levels=(Level(replicas=1, measurement=_measurement(result, slo)),))
    if result["status"] == "error":
        return Failed(error="the test failed")
    return Infeasible(reason=str(result["status"]))


def _measurement(result: Mapping[str, Any], slo: Slo) -> Measurement:
    requests = int(result["n_requests"])
    late = round(result["frac_over"] * requests)
    window_s = requests / result["offered_rps"]
    p50, p95, p99 = (float(result[f"p{rank}_ms"]) for rank in (50, 95, 99))
    return Measurement(
        offered_rps=result["offered_rps"],
        achieved_rps=result["throughput_rps"],
        answered_rps=result["throughput_rps"],
        window_s=window_s,
        requests=requests,
        errors=0,
        latency_ms=LatencyMs(p50=p50, p90=p95, p95=p95, p99=p99, p99_9=p99, max=p99, mean=p50),
        counts=LatencyCounts(counts=()),
        tallies=(Tally(slo=slo, requests=requests, bad=late, observed=p99),),
        send_lag_p99_ms=0.0,
        generator_cpu_ratio=0.0,
        generator_cpu_ms_per_request=0.0,
        first_error="",
        doubts=(),
        telemetry=Telemetry(),
    )


class TrialsSession:
    """One study: an optimizer over trials, and the cheapest candidate as the recommendation."""

    def __init__(self, make: OptimizerOf, info: Info, costs: Costs, seed: int) -> None:
        self.problem = problem_of(info, seed)
        self.optimizer = make(self.problem)
        self.costs = {Configuration.of(config).key: cost for config, cost in costs}
        self.history: tuple[Trial, ...] = ()

    def answer(self, question: Question) -> Json:
        match question:
            case "suggest":
                return self._suggest()
            case "recommend":
                return self._recommend()
            case _ as unreachable:
                assert_never(unreachable)

    def _suggest(self) -> Json:
        match self.optimizer.suggest(self.history):
            case Proposal(configuration=configuration):
                return {"config": configuration.as_dict()}
            case exhausted:
                return {"stop": True, "reason": exhausted.reason}

    def observe(self, config: Json, result: Result) -> None:
        configuration = Configuration.of(config)
        trial = Trial(
            number=len(self.history),
            purpose=Search(),
            configuration=configuration,
            unit_cost_per_hour=self.costs[configuration.key],
            seed=len(self.history),
            started_at="",
            phases=Phases(deploy_s=0.0, load_s=float(result.get("test_seconds", math.nan)), teardown_s=0.0),
            outcome=outcome_of(result, self.problem.slos[0]),
        )
        self.history = (*self.history, trial)

    def _recommend(self) -> Json:
        """The cheapest configuration whose test met the limit."""
        limit = self.problem.slos[0].max
        held = [
            candidate
            for candidate in candidates(self.history)
            if any(_p99(trial) <= limit for trial in self.history if trial.configuration == candidate.configuration)
        ]
        return {"config": held[0].configuration.as_dict() if held else None}


def _p99(trial: Trial) -> float:
    match trial.outcome:
        case Measured(levels=levels):
            return max(level.measurement.latency_ms.p99 for level in levels)
        case _:
            return math.inf
