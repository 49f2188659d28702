"""Load without time: one real request to the pod, and then the answers that the simulated queue gives."""

from __future__ import annotations

from runners.simulated_bench import SimulatedBench, VirtualClock
from runners.simulated_service import VirtualModel
from tests.cluster.runners import infer
from tuner.domain.deployment import Deployment
from tuner.domain.load import LoadProfile, LoadRun
from tuner.domain.space import Configuration
from tuner.domain.spec import StudySpec

MODEL = VirtualModel(node_spread=0.0)


class SimulatedLoad:
    """A LoadGenerator. What a configuration is like follows from it and the profile's seed alone."""

    def __init__(self, spec: StudySpec) -> None:
        self._footprint = spec.pricing.footprint

    def drive(self, deployment: Deployment, profile: LoadProfile) -> LoadRun:
        """As long as the queue would take, in no time."""
        infer(deployment)
        bench = SimulatedBench(
            model=MODEL, footprint=self._footprint, model_name=deployment.model_name, clock=VirtualClock()
        )
        known = {name: value for name, value in deployment.configuration.settings if not name.startswith("env.")}
        configuration = Configuration.of(known)
        with bench.deploy(configuration, deployment_id=configuration.key) as virtual:
            return bench.drive(virtual, profile)
