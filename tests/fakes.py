"""Small fakes behind the ports. They pass the same contract suites as the real back-ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from tuner.domain.arrivals import intended_starts_s
from tuner.domain.deployment import Deployment, Telemetry, TensorSpec
from tuner.domain.errors import TransientFailure, UsageError
from tuner.domain.load import GeneratorHealth, LoadProfile, LoadRun, Samples
from tuner.domain.space import Configuration
from tuner.domain.trial import Trial

LatencyLaw = Callable[[Configuration, LoadProfile], float]


class VirtualClock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def now_s(self) -> float:
        return self._now_s

    def sleep(self, seconds: float) -> None:
        self._now_s += seconds


@dataclass
class FakeRunner:
    """Ready after two virtual seconds; `refuse` may raise instead. `served` counts the requests of what is up."""

    clock: VirtualClock
    refuse: Callable[[Configuration], None] = lambda _configuration: None
    served: dict[str, int] = field(default_factory=dict)
    deployed: list[str] = field(default_factory=list)

    def deploy(self, configuration: Configuration, *, deployment_id: str) -> AbstractContextManager[Deployment]:
        return self._deploy(configuration, deployment_id)

    @contextmanager
    def _deploy(self, configuration: Configuration, deployment_id: str) -> Iterator[Deployment]:
        self.deployed.append(deployment_id)
        self.clock.sleep(2.0)
        self.refuse(configuration)
        self.served[deployment_id] = 0
        try:
            yield Deployment(
                deployment_id=deployment_id,
                endpoint="http://127.0.0.1:1",
                model_name="fake",
                inputs=(TensorSpec(name="x", datatype="FP32", shape=(4,)),),
                batched=True,
                configuration=configuration,
                generator_cpus=(0,),
                ready_after_s=2.0,
            )
        finally:
            del self.served[deployment_id]
            self.clock.sleep(1.0)

    def telemetry(self, deployment: Deployment) -> Telemetry:
        if deployment.deployment_id not in self.served:
            raise TransientFailure(f"{deployment.deployment_id} is gone")
        return Telemetry(inference_count=self.served[deployment.deployment_id])


@dataclass
class FakeLoad:
    """Answers every request after a latency that depends on configuration and profile only."""

    clock: VirtualClock
    latency_s: LatencyLaw
    lag_s: Callable[[LoadProfile], float] = lambda _profile: 0.0

    def drive(self, deployment: Deployment, profile: LoadProfile) -> LoadRun:
        starts = intended_starts_s(profile)
        latency_s, lag_s = self.latency_s(deployment.configuration, profile), self.lag_s(profile)
        ok = latency_s <= profile.timeout_s
        self.clock.sleep(profile.duration_s)
        return LoadRun(
            profile=profile,
            samples=Samples(
                intended_s=starts,
                sent_s=tuple(start + lag_s for start in starts),
                done_s=tuple(start + lag_s + min(latency_s, profile.timeout_s) for start in starts),
                ok=(ok,) * len(starts),
            ),
            generator=GeneratorHealth(cpu_ratio=0.1, cpu_ms_per_request=0.1, workers_lost=0),
        )


class ListHistory:
    """Trials in a list."""

    def __init__(self, trials: Sequence[Trial] = ()) -> None:
        self._trials = list(trials)

    def append(self, trial: Trial) -> None:
        if trial.number in {known.number for known in self._trials}:
            raise UsageError(f"trial {trial.number} is already in the history")
        self._trials.append(trial)

    def trials(self) -> tuple[Trial, ...]:
        return tuple(sorted(self._trials, key=lambda trial: trial.number))
