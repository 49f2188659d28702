"""Requests through a CPU stage and a batching stage, event by event. Pure: the same draws, the same answers."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePlan:
    """One replica as queues see it.

    Requests spend `item_cpu_s` on the cores each by itself (0: there is no such stage), then wait to be batched, then
    run in batches: `batch_work_s[n]` is what a batch of n takes when nothing else runs, `batch_cv[n]` how it varies.
    `parallel_batches` is how many batches' worth of work the device does at a time, however many instances run: 1 for
    a device that one batch fills, the cores for batches computed on the CPU. A cv is a coefficient of variation.
    """

    cpu_cores: float
    item_cpu_s: float
    item_cpu_cv: float
    batch_work_s: tuple[float, ...]
    batch_cv: tuple[float, ...]
    parallel_batches: float
    instances: int
    preferred_batch_size: int
    queue_delay_s: float
    network_s: float
    batches_on_cpu: bool
    memory_bytes: int

    @property
    def max_batch_size(self) -> int:
        return len(self.batch_work_s) - 1


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests [first, first + size) of the queue, run from `start_s` to `end_s`; `work_s` had it been alone."""

    first: int
    size: int
    start_s: float
    end_s: float
    work_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """When each request was answered, by start; when each was ready to be batched, by queue position; the batches."""

    done_s: tuple[float, ...]
    ready_s: tuple[float, ...]
    item_work_s: tuple[float, ...]
    batches: tuple[Batch, ...]


def serve(plan: ServicePlan, starts_s: Sequence[float], source: random.Random) -> Served:
    """Answer times, in the order of the (ascending) start times. The server is idle at first and never drops any."""
    arrived_s = [start + plan.network_s / 2.0 for start in starts_s]
    work_s = _draws(source, len(starts_s), plan.item_cpu_s, plan.item_cpu_cv)
    prepared_s = share_processor(arrived_s, work_s, plan.cpu_cores) if plan.item_cpu_s else arrived_s
    order = sorted(range(len(prepared_s)), key=prepared_s.__getitem__)
    ready_s = tuple(prepared_s[k] for k in order)
    batches = run_batches(plan, ready_s, source)
    done_s = [0.0] * len(order)
    for batch in batches:
        for position in range(batch.first, batch.first + batch.size):
            done_s[order[position]] = batch.end_s + plan.network_s / 2.0
    return Served(
        done_s=tuple(done_s),
        ready_s=ready_s,
        item_work_s=tuple(work_s[k] for k in order),
        batches=tuple(batches),
    )


def share_processor(arrivals_s: Sequence[float], work_s: Sequence[float], cores: float) -> list[float]:
    """When each job is done if all present share the cores evenly, none using more than one.

    Processor sharing as by a CPU quota, fractions included. All jobs progress at one common speed, so a job is done
    when the common progress has grown by its work: one heap, no rescheduling.
    """
    done_s = [0.0] * len(arrivals_s)
    present: list[tuple[float, int]] = []
    now_s, progress_s = 0.0, 0.0
    arrivals = [*zip(arrivals_s, work_s, strict=True), (math.inf, 0.0)]
    for job, (arrival_s, job_work_s) in enumerate(arrivals):
        while present:
            speed = min(1.0, cores / len(present))
            finish_s = now_s + (present[0][0] - progress_s) / speed
            if finish_s > arrival_s:
                progress_s += (arrival_s - now_s) * speed
                break
            now_s = finish_s
            progress_s, finished = heapq.heappop(present)
            done_s[finished] = finish_s
        now_s = arrival_s
        heapq.heappush(present, (progress_s + job_work_s, job))
    return done_s


def run_batches(plan: ServicePlan, ready_s: Sequence[float], source: random.Random) -> list[Batch]:
    """Dynamic batching: a free instance takes what waits, at once when enough wait, else when the oldest waited long.

    `ready_s` ascends, so that batches are consecutive requests and arrivals need no events of their own.
    """
    batches: list[Batch] = []
    running: list[tuple[float, int, int, float, float]] = []
    now_s, progress_s, head = 0.0, 0.0, 0
    while head < len(ready_s) or running:
        free = len(running) < plan.instances and head < len(ready_s)
        dispatch_s = _dispatch_s(plan, ready_s, head, now_s) if free else math.inf
        speed = min(1.0, plan.parallel_batches / len(running)) if running else 1.0
        finish_s = now_s + (running[0][0] - progress_s) / speed if running else math.inf
        if finish_s <= dispatch_s:
            now_s = finish_s
            progress_s, first, size, start_s, work_s = heapq.heappop(running)
            batches.append(Batch(first, size, start_s, finish_s, work_s))
            continue
        progress_s += (dispatch_s - now_s) * speed
        now_s, size = dispatch_s, 1
        while size < plan.max_batch_size and head + size < len(ready_s) and ready_s[head + size] <= now_s:
            size += 1
        work_s = _draws(source, 1, plan.batch_work_s[size], plan.batch_cv[size])[0]
        heapq.heappush(running, (progress_s + work_s, head, size, now_s, work_s))
        head += size
    return batches


def _dispatch_s(plan: ServicePlan, ready_s: Sequence[float], head: int, now_s: float) -> float:
    """When the next batch leaves if an instance stays free: enough requests wait, or the oldest waited its delay."""
    due_s = ready_s[head] + plan.queue_delay_s
    last = head + plan.preferred_batch_size - 1
    if last < len(ready_s):
        due_s = min(due_s, ready_s[last])
    return max(now_s, due_s)


def _draws(source: random.Random, count: int, mean: float, cv: float) -> list[float]:
    """Lognormal draws with this mean and coefficient of variation; the mean itself where nothing varies."""
    if mean == 0.0 or cv == 0.0:
        return [mean] * count
    variance = math.log1p(cv * cv)
    mu, sigma = math.log(mean) - variance / 2.0, math.sqrt(variance)
    return [math.exp(source.gauss(mu, sigma)) for _ in range(count)]
