"""Several load workers on one machine: the schedule dealt out exactly, begun together, put together again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from time import monotonic

from load_profiles.child import Child
from load_profiles.packed_samples import unpack
from load_profiles.plan import LoadPlan
from tuner.domain.arrivals import intended_starts_s
from tuner.domain.errors import TransientFailure
from tuner.domain.load import GeneratorHealth, LoadProfile, LoadRun, Samples

LEAD_S = 0.1
LOST = "a load worker was lost"

Part = tuple[Samples, GeneratorHealth]


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
    shares = [intended_s[part::workers] for part in range(workers)]
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
    whole = [part or _never_sent(share, profile) for part, share in zip(parts, shares, strict=True)]
    return LoadRun(profile=profile, samples=_merged(intended_s, [one for one, _ in whole]), generator=_health(whole))


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


def _never_sent(share_s: tuple[float, ...], profile: LoadProfile) -> Part:
    count = len(share_s)
    samples = Samples(
        intended_s=share_s,
        sent_s=(math.inf,) * count,
        done_s=tuple(start_s + profile.timeout_s for start_s in share_s),
        ok=(False,) * count,
    )
    return samples, GeneratorHealth(cpu_ratio=0.0, cpu_ms_per_request=0.0, workers_lost=1, first_error=LOST)


def _merged(intended_s: tuple[float, ...], parts: Sequence[Samples]) -> Samples:
    """The parts dealt back: request k is number k // n of part k % n."""
    places = [divmod(k, len(parts)) for k in range(len(intended_s))]
    return Samples(
        intended_s=intended_s,
        sent_s=tuple(parts[part].sent_s[index] for index, part in places),
        done_s=tuple(parts[part].done_s[index] for index, part in places),
        ok=tuple(parts[part].ok[index] for index, part in places),
    )


def _health(parts: Sequence[Part]) -> GeneratorHealth:
    """The busiest worker's CPU, the mean cost of a request, the first error of any."""
    requests = sum(len(samples) for samples, _ in parts)
    spent_ms = math.fsum(health.cpu_ms_per_request * len(samples) for samples, health in parts)
    busiest = max((health for _, health in parts), key=lambda health: health.cpu_ratio)
    return replace(
        busiest,
        cpu_ms_per_request=spent_ms / max(requests, 1),
        workers_lost=sum(health.workers_lost for _, health in parts),
        first_error=next((health.first_error for _, health in parts if health.first_error), ""),
    )
