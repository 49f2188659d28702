"""The load generator for load from several machines: for every run a master that awaits load workers.

Controller side: never imports locust.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from time import monotonic

from load_profiles.addresses import HostPort, is_loopback
from load_profiles.child import Child
from load_profiles.locust_generator import LoadProgress, ignore_progress, plan_of, refuse_what_cannot_be_sent
from load_profiles.packed_samples import unpack_run
from load_profiles.plan import START_UP_S, longest_s
from load_profiles.sealed_messages import shared_secret
from tuner.domain.arrivals import intended_starts_s
from tuner.domain.deployment import Deployment
from tuner.domain.errors import TargetRefused, TransientFailure, TunerError, UsageError
from tuner.domain.load import LoadProfile, LoadRun

MASTER = "load_profiles.load_master"
REASONS: dict[str, type[TunerError]] = {"TargetRefused": TargetRefused, "UsageError": UsageError}

logger = logging.getLogger(__name__)


class DistributedLoadGenerator:
    """`LoadGenerator` whose requests are sent by load workers that come to a stated address.

    Each sends its exact share of the schedule. One that is lost shows in the result: its requests were never sent.
    Every run needs its workers anew; such as stay after a run come back for the next.
    """

    def __init__(
        self,
        bind: HostPort,
        workers: int,
        *,
        max_wait_s: float = 60.0,
        on_progress: Callable[[LoadProgress], None] = ignore_progress,
    ) -> None:
        """`bind` is where workers are awaited, for at most `max_wait_s`; beyond loopback they need a shared secret."""
        self._bind = bind
        self._workers = workers
        self._max_wait_s = max_wait_s
        self._on_progress = on_progress

    def drive(self, deployment: Deployment, profile: LoadProfile) -> LoadRun:
        """Complete before return.

        Raises TransientFailure if too few workers come or all are lost, TargetRefused if one of them may not put load
        on the target, UsageError if nothing can be sent or the secret is missing.
        """
        refuse_what_cannot_be_sent(deployment, profile)
        shared_secret(os.environ, needed=not is_loopback(self._bind.host))
        until_s = monotonic() + self._max_wait_s + 2.0 * START_UP_S + longest_s(profile)
        with Child(MASTER, *self._arguments()) as master:
            master.tell(plan_of(deployment, profile, master.result_descriptor))
            self._hear(master.messages(until_s=until_s), due=len(intended_starts_s(profile)))
            master.await_exit(until_s=until_s)
            return unpack_run(master.result(), profile)

    def _arguments(self) -> list[str]:
        return [
            *("--plan", "-", "--bind", str(self._bind), "--expect-workers", str(self._workers)),
            *("--max-wait-s", str(self._max_wait_s), "--parent"),
        ]

    def _hear(self, messages: Iterable[dict[str, object]], *, due: int) -> None:
        for message in messages:
            match message:
                case {"event": "progress", "sent": int(sent), "errors": int(errors), "p99_ms": float(p99_ms)}:
                    self._on_progress(LoadProgress(due=due, sent=sent, errors=errors, p99_ms=p99_ms))
                case {"event": "listening", "address": str(address)}:
                    logger.info("%d load workers are awaited at %s", self._workers, address)
                case {"event": "failed", "error": str(error), "message": str(text), "hint": str(hint)}:
                    raise REASONS.get(error, TransientFailure)(text, hint)
                case _:
                    pass
