"""The load engine as the generator for clusters takes it: wiring, as `tuner.assemble`, and imported by nobody else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePath
from urllib.parse import urlsplit

from load_profiles.addresses import HostPort
from load_profiles.locust_generator import plan_of, refuse_what_cannot_be_sent
from load_profiles.packed_samples import REQUEST_BYTES, unpack_run
from load_profiles.payload_files import file_bodies
from load_profiles.plan import START_UP_S, longest_s
from load_profiles.sealed_messages import SECRET_VARIABLE
from runners.kubernetes_load import LoadEngine, PlannedLoad
from tuner.domain.arrivals import intended_starts_s
from tuner.domain.deployment import Deployment
from tuner.domain.load import LoadProfile
from tuner.manifests.cluster.load_jobs import PLAN_FOLDER

NO_DESCRIPTOR = -1
HEAD_BYTES = 1000


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
        result_bytes=HEAD_BYTES + REQUEST_BYTES * len(intended_starts_s(profile)),
        files=files,
    )


def _files(profile: LoadProfile) -> tuple[tuple[str, bytes], ...]:
    """By names of ours: two files of one name may be asked for."""
    names = [f"payload{number}{PurePath(path).suffix}" for number, (path, _) in enumerate(profile.payload.files)]
    return tuple((name, body.content) for name, body in zip(names, file_bodies(profile.payload), strict=True))
