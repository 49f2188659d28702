"""The load generator of real runs: one child process per run, in which locust drives open-loop load."""

from __future__ import annotations

import logging
from array import array
from base64 import b64decode
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from load_profiles.child import Child
from load_profiles.many_workers import drive_together
from load_profiles.packed_samples import unpack
from load_profiles.parts import ended_after
from load_profiles.payload_files import refuse_unfit_files
from load_profiles.payload_shapes import refuse_too_large, sent_tensors
from load_profiles.plan import START_UP_S, LoadPlan, longest_s
from tuner.domain.arrivals import intended_starts_s
from tuner.domain.deployment import Deployment
from tuner.domain.errors import UsageError
from tuner.domain.load import LoadProfile, LoadRun
from tuner.domain.sequential import fails_already

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
    """`LoadGenerator` over HTTP and gRPC (KServe v2 with binary tensors, and others), open loop.

    Used in a `with` block it keeps one child ahead: that loads its libraries (over a second) while the next server
    comes up, and not while a server waits for its load.
    """

    def __init__(self, on_progress: Callable[[LoadProgress], None] = ignore_progress, *, workers: int = 1) -> None:
        """With several workers each sends its exact share of the schedule; one that is lost shows in the result."""
        self._on_progress = on_progress
        self._workers = workers
        self._keeps_ahead = False
        self._ahead: deque[Child] = deque()

    def __enter__(self) -> Self:
        self._keeps_ahead = True
        self._ahead.append(Child())
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._keeps_ahead = False
        while self._ahead:
            self._ahead.pop().end()

    def drive(self, deployment: Deployment, profile: LoadProfile) -> LoadRun:
        """Complete before return. Raises UsageError if nothing can be sent, TransientFailure if the child broke."""
        refuse_what_cannot_be_sent(deployment, profile)
        if self._workers > 1:
            return drive_together(
                lambda child, part: plan_of(deployment, profile, child.result_descriptor, part, self._workers),
                profile,
                workers=self._workers,
                until_s=_until_s(profile),
            )
        with self._child() as child:
            run = self._drive(child, deployment, profile)
        if self._keeps_ahead:
            self._ahead.append(Child())
        return run

    def _child(self) -> Child:
        """One that was started ahead, if it still lives, else a new one."""
        while self._ahead:
            child = self._ahead.popleft()
            if child.alive:
                return child
            child.end()
        return Child()

    def _drive(self, child: Child, deployment: Deployment, profile: LoadProfile) -> LoadRun:
        intended_s = intended_starts_s(profile)
        until_s = _until_s(profile)
        latencies_s, stopped = array("d"), False
        child.tell(plan_of(deployment, profile, child.result_descriptor))
        for message in child.messages(until_s=until_s):
            match message:
                case {"event": "progress", "sent": int(sent), "errors": int(errors), "p99_ms": float(p99_ms)}:
                    self._on_progress(LoadProgress(due=len(intended_s), sent=sent, errors=errors, p99_ms=p99_ms))
                case {"event": "started", "notes": str(notes)} if notes:
                    logger.info("load generator: %s", notes)
                case {"event": "latencies", "values": str(values)}:
                    latencies_s.frombytes(b64decode(values))
                    if not stopped and fails_already(latencies_s, profile.decisive_slos):
                        child.stop()
                        stopped = True
                case _:
                    pass
        child.await_exit(until_s=until_s)
        samples, health = unpack(child.result(), intended_s)
        return LoadRun(profile=ended_after(profile, intended_s, len(samples)), samples=samples, generator=health)


def refuse_what_cannot_be_sent(deployment: Deployment, profile: LoadProfile) -> None:
    """Raises UsageError for an endpoint that is not HTTP, or a payload that the model's inputs do not take."""
    payload, batched = profile.payload, deployment.batched
    if payload.kind == "files":
        refuse_unfit_files(payload, deployment.protocol, deployment.inputs, batched=batched)
    else:
        refuse_too_large(sent_tensors(deployment.inputs, payload, batched=batched), payload)
    address, scheme = urlsplit(deployment.endpoint), "grpc" if deployment.protocol == "kserve_grpc" else "http"
    if address.scheme != scheme or not address.hostname:
        raise UsageError(f"load cannot be sent to {deployment.endpoint!r}", hint=f"an endpoint is {scheme}://HOST:PORT")


def _until_s(profile: LoadProfile) -> float:
    """When a run that begins now is hopeless, on the monotonic clock."""
    return monotonic() + START_UP_S + longest_s(profile)


def plan_of(
    deployment: Deployment, profile: LoadProfile, result_descriptor: int, part: int = 0, parts: int = 1
) -> LoadPlan:
    """What a child, or a master of load workers, is told about a run."""
    return LoadPlan(
        part=part,
        parts=parts,
        endpoint=deployment.endpoint,
        host=deployment.host,
        protocol=deployment.protocol,
        model_name=deployment.model_name,
        inputs=deployment.inputs,
        batched=deployment.batched,
        profile=profile,
        cpus=deployment.generator_cpus,
        result_descriptor=result_descriptor,
    )
