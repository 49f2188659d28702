"""The user's own pod template beside the service it came from: what a trial must not share with it, or lose."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from tests.clusters import BASE, cluster, served
from tuner.domain.cluster import EngineBuild
from tuner.domain.errors import UsageError
from tuner.manifests.cluster.base_pod import base_pod
from tuner.manifests.cluster.server_pod import server_template


def patched(container: dict[str, Any] | None = None, pod: dict[str, Any] | None = None, **changes: Any) -> Any:
    """The template of BASE with changes to its container and its pod, as a trial deploys it."""
    knobs = changes.pop("knobs", {})
    base = deepcopy(BASE)
    base["spec"]["template"]["spec"] |= pod or {}
    base["spec"]["template"]["spec"]["containers"][1] |= container or {}
    options = cluster(image="", model=None, base=base_pod(base, "triton"), **changes)
    return server_template(options, served(knobs))


def test_a_trial_is_not_found_by_the_service_it_came_from():
    assert BASE["spec"]["selector"]["matchLabels"] == {"app": "resnet"}
    assert "app" not in patched()["metadata"]["labels"]


def test_files_in_the_users_volumes_keep_their_group():
    assert "fsGroup" not in patched()["spec"]["securityContext"]
    engine = EngineBuild(image="x", command=("build",), cache_claim="engines")
    assert server_template(cluster(engine=engine), served({"gpu_type": "T4"}))["spec"]["securityContext"]["fsGroup"]  # type: ignore[call-overload, index]


@pytest.mark.parametrize(
    ("container", "pod"),
    [
        ({"securityContext": {"runAsUser": 0}}, {}),
        ({"securityContext": {}}, {"securityContext": {"runAsUser": 0}}),
        ({"securityContext": {}}, {"securityContext": {"runAsNonRoot": False}}),
    ],
)
def test_a_server_that_says_it_is_root_stays_root(container: dict[str, Any], pod: dict[str, Any]):
    context = patched(container, pod)["spec"]["securityContext"]
    assert context.get("runAsNonRoot") is not True
    assert context.get("runAsUser", 0) == 0


def test_who_says_nothing_is_no_root():
    assert patched()["spec"]["securityContext"]["runAsNonRoot"] is True


@pytest.mark.parametrize("command", [["/bin/sh", "-c", "tritonserver"], ["bash", "-ec", "exec tritonserver"]])
def test_an_argument_for_a_shell_is_refused(command: list[str]):
    with pytest.raises(UsageError, match="--http-thread-count cannot be added: a shell starts container triton"):
        patched({"command": command, "args": []}, knobs={"arg.http-thread-count": 4})
    assert patched({"command": command, "args": []})["spec"]["containers"][1]["command"] == command


@pytest.mark.parametrize(
    ("command", "args"),
    [
        (["tritonserver", "--http-thread-count=4", "--log-info=1"], []),
        (["tritonserver"], ["--http-thread-count", "4", "--log-info=1"]),
    ],
)
def test_a_tuned_argument_stands_once(command: list[str], args: list[str]):
    one = patched({"command": command, "args": args}, knobs={"arg.http-thread-count": 16})["spec"]["containers"][1]
    assert [*one["command"], *one.get("args", [])] == ["tritonserver", "--log-info=1", "--http-thread-count=16"]


def test_the_account_that_fetches_the_model_may_be_named():
    assert patched()["spec"]["serviceAccountName"] == "resnet"
    assert patched(service_account="reader")["spec"]["serviceAccountName"] == "reader"
    assert patched(service_account="reader")["spec"]["automountServiceAccountToken"] is False
