"""One cluster for all tests of this folder: a control plane of our own."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.binaries import missing_control_plane
from tests.cluster.control_plane import ControlPlane, control_plane
from tests.cluster.fake_node import FakeNodes, fake_nodes, make_node


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    # Asked for by name while the folder's tests still disturb each other when all run on one control plane.
    if not os.environ.get("SERVETUNE_TEST_CLUSTER"):
        pytest.skip("set SERVETUNE_TEST_CLUSTER=1 to run a Kubernetes control plane")
    missing = missing_control_plane()
    if missing:
        pytest.skip(missing)
    with control_plane(tmp_path_factory.mktemp("plane")) as running:
        yield running


@pytest.fixture(scope="session")
def node(plane: ControlPlane) -> Iterator[FakeNodes]:
    """One node that a thread speaks for."""
    make_node(plane.admin, "fake0", nvidia__com__gpu="2")
    with fake_nodes(plane.admin, "fake0") as running:
        yield running


@pytest.fixture
def namespace(plane: ControlPlane) -> str:
    """One of its own, with its account made: without it no pod is let in."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    plane.admin.post("/api/v1/namespaces", {"kind": "Namespace", "metadata": {"name": name}})
    return name


@pytest.fixture
def kubeconfig(plane: ControlPlane) -> Path:
    return plane.kubeconfig()
