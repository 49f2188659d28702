"""One cluster for all tests of this folder: a control plane of our own."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.binaries import missing_control_plane
from tests.cluster.control_plane import ControlPlane, control_plane
from tests.cluster.fake_node import FakeNodes, fake_nodes
from tests.cluster.processes import await_true
from tests.cluster.rest import exists
from tests.cluster.runners import own_node


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    if not os.environ.get("SERVETUNE_TEST_CLUSTER"):
        pytest.skip("set SERVETUNE_TEST_CLUSTER=1 to run a Kubernetes control plane")
    missing = missing_control_plane()
    if missing:
        pytest.skip(missing)
    with control_plane(tmp_path_factory.mktemp("plane")) as running:
        yield running


@pytest.fixture(scope="session")
def nodes(plane: ControlPlane) -> Iterator[FakeNodes]:
    """Speaks for the nodes that tests add."""
    with fake_nodes(plane.admin) as running:
        yield running


@pytest.fixture
def namespace(plane: ControlPlane) -> Iterator[str]:
    """One of its own; with everything in it, it is on its way out afterwards."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    plane.admin.post("/api/v1/namespaces", {"kind": "Namespace", "metadata": {"name": name}})
    account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
    await_true("the namespace has its account: without it no pod is let in", lambda: exists(plane.admin, account))
    yield name
    plane.admin.delete(f"/api/v1/namespaces/{name}")


@pytest.fixture
def node(nodes: FakeNodes, namespace: str) -> Iterator[FakeNodes]:
    """A node for the test's own namespace, which takes the pods of `tests.cluster.runners.options`; nobody else's."""
    nodes.add(f"node-{namespace}", labels=own_node(namespace), nvidia__com__gpu="2")
    yield nodes
    nodes.remove(f"node-{namespace}")


@pytest.fixture
def kubeconfig(plane: ControlPlane) -> Path:
    return plane.kubeconfig()
