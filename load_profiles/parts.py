"""One schedule in parts: dealt out exactly, put together again, and what is missing counted as never sent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from tuner.domain.load import GeneratorHealth, LoadProfile, LoadRun, Samples

Part = tuple[Samples, GeneratorHealth]


def share_of(intended_s: tuple[float, ...], part: int, parts: int) -> tuple[float, ...]:
    """What worker `part` of `parts` sends: every `parts`-th request, from the `part`-th (from 0) on."""
    return intended_s[part::parts]


def whole_prefix(lengths: Sequence[int]) -> int:
    """How many requests of the schedule are complete, without gaps, when part p has its first `lengths[p]`."""
    return min(part + length * len(lengths) for part, length in enumerate(lengths))


def merged(intended_s: tuple[float, ...], parts: Sequence[Samples]) -> Samples:
    """The parts dealt back: request k is number k // n of part k % n.

    Where parts are shorter than their share, because the run was ended early, the schedule up to the first gap.
    """
    requests = min(len(intended_s), whole_prefix([len(part) for part in parts]))
    places = [divmod(k, len(parts)) for k in range(requests)]
    return Samples(
        intended_s=intended_s[:requests],
        sent_s=tuple(parts[part].sent_s[index] for index, part in places),
        done_s=tuple(parts[part].done_s[index] for index, part in places),
        ok=tuple(parts[part].ok[index] for index, part in places),
    )


def never_sent(share_s: tuple[float, ...], *, timeout_s: float) -> Samples:
    """Requests that nobody sent: given up when their answers would have been."""
    return Samples(
        intended_s=share_s,
        sent_s=(math.inf,) * len(share_s),
        done_s=tuple(start_s + timeout_s for start_s in share_s),
        ok=(False,) * len(share_s),
    )


def completed(part: Samples, share_s: tuple[float, ...], *, timeout_s: float) -> Samples:
    """A part that ended early, filled up to its whole share: the rest was never sent."""
    rest = never_sent(share_s[len(part) :], timeout_s=timeout_s)
    return Samples(
        intended_s=share_s, sent_s=part.sent_s + rest.sent_s, done_s=part.done_s + rest.done_s, ok=part.ok + rest.ok
    )


def lost(share_s: tuple[float, ...], *, timeout_s: float, reason: str) -> Part:
    """The part of a worker that was lost."""
    health = GeneratorHealth(cpu_ratio=0.0, cpu_ms_per_request=0.0, workers_lost=1, first_error=reason)
    return never_sent(share_s, timeout_s=timeout_s), health


def health_of(parts: Sequence[Part], *, start_skew_s: float = 0.0) -> GeneratorHealth:
    """The busiest worker's CPU, the mean cost of a request, the first error of any."""
    requests = sum(len(samples) for samples, _ in parts)
    spent_ms = math.fsum(health.cpu_ms_per_request * len(samples) for samples, health in parts)
    busiest = max((health for _, health in parts), key=lambda health: health.cpu_ratio)
    return replace(
        busiest,
        cpu_ms_per_request=spent_ms / max(requests, 1),
        workers_lost=sum(health.workers_lost for _, health in parts),
        first_error=_first_error(parts),
        start_skew_s=start_skew_s,
    )


def _first_error(parts: Sequence[Part]) -> str:
    """That a worker was lost comes before what its server or the others had to complain of."""
    lost_first = sorted(parts, key=lambda part: part[1].workers_lost, reverse=True)
    return next((health.first_error for _, health in lost_first if health.first_error), "")


def ended_after(profile: LoadProfile, intended_s: tuple[float, ...], requests: int) -> LoadProfile:
    """The profile of a run that was ended early: its window ends where the first request left out was due."""
    if requests == len(intended_s):
        return profile
    return replace(profile, window_s=intended_s[requests] - profile.warmup_s)


def together(
    profile: LoadProfile, intended_s: tuple[float, ...], parts: Sequence[Part], *, start_skew_s: float = 0.0
) -> LoadRun:
    """One run out of all parts; after the loss of a worker the whole schedule, what is missing as never sent."""
    samples = [part for part, _ in parts]
    if any(health.workers_lost for _, health in parts):
        samples = [
            completed(part, share_of(intended_s, number, len(parts)), timeout_s=profile.timeout_s)
            for number, part in enumerate(samples)
        ]
    whole = merged(intended_s, samples)
    return LoadRun(
        profile=ended_after(profile, intended_s, len(whole)),
        samples=whole,
        generator=health_of(parts, start_skew_s=start_skew_s),
    )
