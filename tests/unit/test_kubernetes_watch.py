"""The pods of a trial stay known through watches that break, and no storm of requests begins."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kubernetes import client

from runners.kubernetes_api import ApiRefused, KubernetesApi
from runners.kubernetes_watch import PodWatch
from tests.fakes import VirtualClock
from tests.servers.scripted_api import Reply, ScriptedApi, scripted_api


def a_pod(name: str, version: str) -> Any:
    return {"metadata": {"name": name, "uid": name, "resourceVersion": version}}


def listed(*pods: Any) -> Reply:
    return Reply(
        body={"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "7"}, "items": list(pods)}
    )


def event(kind: str, pod: Any) -> Reply:
    return Reply(body=json.dumps({"type": kind, "object": pod}) + "\n")


EXPIRED = Reply(status=410, body={"reason": "Expired"})
ONE = a_pod("one", "6")


def names(watch: PodWatch) -> list[str]:
    return [pod["metadata"]["name"] for pod in watch.look(wait_s=1)]  # type: ignore[index,call-overload]


def watching(script: ScriptedApi) -> tuple[PodWatch, VirtualClock]:
    clock = VirtualClock()
    api = KubernetesApi(client.Configuration(host=script.host), context="test", clock=clock, patience_s=5)
    return PodWatch(api, "n", "a=b", clock), clock


def test_pods_come_change_and_go():
    two = a_pod("two", "8")
    with scripted_api([listed(ONE), event("ADDED", two), event("DELETED", ONE), Reply(body="")]) as script:
        watch, _ = watching(script)
        assert [names(watch) for _ in range(4)] == [["one"], ["one", "two"], ["two"], ["two"]]
    assert "resourceVersion=7" in script.asked[1][1]
    assert "resourceVersion=8" in script.asked[2][1]


def test_a_watch_that_is_too_old_is_followed_by_a_new_list():
    with scripted_api([listed(ONE), EXPIRED, listed(), Reply(body="")]) as script:
        watch, _ = watching(script)
        assert [names(watch) for _ in range(3)] == [["one"], ["one"], []]
    assert ["watch=true" in path for _, path in script.asked] == [False, True, False]


@pytest.mark.parametrize("broken", [EXPIRED, Reply(status=429), Reply(reset=True)], ids=["410", "429", "reset"])
def test_watches_that_never_hold_are_asked_for_less_and_less(broken: Reply):
    with scripted_api([listed(ONE), broken] * 200) as script:
        watch, clock = watching(script)
        while clock.now_s() < 100:
            assert names(watch) == ["one"]
    # A list and a watch every five seconds, after the first few.
    assert len(script.asked) <= 2 * (100 / 5 + 6)


def test_a_right_that_is_missing_is_no_trouble_that_passes():
    with scripted_api([listed(ONE), Reply(status=403, body={"message": "forbidden"})]) as script:
        watch, _ = watching(script)
        watch.look(wait_s=1)
        with pytest.raises(ApiRefused, match="forbidden"):
            watch.look(wait_s=1)
