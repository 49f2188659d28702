"""The `simulated` runner: virtual servers, virtual load and a virtual clock that agree on the time."""

from __future__ import annotations

import hashlib
import heapq
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from runners.queue_simulation import Batch, Served, ServicePlan, serve
from runners.simulated_service import VirtualModel, service_plan
from tuner.domain.arrivals import intended_starts_s
from tuner.domain.cost import Footprint
from tuner.domain.deployment import Deployment, GpuUse, Telemetry, TensorSpec
from tuner.domain.errors import TransientFailure
from tuner.domain.load import GeneratorHealth, LoadProfile, LoadRun, Samples
from tuner.domain.space import Configuration
from tuner.domain.trial import Trial


class VirtualClock:
    """A clock that moves only when someone sleeps."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def now_s(self) -> float:
        return self._now_s

    def sleep(self, seconds: float) -> None:
        self._now_s += seconds

    def turn_to(self, now_s: float) -> None:
        """Another moment: trials that run beside each other are carried out one after the other."""
        self._now_s = now_s


class VirtualLanes:
    """Trials side by side in virtual time. See `tuner.ports.Lanes`.

    Each is carried out at once when it begins, from the moment at which it begins; it ends, and is known of, when the
    clock has come to its end. The same trials end in the same order every time.
    """

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._ends: list[tuple[float, int, Trial]] = []

    def begin(self, work: Callable[[], Trial]) -> None:
        begun_s = self._clock.now_s()
        trial = work()
        heapq.heappush(self._ends, (self._clock.now_s(), trial.number, trial))
        self._clock.turn_to(begun_s)

    def next_ended(self, *, within_s: float | None = None) -> Trial | None:
        """None, and so much later, where the first end is further away."""
        ends_s = self._ends[0][0] if self._ends else math.inf
        if within_s is not None and ends_s > self._clock.now_s() + within_s:
            self._clock.sleep(within_s)
            return None
        ends_s, _, trial = heapq.heappop(self._ends)
        self._clock.turn_to(ends_s)
        return trial


@dataclass(slots=True)
class _Server:
    """A virtual server that runs: its speed on its node, and its counters so far."""

    plan: ServicePlan
    telemetry: Telemetry


class SimulatedBench:
    """Runner and load generator in one, since a virtual server has no socket to send to; `clock` is their time.

    What a deployment does follows from its configuration, its id and the profile alone, never from what ran before:
    every run of load finds the server idle. Nodes differ by the id, requests by id, profile seed and offered load.
    """

    def __init__(self, *, model: VirtualModel, footprint: Footprint, model_name: str, clock: VirtualClock) -> None:
        self.clock = clock
        self._model = model
        self._footprint = footprint
        self._model_name = model_name
        self._servers: dict[str, _Server] = {}

    @contextmanager
    def deploy(self, configuration: Configuration, *, deployment_id: str) -> Iterator[Deployment]:
        """Takes `ready_s` of virtual time, `teardown_s` on exit.

        Raises InfeasibleConfiguration where memory does not suffice, UsageError for knobs that nobody simulates.
        """
        if deployment_id in self._servers:
            raise TransientFailure(f"deployment {deployment_id} runs already")
        self.clock.sleep(self._model.ready_s)
        plan = service_plan(self._model, self._footprint, configuration)
        plan = on_node(plan, self._model.node_spread, deployment_id)
        self._servers[deployment_id] = _Server(plan, _idle(plan))
        try:
            yield self._deployment(configuration, deployment_id)
        finally:
            del self._servers[deployment_id]
            self.clock.sleep(self._model.teardown_s)

    @property
    def running(self) -> tuple[str, ...]:
        """The ids of what is deployed now."""
        return tuple(self._servers)

    def telemetry(self, deployment: Deployment) -> Telemetry:
        """The counters since the server started; time passes for it only under load."""
        return self._server(deployment).telemetry

    def drive(self, deployment: Deployment, profile: LoadProfile) -> LoadRun:
        """The profile's arrivals through the queues; takes as much virtual time as the last answer does."""
        server = self._server(deployment)
        starts_s = intended_starts_s(profile)
        source = random.Random(_seed(deployment.deployment_id, str(profile.seed), repr(profile.offered_rps)))
        served = serve(server.plan, starts_s, source)
        samples = seen_by_client(starts_s, served.done_s, profile.timeout_s)
        took_s = max(profile.duration_s, max(samples.done_s, default=0.0))
        server.telemetry = _counted(server.telemetry, server.plan, served, took_s)
        self.clock.sleep(took_s)
        generator = GeneratorHealth(cpu_ratio=0.0, cpu_ms_per_request=0.0, workers_lost=0)
        return LoadRun(profile=profile, samples=samples, generator=generator)

    def _server(self, deployment: Deployment) -> _Server:
        server = self._servers.get(deployment.deployment_id)
        if server is None:
            raise TransientFailure(f"deployment {deployment.deployment_id} does not run any more")
        return server

    def _deployment(self, configuration: Configuration, deployment_id: str) -> Deployment:
        return Deployment(
            deployment_id=deployment_id,
            endpoint=f"simulated:{deployment_id}",
            model_name=self._model_name,
            inputs=(TensorSpec(name="image", datatype="UINT8", shape=(3, 224, 224)),),
            batched=True,
            configuration=configuration,
            generator_cpus=(0,),
            ready_after_s=self._model.ready_s,
            facts=(("runner", "simulated: no server was started"),),
        )


