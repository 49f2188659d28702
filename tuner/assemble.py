"""The only module that knows back-ends by name: one plain dict per port, heavy imports inside the factories.

The optimizers' dict is `tuner.search.optimizers`, because the search is also a program of its own.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import NoReturn, Protocol

from reports.study_report import Provenance, StudyReport
from tuner import __version__
from tuner.assemble_cluster import Finding, SeenLoad, check_cluster, clean_cluster, cluster_bench, cluster_preflight
from tuner.clock import SystemClock, wall_clock_text
from tuner.domain.deployment import Deployment, Telemetry
from tuner.domain.earlier import NOTHING_EARLIER, WarmStart
from tuner.domain.errors import UsageError
from tuner.domain.events import Event, LoadAdvanced
from tuner.domain.explanation import Explanation
from tuner.domain.recommendation import Conclusion, Proven, Unproven
from tuner.domain.spec import RunnerKind, StudySpec
from tuner.domain.trial import Trial
from tuner.lanes import OneLane
from tuner.load_target import Target
from tuner.place import THIS_SITE, Place, Site
from tuner.ports import LoadGenerator, Optimizer
from tuner.search.optimizers import OPTIMIZERS
from tuner.search.problem import search_problem
from tuner.trial_run import Bench

Watch = Callable[[Event], None]


def make_optimizer(spec: StudySpec, warm: WarmStart = NOTHING_EARLIER) -> Optimizer:
    return OPTIMIZERS[spec.search.optimizer](search_problem(spec, warm.studies))


def explain(
    spec: StudySpec,
    history: Sequence[Trial],
    conclusion: Conclusion,
    *,
    warm: WarmStart,
) -> Explanation | None:
    """Why this answer and no other; None where there is none, or no latency that could be predicted."""
    from tuner.search.explanation import explanation_of

    if not isinstance(conclusion, Proven | Unproven):
        return None
    problem = search_problem(spec, warm.studies)
    candidate = conclusion.evidence.candidate
    return explanation_of(problem, history, candidate, repeats=spec.confirm.repeats)


@contextmanager
def _simulated(spec: StudySpec, _watch: Watch, _site: Site) -> Iterator[Bench]:
    from runners.simulated_bench import SimulatedBench, VirtualClock, VirtualLanes
    from runners.simulated_service import virtual_model

    bench = SimulatedBench(
        model=virtual_model(spec.runner.options),
        footprint=spec.pricing.footprint,
        model_name=spec.model.name,
        clock=VirtualClock(),
    )
    lanes = OneLane() if spec.at_once == 1 else VirtualLanes(bench.clock)
    yield Bench(
        runner=bench,
        load=bench,
        clock=bench.clock,
        wall_clock=wall_clock_text,
        open_lanes=lambda _most, _keep: nullcontext(lanes),
    )


@contextmanager
def _local(spec: StudySpec, watch: Watch, _site: Site) -> Iterator[Bench]:
    from load_profiles.locust_generator import LocustLoadGenerator
    from runners.deployment_registry import default_state_dir
    from runners.leftovers import reclaim
    from runners.local_repository import served_model
    from runners.local_runner import LocalRunner
    from runners.server_environment import default_cache_dir, server_environment

    clock = SystemClock()
    reclaim(default_state_dir(), clock)
    environment = server_environment(default_cache_dir(), logging.getLogger("servetune").warning)
    runner = LocalRunner(
        model=served_model(spec.model, environment),
        environment=environment,
        footprint=spec.pricing.footprint,
        study=spec.name,
        ready_timeout_s=spec.runner.ready_timeout_s,
        registry=default_state_dir(),
        clock=clock,
        inherited=os.environ,
        protocol=spec.load.protocol,
    )

    with LocustLoadGenerator(on_progress=_load_shown(watch)) as load:
        yield Bench(runner=runner, load=load, clock=clock, wall_clock=wall_clock_text)


def _kubernetes(spec: StudySpec, watch: Watch, site: Site) -> AbstractContextManager[Bench]:
    return cluster_bench(spec, site, _load_shown(watch))


def _load_shown(watch: Watch) -> Callable[[SeenLoad], None]:
    def show(seen: SeenLoad) -> None:
        watch(LoadAdvanced(sent=seen.sent, due=seen.due, errors=seen.errors, p99_ms=seen.p99_ms))

    return show


@dataclass(frozen=True, slots=True, kw_only=True)
class AwaitedWorkers:
    """Load workers of other machines: how many have to come, to which HOST:PORT, and within which time."""

    number: int
    bind: str
    max_wait_s: float


def open_load_generator(workers: int | AwaitedWorkers = 1) -> AbstractContextManager[LoadGenerator]:
    """The load engine by itself, for a server that somebody else runs: so many workers here, or those that come.

    Raises UsageError for an address that is none.
    """
    if isinstance(workers, AwaitedWorkers):
        from load_profiles.addresses import host_port
        from load_profiles.distributed_generator import DistributedLoadGenerator

        bind = host_port(workers.bind)
        return nullcontext(DistributedLoadGenerator(bind, workers.number, max_wait_s=workers.max_wait_s))
    from load_profiles.locust_generator import LocustLoadGenerator

    return LocustLoadGenerator(workers=workers)


def become_load_worker(*, master: str, allowed: Sequence[str], max_wait_s: float, stay: bool) -> NoReturn:
    """Replace this process by a load worker: locust has to be the first thing such a process imports.

    Raises UsageError for an address that is none.
    """
    from load_profiles.addresses import host_port

    options = ["--master", str(host_port(master)), "--max-wait-s", str(max_wait_s), *(["--stay"] if stay else [])]
    targets = [f"--allow-target={target}" for target in allowed]
    command = [sys.executable, "-P", "-m", "load_profiles.load_worker", *options, *targets]
    os.execv(sys.executable, command)  # noqa: S606 - our own module, no shell


class EndpointReadings(Protocol):
    """What a server that somebody else runs tells of itself."""

    @property
    def metrics_answer(self) -> bool: ...
    def read(self) -> Telemetry: ...


def watch_endpoint(
    deployment: Deployment, target: Target, metrics: Target | None
) -> AbstractContextManager[EndpointReadings]:
    """Triton's statistics where requests go over KServe v2 HTTP, and the metrics where they are; pinned like load."""
    from runners.endpoint_telemetry import EndpointTelemetry
    from runners.triton_http import TritonHttp

    def at(place: Target, base: str) -> TritonHttp:
        return TritonHttp(host=place.address, port=place.port, name=place.host, base=base)

    return EndpointTelemetry(
        model=deployment.model_name,
        statistics=at(target, target.path) if deployment.protocol == "kserve_http" else None,
        metrics=None if metrics is None else (at(metrics, ""), metrics.path or "/metrics"),
    )


