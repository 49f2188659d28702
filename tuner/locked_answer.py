"""What a lock file holds, as something to export or to compare: less than a study knows, and nothing made up."""

from __future__ import annotations

from typing import cast, get_args

from tuner.domain.capacity import Capacity
from tuner.domain.cost import required_rps
from tuner.domain.deployable import Deployable
from tuner.domain.deployment import ModelRef
from tuner.domain.spec import RunnerKind
from tuner.gate.lock import Lock

LOCK_SUFFIX = ".json"
NO_RUNNER = "the lock file does not name a runner of this servetune"


def deployable_of_lock(lock: Lock) -> Deployable:
    """The locked spec: proven, or the lock file could not have been read.

    It keeps neither the shape of the load, nor the cold start, nor the cluster, nor when it was measured. Raises
    ValueError where the kind of runner that it was measured by is none.
    """
    name, _, identity = lock.fingerprint.model.partition(" ")
    return Deployable(
        study=lock.study,
        unproven="",
        fingerprint="",
        model=ModelRef(name=name, digest=identity if identity.startswith("sha256:") else ""),
        runner=_runner(lock.fingerprint.load.partition(" ")[0]),
        configuration=lock.configuration,
        replicas=lock.spec.replicas,
        unit_cost_per_hour=lock.hourly_cost / lock.spec.replicas,
        pricing=lock.pricing,
        slos=lock.slos,
        arrivals=None,
        window_s=lock.repeats[0].window_s,
        target_rps=lock.load.target_rps,
        required_rps=required_rps(lock.load.target_rps, lock.load.headroom),
        headroom=lock.load.headroom,
        capacity=Capacity(low_rps=lock.capacity.passed_rps, high_rps=lock.capacity.failed_rps),
        cold_start_s=None,
        deployments=len(lock.repeats),
        as_of="",
    )


def _runner(kind: str) -> RunnerKind:
    if kind not in get_args(RunnerKind):
        raise ValueError(NO_RUNNER)
    return cast("RunnerKind", kind)
