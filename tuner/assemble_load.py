"""The wiring of load for clusters: a part of `tuner.assemble_cluster`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import PurePath
from urllib.parse import urlsplit

from load_profiles.addresses import HostPort
from load_profiles.locust_generator import LoadProgress, LocustLoadGenerator, plan_of, refuse_what_cannot_be_sent
from load_profiles.packed_samples import REQUEST_BYTES, unpack_run
from load_profiles.payload_files import file_bodies
from load_profiles.plan import START_UP_S, longest_s
from load_profiles.sealed_messages import SECRET_VARIABLE
from runners.kubernetes_api import KubernetesApi
from runners.kubernetes_load import ClusterLoadGenerator, LoadEngine, PlannedLoad, refuse_unprintable
from runners.kubernetes_trial import TrialPlace
from tuner.domain.arrivals import intended_starts_s
from tuner.domain.cluster import ClusterOptions
from tuner.domain.deployment import Deployment
from tuner.domain.load import LoadProfile, LoadRun
from tuner.domain.spec import StudySpec
from tuner.manifests.cluster.load_jobs import PLAN_FOLDER
from tuner.ports import Clock, LoadGenerator

NO_DESCRIPTOR = -1
HEAD_BYTES = 1000


def refuse_unprintable_loads(spec: StudySpec) -> None:
    """Raises UsageError where a proof's result would not fit into a pod's log: known before hours of search."""
    for window_s in {spec.load.window_s, spec.confirm.window_s}:
        profile = spec.load_profile(replicas=1, window_s=window_s, seed=0)
        refuse_unprintable(result_bytes(profile))


def result_bytes(profile: LoadProfile) -> int:
    """How large the result of one run will be."""
    return HEAD_BYTES + REQUEST_BYTES * len(intended_starts_s(profile))


@contextmanager
def cluster_load(
    api: KubernetesApi,
    options: ClusterOptions,
    place: Callable[[str], TrialPlace],
    clock: Clock,
    on_progress: Callable[[LoadProgress], None],
) -> Iterator[LoadGenerator]:
    """What sends the load of a study in a cluster, by the study's own choice."""
    if options.load.sent_from == "pods":
        yield ClusterLoadGenerator(api=api, options=options, engine=load_engine(), place=place, clock=clock)
        return
    with LocustLoadGenerator(on_progress=on_progress) as load:
        yield Detour(load)


class Detour:
    """`LoadGenerator` that says of every run that its requests did not come from within the cluster."""

    def __init__(self, load: LoadGenerator) -> None:
        self._load = load

    def drive(self, deployment: Deployment, profile: LoadProfile) -> LoadRun:
        """As the generator behind it."""
        run = self._load.drive(deployment, profile)
        return replace(run, generator=replace(run.generator, detour=True))


def load_engine() -> LoadEngine:
    """Locust's, with this machine's payload files sent along."""
    return LoadEngine(plan=planned_load, result=unpack_run, secret_variable=SECRET_VARIABLE)


def planned_load(deployment: Deployment, profile: LoadProfile) -> PlannedLoad:
    """Raises UsageError for what cannot be sent, or a payload file that cannot be read."""
    refuse_what_cannot_be_sent(deployment, profile)
    files = _files(profile)
    payload = replace(
        profile.payload,
        files=tuple(
            (f"{PLAN_FOLDER}/{name}", weight)
            for (name, _content), (_path, weight) in zip(files, profile.payload.files, strict=True)
        ),
    )
    there = replace(profile, payload=payload)
    address = urlsplit(deployment.endpoint)
    return PlannedLoad(
        text=plan_of(deployment, there, NO_DESCRIPTOR).to_json(),
        target=str(HostPort(address.hostname or "", address.port or 80)),
        # Workers load their libraries, then make their requests.
        lasts_s=2.0 * START_UP_S + longest_s(profile),
        result_bytes=result_bytes(profile),
        files=files,
    )


def _files(profile: LoadProfile) -> tuple[tuple[str, bytes], ...]:
    """By names of ours: two files of one name may be asked for."""
    names = [f"payload{number}{PurePath(path).suffix}" for number, (path, _) in enumerate(profile.payload.files)]
    return tuple((name, body.content) for name, body in zip(names, file_bodies(profile.payload), strict=True))
