"""One cluster for all tests of this folder: a control plane of our own, or one that is given by its kubeconfig."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.binaries import missing_control_plane
from tests.cluster.control_plane import ControlPlane, control_plane
from tests.cluster.fake_node import FakeNodes, fake_nodes
from tests.cluster.foreign import KUBECONFIG_VARIABLE, Cluster, foreign_cluster, given_kubeconfig
from tests.cluster.processes import await_true
from tests.cluster.rest import exists
from tests.cluster.runners import own_node
from tests.cluster.strangers import Stranger, a_stranger


@pytest.fixture(scope="package")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """One of our own, for tests that need accounts or nodes of their own making."""
    if given_kubeconfig():
        pytest.skip(
            f"it makes up nodes, or asks for accounts of its own making: not in the cluster of {KUBECONFIG_VARIABLE}"
        )
    missing = missing_control_plane()
    if missing:
        pytest.skip(missing)
    with control_plane(tmp_path_factory.mktemp("plane")) as running:
        yield running


@pytest.fixture(scope="package")
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """The one whose kubeconfig is given, else our own; for tests that need no more than namespaces."""
    file = given_kubeconfig()
    return foreign_cluster(file) if file else request.getfixturevalue("plane")


@pytest.fixture(scope="package")
def nodes(plane: ControlPlane) -> Iterator[FakeNodes]:
    """Speaks for the nodes that tests add."""
    with fake_nodes(plane.admin) as running:
        yield running


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """One of its own; with everything in it, it is on its way out afterwards."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    cluster.admin.post("/api/v1/namespaces", {"kind": "Namespace", "metadata": {"name": name}})
    account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
    await_true("the namespace has its account: without it no pod is let in", lambda: exists(cluster.admin, account))
    yield name
    cluster.admin.delete(f"/api/v1/namespaces/{name}")


@pytest.fixture
def node(nodes: FakeNodes, namespace: str) -> Iterator[FakeNodes]:
    """A node for the test's own namespace, which takes the pods of `tests.cluster.runners.options`; nobody else's."""
    nodes.add(f"node-{namespace}", labels=own_node(namespace), nvidia__com__gpu="2")
    yield nodes
    nodes.remove(f"node-{namespace}")


@pytest.fixture
def kubeconfig(cluster: Cluster) -> Path:
    return cluster.kubeconfig()


@pytest.fixture
def stranger(cluster: Cluster, namespace: str, tmp_path: Path) -> Stranger:
    return a_stranger(cluster.admin, namespace, tmp_path / "stranger.kubeconfig")
