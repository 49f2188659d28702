"""The wiring of the runner `kubernetes`: a part of `tuner.assemble`, heavy imports inside the functions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from tuner.clock import SystemClock, wall_clock_text
from tuner.domain.cluster import ClusterOptions, LoadPods
from tuner.domain.errors import UsageError
from tuner.domain.space import Configuration
from tuner.domain.spec import StudySpec
from tuner.manifests.cluster.existing.service import ReadObjects
from tuner.manifests.cluster.trial import refuse_impossible, refuse_unknown_knobs, served_trial
from tuner.manifests.cluster.trial_objects import trial_objects
from tuner.manifests.plain import PlainObject
from tuner.place import Place, Site
from tuner.trial_run import Bench

DOCTOR_PATIENCE_S = 5.0
"""Who asks what is wrong wants to know it soon."""


class SeenLoad(Protocol):
    """How far a run of load is."""

    @property
    def sent(self) -> int: ...
    @property
    def due(self) -> int: ...
    @property
    def errors(self) -> int: ...
    @property
    def p99_ms(self) -> float: ...


class Finding(Protocol):
    """One finding of a look at a cluster."""

    @property
    def what(self) -> str: ...
    @property
    def ok(self) -> bool | None: ...
    @property
    def needed(self) -> bool: ...
    @property
    def detail(self) -> str: ...
    @property
    def remedy(self) -> str: ...


@contextmanager
def cluster_bench(spec: StudySpec, site: Site, on_progress: Callable[[SeenLoad], None]) -> Iterator[Bench]:
    """Deploys into the study's namespace. Raises UsageError where no cluster is to be reached."""
    from runners.kubernetes_admission import KubernetesAdmission, refuse_auto
    from runners.kubernetes_api import open_api
    from runners.kubernetes_config import config_text
    from runners.kubernetes_identity import refuse_another_cluster
    from runners.kubernetes_lease import holding
    from runners.kubernetes_leftovers import remove_earlier_trials
    from runners.kubernetes_runner import KubernetesRunner
    from runners.server_environment import default_cache_dir, server_environment
    from tuner.assemble_load import cluster_load

    warn = logging.getLogger("servetune").warning
    clock, options = SystemClock(), cluster_options(spec)
    api = open_api(site.access.kubeconfig, context=site.access.context)
    refuse_another_cluster(api, site.pin)
    if spec.runner.parallel_trials == "auto":
        refuse_auto(api, options)
    place = options.namespace
    with holding(api, namespace=place, study=spec.name, lease_s=site.lease_s, clock=clock, tell=site.tell) as lease:
        remove_earlier_trials(api, place, spec.name, lease, clock)
        runner = KubernetesRunner(
            api=api,
            spec=spec,
            options=options,
            config_pbtxt=config_text(spec, lambda: server_environment(default_cache_dir(), warn)),
            clock=clock,
            lease=lease,
        )
        with cluster_load(api, options, runner.place_for_load, clock, on_progress) as load:
            yield Bench(
                runner=runner,
                load=load,
                clock=clock,
                wall_clock=wall_clock_text,
                admission=KubernetesAdmission(api, spec, options),
            )


def cluster_options(spec: StudySpec) -> ClusterOptions:
    """Raises UsageError for a study of another runner."""
    if spec.runner.kubernetes is None:
        raise UsageError("the study says nothing of its cluster", hint="add runner.kubernetes")
    return spec.runner.kubernetes


def cluster_preflight(spec: StudySpec) -> None:
    """Raises UsageError for what no cluster can be asked for; asks none."""
    refuse_unknown_knobs(knob.name for knob in spec.space.knobs)
    options = cluster_options(spec)
    refuse_impossible(options, spec.space, spec.pricing.footprint, spec.pricing.book.term)
    if options.load.sent_from == "pods":
        from tuner.assemble_load import refuse_unprintable_loads

        refuse_unprintable_loads(spec)


def manifest_writer(spec: StudySpec, expires_at: str) -> Callable[[Configuration], tuple[PlainObject, ...]]:
    """What a study's first trial of a configuration would deploy, in the order of deployment; asks no cluster.

    Raises UsageError, and so does the writer, with InfeasibleConfiguration where Triton would refuse to load it.
    """
    from runners.kubernetes_config import config_text
    from runners.server_environment import default_cache_dir, server_environment

    options = cluster_options(spec)
    warn = logging.getLogger("servetune").warning
    render = config_text(spec, lambda: server_environment(default_cache_dir(), warn))

    def written(configuration: Configuration) -> tuple[PlainObject, ...]:
        text = render(configuration)
        trial = served_trial(spec, configuration, trial=0, expires_at=expires_at, config_pbtxt=text)
        return trial_objects(options, trial).all

    return written


def read_existing(place: Place, deployment: str) -> tuple[ReadObjects, str]:
    """A Deployment as it is, and in words in which cluster; writes nothing. Raises UsageError, TransientFailure."""
    from runners.kubernetes_api import open_api
    from runners.kubernetes_existing import read_deployment

    namespace = _namespace(place)
    api = open_api(place.access.kubeconfig, context=place.access.context)
    return read_deployment(api, namespace, deployment), f"context {api.context} ({api.host})"


def check_cluster(place: Place) -> Iterable[Finding]:
    """What the caller may do there, and what it has of what the study needs. Raises UsageError, TransientFailure."""
    from runners.kubernetes_api import open_api
    from runners.kubernetes_doctor import examine, needs_of

    namespace = _namespace(place)
    needs = needs_of(place.study, cluster_options(place.study)) if place.study else None
    api = open_api(place.access.kubeconfig, context=place.access.context, patience_s=DOCTOR_PATIENCE_S)
    return examine(api, namespace, needs, pulling=SystemClock() if place.pull_image else None)


def access_manifest(place: Place) -> str:
    """Account, Role and binding that give the runner what it needs, for `kubectl apply -f -`."""
    from tuner.manifest_text import kubectl_text
    from tuner.manifests.cluster.access import access_objects

    named = ClusterOptions(namespace=_namespace(place), load=LoadPods(image=""))
    return kubectl_text(access_objects(cluster_options(place.study) if place.study else named))


def clean_cluster(place: Place, *, dry_run: bool) -> Sequence[str]:
    """A line for each trial removed, or found. Raises CleanupFailed, UsageError, TransientFailure."""
    from runners.kubernetes_api import open_api
    from runners.kubernetes_leftovers import cluster_leftovers, remove_cluster_leftovers

    namespace = _namespace(place)
    api = open_api(place.access.kubeconfig, context=place.access.context)
    found = cluster_leftovers(api, namespace) if dry_run else remove_cluster_leftovers(api, namespace, SystemClock())
    return [f"{'would remove' if dry_run else 'removed'} {leftover}" for leftover in found]


def _namespace(place: Place) -> str:
    """Never a default one: a look at the wrong place finds nothing, and says so."""
    stated = cluster_options(place.study).namespace if place.study else place.namespace
    if not stated:
        raise UsageError(
            "nothing says where in the cluster", hint="--namespace NAME, the study's runner.kubernetes one"
        )
    return stated