def grpc_model_inputs(authority: str, *, host: str, model: str) -> list[tuple[str, str, tuple[int, ...]]]:
    """Name, datatype and shape of the inputs that a server states. Raises InfrastructureError, UsageError."""
    from load_profiles.kserve_grpc_metadata import stated_inputs

    return stated_inputs(authority, host=host, model=model)


def _local_preflight(spec: StudySpec) -> None:
    from runners.local_preflight import refuse_impossible

    refuse_impossible(spec.space, spec.pricing.footprint)


def _simulated_preflight(spec: StudySpec) -> None:
    from runners.simulated_service import refuse_unknown_knobs, virtual_model

    virtual_model(spec.runner.options)
    refuse_unknown_knobs(knob.name for knob in spec.space.knobs)


PREFLIGHTS: dict[RunnerKind, Callable[[StudySpec], None]] = {
    "local": _local_preflight,
    "simulated": _simulated_preflight,
    "kubernetes": cluster_preflight,
}


def preflight(spec: StudySpec) -> None:
    """Raises UsageError if a configuration of the study cannot be deployed by its runner here; starts nothing."""
    if spec.runner.kind not in PREFLIGHTS:
        raise UsageError(f"runner {spec.runner.kind!r} is not built yet", hint=f"one of {', '.join(PREFLIGHTS)}")
    PREFLIGHTS[spec.runner.kind](spec)


