"""What a cluster says of a server that is up: what is on record of it, and whether it is still the same one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clusters import (
    NOW,
    a_deployment,
    a_node,
    ago,
    condition,
    container_status,
    expectation,
    ready_pod,
)
from tuner.manifests.cluster.classify import classify, spoiled
from tuner.manifests.cluster.states import Ready, Transient


def test_another_container_may_restart_beside_the_server():
    pod = ready_pod()
    pod["status"]["containerStatuses"].append(
        container_status("proxy", restarts=1, last={"terminated": {"reason": "Error", "exitCode": 1}})
    )
    assert isinstance(classify([pod], [], NOW, expectation()), Ready)


def test_what_is_on_record_of_a_ready_server():
    state = classify([ready_pod()], [], NOW, expectation())
    assert isinstance(state, Ready)
    assert (state.node, state.address, state.restarts) == ("node0", "10.244.0.7", 0)
    assert state.image_id.startswith("registry.example/triton@sha256:")


def test_a_measurement_on_the_same_server_stands():
    state = classify([ready_pod()], [], NOW, expectation())
    assert isinstance(state, Ready)
    assert spoiled(state, [ready_pod(), a_deployment()]) == ""


@pytest.mark.parametrize(
    ("after", "why"),
    [
        ([], "is gone"),
        ([ready_pod(restarts=1)], "was restarted"),
        ([ready_pod(metadata={"uid": "other"})], "is gone"),
        ([ready_pod(conditions=[condition("Ready", "False")])], "stopped being ready"),
        ([ready_pod(metadata={"uid": "4f1c", "deletionTimestamp": ago(1)})], "is being removed"),
    ],
)
def test_a_restart_voids_the_measurement(after: list[Any], why: str):
    state = classify([ready_pod()], [], NOW, expectation())
    assert isinstance(state, Ready)
    assert why in spoiled(state, after)


def test_a_transient_failure_names_the_node_to_avoid():
    state = classify([ready_pod(), a_node(ready="Unknown")], [], NOW, expectation())
    assert isinstance(state, Transient)
    assert state.node == "node0"
