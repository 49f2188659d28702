"""A world for optimizers: trials of configurations whose behaviour is a plain formula, without any server."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tests.specs import a_price
from tuner.domain.arrivals import intended_starts_s
from tuner.domain.cost import Footprint, PriceBook, Pricing
from tuner.domain.deployment import Telemetry
from tuner.domain.load import GeneratorHealth, LoadProfile, LoadRun, Payload, Samples
from tuner.domain.measurement import Measurement, measure
from tuner.domain.slo import Slo, Verdict
from tuner.domain.space import Configuration, SearchSpace
from tuner.domain.trial import (
    Infeasible,
    Level,
    Measured,
    Outcome,
    Phases,
    Proposal,
    Purpose,
    Search,
    Trial,
)
from tuner.ports import Optimizer
from tuner.search.problem import SearchProblem

LIMIT_MS = 100.0
REQUIRED_RPS = 120.0

World = Callable[[Configuration, tuple[int, ...]], Outcome]


def a_problem(space: SearchSpace, *, max_replicas: int = 2, seed: int = 5) -> SearchProblem:
    """Cores cost money, and so does a whole GPU of each of two types."""
    prices = (a_price(), a_price("gpu", 0.4, "T4"), a_price("gpu", 1.6, "V100"))
    return SearchProblem(
        space=space,
        pricing=Pricing(book=PriceBook(currency="USD", term="on_demand", prices=prices), footprint=Footprint()),
        slos=(Slo(indicator="latency_p99_ms", max=LIMIT_MS),),
        required_rps=REQUIRED_RPS,
        max_replicas=max_replicas,
        seed=seed,
    )


def a_measurement(
    *, offered_rps: float, latency_ms: float, carried_rps: float = math.inf, late: int = 0
) -> Measurement:
    """Ten seconds in which every request took so long, but the first `late` ones nine times the limit.

    What exceeds `carried_rps` was never answered.
    """
    profile = LoadProfile(
        arrivals="constant",
        offered_rps=offered_rps,
        warmup_s=0.0,
        window_s=10.0,
        timeout_s=1.0,
        payload=Payload(),
        seed=0,
    )
    starts_s = intended_starts_s(profile)
    answered = len(starts_s) if math.isinf(carried_rps) else int(carried_rps * profile.window_s)
    samples = Samples(
        intended_s=starts_s,
        sent_s=starts_s,
        done_s=tuple(start + (9.0 * LIMIT_MS if k < late else latency_ms) / 1000.0 for k, start in enumerate(starts_s)),
        ok=tuple(k < answered for k in range(len(starts_s))),
    )
    health = GeneratorHealth(cpu_ratio=0.0, cpu_ms_per_request=0.0, workers_lost=0)
    run = LoadRun(profile=profile, samples=samples, generator=health)
    return measure(run, (Slo(indicator="latency_p99_ms", max=LIMIT_MS),), Telemetry())


def queue_world(configuration: Configuration, replica_counts: tuple[int, ...]) -> Outcome:
    """Capacity grows with cores and batch size; as in the loop, more replicas are tried until one level holds."""
    cores = configuration.number("cpu_cores", 1.0)
    batch = configuration.number("max_batch_size", 1.0)
    if batch > 8 * cores:
        return Infeasible(reason="out of memory")
    capacity_rps = 20.0 * cores * math.sqrt(batch)
    levels: list[Level] = []
    for replicas in replica_counts:
        offered_rps = REQUIRED_RPS / replicas
        load = offered_rps / capacity_rps
        latency_ms = 20.0 / (1.0 - load) if load < 0.98 else 900.0
        measurement = a_measurement(offered_rps=offered_rps, latency_ms=latency_ms, carried_rps=capacity_rps)
        levels.append(Level(replicas=replicas, measurement=measurement))
        if levels[-1].verdict is not Verdict.FAIL:
            break
    return Measured(levels=tuple(levels))


def always(outcome: Outcome) -> World:
    return lambda _configuration, _replica_counts: outcome


def a_trial(
    problem: SearchProblem,
    number: int,
    configuration: Configuration,
    outcome: Outcome,
    purpose: Purpose | None = None,
) -> Trial:
    return Trial(
        number=number,
        purpose=purpose or Search(),
        configuration=configuration,
        unit_cost_per_hour=problem.unit_cost_per_hour(configuration),
        seed=number,
        started_at="2026-11-22T12:00:00Z",
        phases=Phases(deploy_s=2.0, load_s=10.0, teardown_s=1.0),
        outcome=outcome,
    )


def explore(
    make: Callable[[], Optimizer],
    problem: SearchProblem,
    world: World,
    *,
    trials: int,
    history: Sequence[Trial] = (),
) -> tuple[Trial, ...]:
    """The history after so many more trials, or fewer if the optimizer has nothing left; `make` is asked each time."""
    done = tuple(history)
    for _ in range(trials):
        proposal = make().suggest(done)
        if not isinstance(proposal, Proposal):
            break
        outcome = world(proposal.configuration, proposal.replica_counts)
        done = (*done, a_trial(problem, len(done), proposal.configuration, outcome))
    return done