BENCHES: dict[RunnerKind, Callable[[StudySpec, Watch, Site], AbstractContextManager[Bench]]] = {
    "local": _local,
    "simulated": _simulated,
    "kubernetes": _kubernetes,
}


def open_bench(spec: StudySpec, watch: Watch, site: Site = THIS_SITE) -> AbstractContextManager[Bench]:
    """Where the study's trials are carried out. Raises UsageError where the runner cannot do what the study asks."""
    preflight(spec)
    return BENCHES[spec.runner.kind](spec, watch, site)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Everything a report tells; `conclusion` is None while the study runs."""

    spec: StudySpec
    history: Sequence[Trial]
    conclusion: Conclusion | None
    explanation: Explanation | None = None
    warm: WarmStart = NOTHING_EARLIER


def _report(told: Told) -> StudyReport:
    from reports.study_report import study_report

    return study_report(
        told.spec,
        told.history,
        told.conclusion,
        _provenance(told.spec),
        explanation=told.explanation,
        warm=told.warm,
    )


def _html(told: Told) -> str:
    from reports.html_page import page

    return page(_report(told))


def _markdown(told: Told) -> str:
    from reports.markdown_summary import summary

    return summary(_report(told))


def _csv(told: Told) -> str:
    from reports.tables import trials_csv

    return trials_csv(told.spec, told.history)


def _provenance(spec: StudySpec) -> Provenance:
    libraries = ("optuna", "scikit-optimize", "locust", "tritonclient")
    versions = (
        ("servetune", __version__),
        ("python", platform.python_version()),
        *((name, importlib.metadata.version(name)) for name in libraries),
    )
    return Provenance(command=f"servetune tune {spec.name}", versions=versions)


RENDERERS: dict[str, Callable[[Told], str]] = {
    ".html": _html,
    ".md": _markdown,
    ".csv": _csv,
}


def refuse_unknown_report(suffix: str) -> None:
    """Raises UsageError for a suffix that names no kind of report."""
    if suffix not in RENDERERS:
        raise UsageError(f"no report is written as {suffix or 'a file without a suffix'}", hint=" ".join(RENDERERS))


def render_report(suffix: str, told: Told) -> str:
    """The study as a page, a summary or a table. Raises UsageError."""
    refuse_unknown_report(suffix)
    return RENDERERS[suffix](told)


def check(place: Place) -> Iterable[Finding]:
    """What the runner can do there, line by line. Raises UsageError."""
    if place.runner not in CHECKS:
        raise UsageError(f"the runner {place.runner!r} needs nothing of where it runs", hint=", ".join(CHECKS))
    return CHECKS[place.runner](place)


def _check_machine(_place: Place) -> Sequence[Finding]:
    from runners.deployment_registry import default_state_dir
    from runners.machine_checks import check_machine as look
    from runners.server_environment import default_cache_dir

    return look(default_cache_dir(), default_state_dir())


CHECKS: dict[str, Callable[[Place], Iterable[Finding]]] = {"local": _check_machine, "kubernetes": check_cluster}


def _clean_local(_place: Place, *, dry_run: bool) -> Sequence[str]:
    from runners.deployment_registry import default_state_dir
    from runners.leftovers import leftovers, reclaim

    found = leftovers(default_state_dir()) if dry_run else reclaim(default_state_dir(), SystemClock())
    return [f"{'would remove' if dry_run else 'removed'} {leftover}" for leftover in found]


CLEANERS: dict[str, Callable[..., Sequence[str]]] = {"local": _clean_local, "kubernetes": clean_cluster}


def remove_leftovers(place: Place, *, dry_run: bool) -> Sequence[str]:
    """End and remove what crashes left, or only list it. Raises CleanupFailed."""
    return CLEANERS[place.runner](place, dry_run=dry_run) or ["nothing was left behind"]
