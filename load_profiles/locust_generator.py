"""The load generator of real runs: one child process per run, in which locust drives open-loop load."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from urllib.parse import urlsplit

from load_profiles.child import Child
from load_profiles.payload_shapes import sent_tensors
from load_profiles.plan import LoadPlan
from load_profiles.result_file import read_result
from tuner.domain.arrivals import intended_starts_s
from tuner.domain.deployment import Deployment
from tuner.domain.errors import UsageError
from tuner.domain.load import LoadProfile, LoadRun

START_UP_S = 60.0
GRACE_S = 15.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadProgress:
    """How far a run is, for whoever watches: `due` requests in all, `sent` so far; p99 with the warm-up."""

    due: int
    sent: int
    errors: int
    p99_ms: float


def ignore_progress(_progress: LoadProgress) -> None:
    """For runs nobody watches."""


class LocustLoadGenerator:
    """`LoadGenerator` over HTTP (KServe v2, binary tensors), open loop."""

    def __init__(self, on_progress: Callable[[LoadProgress], None] = ignore_progress) -> None:
        self._on_progress = on_progress

    def drive(self, deployment: Deployment, profile: LoadProfile) -> LoadRun:
        """Complete before return. Raises UsageError if nothing can be sent, TransientFailure if the child broke."""
        _refuse_what_cannot_be_sent(deployment, profile)
        with Child() as child:
            return self._drive(child, deployment, profile)

    def _drive(self, child: Child, deployment: Deployment, profile: LoadProfile) -> LoadRun:
        intended_s = intended_starts_s(profile)
        until_s = monotonic() + START_UP_S + profile.duration_s + profile.timeout_s + GRACE_S
        child.tell(_plan(child, deployment, profile))
        for message in child.messages(until_s=until_s):
            match message:
                case {"event": "progress", "sent": int(sent), "errors": int(errors), "p99_ms": float(p99_ms)}:
                    self._on_progress(LoadProgress(due=len(intended_s), sent=sent, errors=errors, p99_ms=p99_ms))
                case {"event": "started", "notes": str(notes)} if notes:
                    logger.info("load generator: %s", notes)
                case _:
                    pass
        child.await_exit(until_s=until_s)
        samples, health = read_result(child.result_path, intended_s)
        return LoadRun(profile=profile, samples=samples, generator=health)


def _refuse_what_cannot_be_sent(deployment: Deployment, profile: LoadProfile) -> None:
    sent_tensors(deployment.inputs, profile.payload, batched=deployment.batched)
    address = urlsplit(deployment.endpoint)
    if address.scheme != "http" or not address.hostname:
        raise UsageError(f"load cannot be sent to {deployment.endpoint!r}", hint="an endpoint is http://HOST:PORT")


def _plan(child: Child, deployment: Deployment, profile: LoadProfile) -> LoadPlan:
    return LoadPlan(
        endpoint=deployment.endpoint,
        model_name=deployment.model_name,
        inputs=deployment.inputs,
        batched=deployment.batched,
        profile=profile,
        cpus=deployment.generator_cpus,
        result_path=str(child.result_path),
    )
