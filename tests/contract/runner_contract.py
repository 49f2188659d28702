"""One suite for every Runner: ready on entry, gone on exit, whatever happens in between."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tuner.domain.deployment import Deployment, telemetry_between
from tuner.domain.errors import InfeasibleConfiguration, TransientFailure
from tuner.domain.space import Configuration
from tuner.ports import Runner


class TheBodyBroke(Exception):
    """Something that no runner knows."""


class RunnerContract:
    """A back-end subclasses this, gives a `runner` fixture, and fills in the four members below."""

    servable: Configuration
    infeasible: Configuration

    def exercise(self, deployment: Deployment) -> None:
        """Send a few requests one after the other: a server may count the last one after it has answered it."""
        raise NotImplementedError

    def remains(self, deployment_id: str) -> Sequence[str]:
        """What of a deployment still is there: processes, control groups, folders, ports, registry entries."""
        raise NotImplementedError

    def test_ready_on_entry_and_gone_on_exit(self, runner: Runner):
        with runner.deploy(self.servable, deployment_id="t-1-0") as deployment:
            self.exercise(deployment)
            assert (deployment.deployment_id, deployment.configuration) == ("t-1-0", self.servable)
            assert deployment.ready_after_s >= 0
            assert deployment.inputs
            assert deployment.generator_cpus
            assert self.remains("t-1-0")
        assert self.remains("t-1-0") == []

    @pytest.mark.parametrize("error", [TheBodyBroke, KeyboardInterrupt, TransientFailure])
    def test_gone_when_the_body_breaks_and_the_error_comes_through(self, runner: Runner, error: type[BaseException]):
        with pytest.raises(error, match="this one"), runner.deploy(self.servable, deployment_id="t-2-0"):
            raise error("this one")
        assert self.remains("t-2-0") == []

    def test_a_configuration_that_cannot_serve_is_infeasible_and_leaves_nothing(self, runner: Runner):
        with pytest.raises(InfeasibleConfiguration), runner.deploy(self.infeasible, deployment_id="t-3-0"):
            pytest.fail("it must not be entered")
        assert self.remains("t-3-0") == []

    def test_telemetry_grows_with_requests_and_starts_afresh_with_each_deployment(self, runner: Runner):
        counts = []
        for _ in range(2):
            with runner.deploy(self.servable, deployment_id="t-4-0") as deployment:
                before = runner.telemetry(deployment)
                self.exercise(deployment)
                spent = telemetry_between(before, runner.telemetry(deployment))
                counts.append((before.inference_count, spent.inference_count))
        assert all(before == 0 and during is not None and during > 0 for before, during in counts)

    def test_telemetry_of_what_is_gone_is_a_transient_failure(self, runner: Runner):
        with runner.deploy(self.servable, deployment_id="t-5-0") as deployment:
            pass
        with pytest.raises(TransientFailure):
            runner.telemetry(deployment)
