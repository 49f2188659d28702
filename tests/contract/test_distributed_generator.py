"""The contract, kept by a load worker that comes to its master anew for every run."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Iterator

import pytest

from load_profiles.addresses import host_port
from load_profiles.distributed_generator import DistributedLoadGenerator
from load_profiles.locust_generator import LoadProgress
from tests.contract.load_generator_contract import LoadGeneratorContract, LostServerContract, a_profile
from tests.load_crews import crew
from tests.servers.behaviour import Behaviour, deployment_at, serving
from tuner.domain.deployment import Deployment
from tuner.domain.errors import UsageError

heard: list[LoadProgress] = []


@pytest.fixture(scope="module")
def generator() -> Iterator[DistributedLoadGenerator]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    with crew(address, 1, "--stay"):
        yield DistributedLoadGenerator(host_port(address), 1, on_progress=heard.append)


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    with serving(Behaviour()) as port:
        yield deployment_at(port)


class TestDistributedGenerator(LoadGeneratorContract, LostServerContract):
    def test_progress_is_told_up_to_the_last_request(self, run):
        assert heard[-1].due == heard[-1].sent == len(run.samples)


def test_an_endpoint_that_is_not_http_is_refused_before_a_master_starts(generator: DistributedLoadGenerator):
    with pytest.raises(UsageError, match="load cannot be sent"):
        generator.drive(dataclasses.replace(deployment_at(1), endpoint="https://127.0.0.1:1"), a_profile())