def on_node(plan: ServicePlan, spread: float, deployment_id: str) -> ServicePlan:
    """The same replica on the node that this deployment landed on: CPU and device each a little faster or slower."""
    if spread == 0.0:
        return plan
    source = random.Random(_seed("node", deployment_id))
    sigma = math.sqrt(math.log1p(spread * spread))
    cpu_factor = math.exp(source.gauss(0.0, sigma))
    device_factor = math.exp(source.gauss(0.0, sigma))
    return replace(
        plan,
        item_cpu_s=plan.item_cpu_s * cpu_factor,
        batch_work_s=tuple(work_s * device_factor for work_s in plan.batch_work_s),
    )


def _seed(*parts: str) -> int:
    """The same number for the same words in every process, unlike `hash`."""
    return int.from_bytes(hashlib.blake2b("\0".join(parts).encode(), digest_size=8).digest(), "big")


def _idle(plan: ServicePlan) -> Telemetry:
    return Telemetry(
        inference_count=0,
        execution_count=0,
        queue_s=0.0,
        compute_s=0.0,
        cpu_s=0.0,
        at_s=0.0,
        cpu_limit_cores=plan.cpu_cores,
        # Its memory suffices or it does not start: a limit would say nothing of its speed.
        memory_peak_bytes=plan.memory_bytes if plan.batches_on_cpu else None,
        batches=(),
        gpu=None
        if plan.batches_on_cpu
        else GpuUse(busy_s=0.0, memory_peak_bytes=plan.memory_bytes, memory_of="server"),
    )


def _counted(before: Telemetry, plan: ServicePlan, served: Served, until_s: float) -> Telemetry:
    """The counters with what the server finished by then: a backlog nobody waits for any more is not in them.

    Queue and compute times are sums over requests, as Triton's are.
    """
    batches = [batch for batch in served.batches if batch.end_s <= until_s]
    finished = sum(batch.size for batch in batches)
    started_s = math.fsum(batch.start_s * batch.size for batch in batches)
    queued_s = math.fsum(ready for b in batches for ready in served.ready_s[b.first : b.first + b.size])
    batch_cpu_s = math.fsum(batch.work_s for batch in batches) if plan.batches_on_cpu else 0.0
    item_cpu_s = math.fsum(w for w, ready in zip(served.item_work_s, served.ready_s, strict=True) if ready <= until_s)
    return replace(
        before,
        inference_count=(before.inference_count or 0) + finished,
        execution_count=(before.execution_count or 0) + len(batches),
        queue_s=(before.queue_s or 0.0) + started_s - queued_s,
        compute_s=(before.compute_s or 0.0) + math.fsum((b.end_s - b.start_s) * b.size for b in batches),
        cpu_s=(before.cpu_s or 0.0) + item_cpu_s + batch_cpu_s,
        at_s=(before.at_s or 0.0) + until_s,
        batches=tuple(sorted((Counter(dict(before.batches or ())) + Counter(b.size for b in batches)).items())),
        gpu=None
        if before.gpu is None
        else replace(before.gpu, busy_s=(before.gpu.busy_s or 0.0) + _busy_s(served.batches, until_s)),
    )


def _busy_s(batches: Sequence[Batch], until_s: float) -> float:
    """For how long at least one batch ran by then, however many ran beside it."""
    busy_s = end_s = 0.0
    for batch in sorted(batches, key=lambda one: one.start_s):
        begins_s = max(batch.start_s, end_s)
        end_s = max(end_s, min(batch.end_s, until_s))
        busy_s += max(0.0, end_s - begins_s)
    return busy_s


def seen_by_client(starts_s: tuple[float, ...], done_s: tuple[float, ...], timeout_s: float) -> Samples:
    """The client sends on time and gives up after the timeout; the server works on without knowing."""
    ok = tuple(done - start <= timeout_s for start, done in zip(starts_s, done_s, strict=True))
    return Samples(
        intended_s=starts_s,
        sent_s=starts_s,
        done_s=tuple(min(done, start + timeout_s) for start, done in zip(starts_s, done_s, strict=True)),
        ok=ok,
    )
