"""Several load workers on one machine: the schedule dealt out exactly, begun together, put together again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from time import monotonic

from load_profiles.child import Child
from load_profiles.packed_samples import unpack
from load_profiles.parts import Part, lost, share_of, together
from load_profiles.plan import LoadPlan
from tuner.domain.arrivals import intended_starts_s
from tuner.domain.errors import TransientFailure
from tuner.domain.load import LoadProfile, LoadRun

LEAD_S = 0.1
LOST = "a load worker was lost"


@dataclass(frozen=True, slots=True)
class _Worker:
    child: Child
    messages: Iterator[Mapping[str, object]]


def drive_together(
    plan_of: Callable[[Child, int], LoadPlan], profile: LoadProfile, *, workers: int, until_s: float
) -> LoadRun:
    """One run by so many workers. The requests of a worker that was lost count as never sent.

    Raises TransientFailure if no worker is left.
    """
    intended_s = intended_starts_s(profile)
    shares = [share_of(intended_s, part, workers) for part in range(workers)]
    with ExitStack() as stack:
        crew = []
        for part in range(workers):
            child = stack.enter_context(Child())
            child.tell(plan_of(child, part))
            crew.append(_Worker(child, child.messages(until_s=until_s)))
        for worker in crew:
            _await_ready(worker)
        start_s = monotonic() + LEAD_S
        for worker in crew:
            worker.child.start_at(start_s)
        with ThreadPoolExecutor(workers) as pool:
            parts = list(pool.map(lambda worker, share: _finish(worker, share, until_s), crew, shares))
    if all(part is None for part in parts):
        raise TransientFailure("every load worker was lost")
    timeout_s = profile.timeout_s
    pairs = zip(parts, shares, strict=True)
    return together(
        profile, intended_s, [part or lost(share_s, timeout_s=timeout_s, reason=LOST) for part, share_s in pairs]
    )


def _await_ready(worker: _Worker) -> None:
    """Returns when it is ready, or has died: that is found out when its result is missing."""
    for message in worker.messages:
        if message.get("event") == "ready":
            return


def _finish(worker: _Worker, share_s: tuple[float, ...], until_s: float) -> Part | None:
    """What a worker did; None if it was lost."""
    try:
        for _message in worker.messages:
            pass
        worker.child.await_exit(until_s=until_s)
        return unpack(worker.child.result(), share_s)
    except TransientFailure:
        return None
