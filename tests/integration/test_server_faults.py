"""What a faulty server does to a measurement, over HTTP and gRPC: it ends in time, with the right verdict and share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from load_profiles.locust_generator import LocustLoadGenerator
from tests.contract.load_generator_contract import GIVING_UP_TAKES_S, a_profile
from tests.servers.behaviour import GRPC_SERVER, HTTP_SERVER, Behaviour, deployment_at, serving
from tuner.domain.deployment import KserveProtocol, Telemetry
from tuner.domain.measurement import measure
from tuner.domain.slo import Slo, Verdict, judge

SERVERS = {"kserve_http": HTTP_SERVER, "kserve_grpc": GRPC_SERVER}
ERRORS = Slo(indicator="error_ratio", max=0.01)
# Wide enough that a busy machine is no reason for a request to be late, or to leave late.
LATE = Slo(indicator="latency_p90_ms", max=1000.0)


@dataclass(frozen=True, kw_only=True)
class Fault:
    behaviour: Behaviour
    broken: Slo
    error_ratio: float
    reason: str
    timeout_s: float = 30.0  # no answer is later than that, on any machine


FAULTS = {
    "slow": Fault(behaviour=Behaviour(delay_s=1.2), broken=LATE, error_ratio=0.0, reason=""),
    "hung": Fault(
        behaviour=Behaviour(hang_after=20),
        broken=ERRORS,
        error_ratio=0.87,
        reason="within the time limit",
        timeout_s=3.0,
    ),
    "errors": Fault(behaviour=Behaviour(error_every=2), broken=ERRORS, error_ratio=0.5, reason="failed as planned"),
    "wrong size": Fault(
        behaviour=Behaviour(answer="wrong_size"), broken=ERRORS, error_ratio=1.0, reason="not as long as it says"
    ),
    "resets": Fault(behaviour=Behaviour(reset_every=4), broken=ERRORS, error_ratio=0.25, reason="reset"),
}


@pytest.fixture(scope="module")
def generator() -> Iterator[LocustLoadGenerator]:
    with LocustLoadGenerator() as generator:
        yield generator


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
@pytest.mark.parametrize("protocol", SERVERS)
def test_a_fault_of_the_server_is_a_certain_failure_with_its_share_of_errors(
    generator: LocustLoadGenerator, protocol: KserveProtocol, fault: Fault
):
    slos = (ERRORS, LATE)
    profile = a_profile("constant", offered_rps=150.0, warmup_s=0.0, window_s=1.0, timeout_s=fault.timeout_s)
    with serving(fault.behaviour, SERVERS[protocol]) as port:
        run = generator.drive(deployment_at(port, protocol=protocol), profile)
    measurement = measure(run, slos, Telemetry())
    assert measurement.error_ratio == pytest.approx(fault.error_ratio, abs=0.05)
    assert judge(measurement.tallies) is Verdict.FAIL
    assert judge(tally for tally in measurement.tallies if tally.slo == fault.broken) is Verdict.FAIL
    assert fault.reason in measurement.first_error
    assert measurement.never_sent == 0, "the server's fault, not the generator's"
    assert max(run.samples.done_s) < profile.duration_s + profile.timeout_s + GIVING_UP_TAKES_S
