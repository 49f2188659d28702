"""`servetune doctor` and `clean` against a cluster, as a user runs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.foreign import Cluster
from tests.cluster.runners import occupied
from tests.cluster.strangers import Stranger
from tests.cluster.test_clean_and_access import abandon

pytestmark = pytest.mark.cluster


def servetune(*argv: str) -> tuple[int, str]:
    done = subprocess.run([sys.executable, "-m", "tuner", *argv], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def cluster_options(kubeconfig: Path, namespace: str) -> tuple[str, ...]:
    return "--runner", "kubernetes", "--kubeconfig", str(kubeconfig), "--namespace", namespace


def test_clean_lists_then_removes_what_is_past_its_expiry(cluster: Cluster, namespace: str, kubeconfig: Path):
    abandon(kubeconfig, namespace, expires_at="2020-01-01T00:00:00Z")
    where = cluster_options(kubeconfig, namespace)
    code, said = servetune("clean", *where, "--dry-run")
    assert (code, said.split(":")[0]) == (
        0,
        f"would remove trial 12 attempt 1 of study resnet50 on cards in namespace {namespace}",
    )
    assert occupied(cluster.admin, namespace)
    code, said = servetune("clean", *where)
    assert code == 0
    assert said.startswith("removed trial 12 ")
    assert occupied(cluster.admin, namespace) == []


def test_doctor_is_content_with_an_administrator(namespace: str, kubeconfig: Path):
    code, said = servetune("doctor", *cluster_options(kubeconfig, namespace))
    assert code == 0, said
    assert "missing" not in said


def test_doctor_names_what_is_missing_and_prints_the_role(stranger: Stranger, namespace: str):
    code, said = servetune("doctor", *cluster_options(stranger.kubeconfig, namespace))
    assert code == 7
    assert "missing      deployments (the server of a trial): may not create, get, list in namespace" in said
    assert "kind: Role" in said
    assert f"namespace: {namespace}" in said


def test_no_namespace_is_asked_for():
    code, said = servetune("clean", "--runner", "kubernetes")
    assert code == 2
    assert "--namespace NAME" in said
