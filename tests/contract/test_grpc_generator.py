"""The load generator contract over gRPC: an HTTP/2 server of another make, nobody, one that is silent, and Triton."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from load_profiles.locust_generator import LocustLoadGenerator
from tests.contract.load_generator_contract import LoadGeneratorContract, LostServerContract, a_profile
from tests.local_triton import IMAGE_SHAPE, local_runner
from tests.servers.behaviour import GRPC_SERVER, Behaviour, deployment_at, serving
from tuner.domain.deployment import Deployment, KserveProtocol
from tuner.domain.errors import UsageError
from tuner.domain.load import Payload
from tuner.domain.space import Configuration


@pytest.fixture(scope="module")
def generator() -> Iterator[LocustLoadGenerator]:
    with LocustLoadGenerator() as generator:
        yield generator


@pytest.fixture
def protocol() -> KserveProtocol:
    return "kserve_grpc"


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    with serving(Behaviour(), GRPC_SERVER) as port:
        yield deployment_at(port, protocol="kserve_grpc")


class TestGrpcGenerator(LoadGeneratorContract, LostServerContract):
    pass


def test_an_endpoint_of_another_protocol_is_refused(generator: LocustLoadGenerator, deployment: Deployment):
    with pytest.raises(UsageError, match=r"grpc://HOST:PORT"):
        generator.drive(replace(deployment, endpoint="http://127.0.0.1:1"), a_profile())


@pytest.mark.triton
def test_triton_answers_over_grpc_what_it_answers_over_http(tmp_path: Path, generator: LocustLoadGenerator):
    knobs = Configuration.of({"cpu_cores": 1, "max_batch_size": 4})
    runner = local_runner(tmp_path, protocol="kserve_grpc")
    with runner.deploy(knobs, deployment_id="t-grpc-0") as served:
        assert served.endpoint.startswith("grpc://127.0.0.1:")
        profile = replace(a_profile(timeout_s=10.0, offered_rps=30.0), payload=Payload(kind="image", shape=IMAGE_SHAPE))
        run = generator.drive(served, profile)
        counted = runner.telemetry(served).inference_count
        assert all(run.samples.ok), run.generator.first_error
        assert counted == len(run.samples)
        other = tuple(replace(tensor, name="no_such_input") for tensor in served.inputs)
        refused = generator.drive(replace(served, inputs=other), profile)
        unknown = generator.drive(replace(served, model_name="nobody"), profile)
    assert not any(refused.samples.ok)
    assert refused.generator.first_error.startswith("gRPC ")
    assert not any(unknown.samples.ok)
    assert "gRPC NOT_FOUND" in unknown.generator.first_error
    assert all(map(math.isfinite, unknown.samples.sent_s))
