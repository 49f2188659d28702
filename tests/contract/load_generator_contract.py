"""What every load generator promises. A back-end's test inherits from these and provides the fixtures they name."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from tuner.domain.arrival_kinds import Arrivals
from tuner.domain.arrivals import intended_starts_s
from tuner.domain.deployment import Deployment
from tuner.domain.load import LoadProfile, LoadRun, Payload
from tuner.ports import LoadGenerator

GIVING_UP_TAKES_S = 60.0
"""Far more than it takes, on a machine however busy: only a run that hangs takes longer."""


def a_profile(arrivals: Arrivals = "poisson", **changes: float) -> LoadProfile:
    """100 rps for 0.6 s, the first 0.1 s of it warm-up. Late enough for any machine, a request has failed."""
    settings = {"offered_rps": 100.0, "warmup_s": 0.1, "window_s": 0.5, "timeout_s": 20.0} | changes
    return LoadProfile(arrivals=arrivals, payload=Payload(count=3), seed=7, **settings)


class LoadGeneratorContract:
    """Fixtures, of class scope or wider: `generator`, and `deployment`, which serves 100 rps easily."""

    @pytest.fixture(scope="class", params=["poisson", "constant"])
    @classmethod
    def run(cls, request: pytest.FixtureRequest, generator: LoadGenerator, deployment: Deployment) -> LoadRun:
        return generator.drive(deployment, a_profile(request.param))

    def test_the_whole_schedule_is_sent_and_answered(self, run: LoadRun):
        assert run.profile == a_profile(run.profile.arrivals)
        assert run.samples.intended_s == intended_starts_s(run.profile)
        assert len(run.samples.sent_s) == len(run.samples.done_s) == len(run.samples.ok) == len(run.samples)
        assert all(run.samples.ok), run.generator.first_error
        assert run.generator.first_error == ""

    def test_requests_are_in_order_of_when_they_were_due_and_none_leaves_early(self, run: LoadRun):
        samples = run.samples
        assert all(early <= late for early, late in pairwise(samples.intended_s))
        assert all(sent >= due for due, sent in zip(samples.intended_s, samples.sent_s, strict=True))

    def test_the_send_lag_can_be_told_for_every_request(self, run: LoadRun):
        assert all(math.isfinite(sent) for sent in run.samples.sent_s)

    def test_on_return_every_request_is_settled(self, run: LoadRun):
        samples = run.samples
        assert all(done >= sent for sent, done in zip(samples.sent_s, samples.done_s, strict=True))
        assert all(math.isfinite(done) for done in samples.done_s)

    def test_the_generator_tells_its_own_cost(self, run: LoadRun):
        assert run.generator.cpu_ratio >= 0.0
        assert run.generator.cpu_ms_per_request >= 0.0
        assert run.generator.workers_lost == 0


class LostServerContract:
    """Fixtures: `generator`; `absent`, a deployment nobody serves any more; `silent`, one that never answers."""

    def test_without_a_server_every_request_fails_and_the_reason_is_kept(
        self, generator: LoadGenerator, absent: Deployment
    ):
        run = generator.drive(absent, a_profile())
        assert len(run.samples) == len(intended_starts_s(a_profile()))
        assert not any(run.samples.ok)
        assert all(math.isfinite(sent) for sent in run.samples.sent_s), "the server's fault, not the generator's"
        assert "refused" in run.generator.first_error

    def test_a_silent_server_ends_the_run_at_the_time_limit(self, generator: LoadGenerator, silent: Deployment):
        profile = a_profile(timeout_s=0.5)
        samples = generator.drive(silent, profile).samples
        assert not any(samples.ok)
        assert max(samples.done_s) < profile.duration_s + profile.timeout_s + GIVING_UP_TAKES_S
        assert all(d - i >= profile.timeout_s for i, d in zip(samples.intended_s, samples.done_s, strict=True))
