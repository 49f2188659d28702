"""The tests of this folder on a cluster that is given by its kubeconfig: here our own, taken for somebody else's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.control_plane import ControlPlane
from tests.cluster.foreign import KUBECONFIG_VARIABLE

pytestmark = pytest.mark.cluster
FOLDER = Path(__file__).parent


def test_what_needs_only_namespaces_runs_there_and_the_rest_says_why_not(plane: ControlPlane):
    nodes_before = plane.admin.items("/api/v1/nodes")
    given = os.environ | {KUBECONFIG_VARIABLE: str(plane.kubeconfig())}
    files = [str(FOLDER / name) for name in ("test_commands.py", "test_runner_contract.py")]
    argv = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", *files]
    done = subprocess.run(argv, env=given, cwd=FOLDER.parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "4 passed, 7 skipped" in done.stdout
    assert f"not in the cluster of {KUBECONFIG_VARIABLE}" in done.stdout
    assert plane.admin.items("/api/v1/nodes") == nodes_before == []
