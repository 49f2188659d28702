"""Servers that are not there, or never answer: what every load generator has to get over."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.servers.behaviour import deployment_at
from tuner.domain.deployment import Deployment, KserveProtocol


@pytest.fixture
def protocol() -> KserveProtocol:
    """A module for another protocol says so."""
    return "kserve_http"


@pytest.fixture
def absent(protocol: KserveProtocol) -> Deployment:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return deployment_at(port, protocol=protocol)


@pytest.fixture
def silent(protocol: KserveProtocol) -> Iterator[Deployment]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(512)
        yield deployment_at(listener.getsockname()[1], protocol=protocol)
