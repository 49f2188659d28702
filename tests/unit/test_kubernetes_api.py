"""How the cluster's client repeats what failed, against a scripted server and on a clock that only sleeps move."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from kubernetes import client

from runners.kubernetes_api import ApiRefused, KubernetesApi
from tests.fakes import VirtualClock
from tests.servers.scripted_api import Reply, ScriptedApi, scripted_api

POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one", "namespace": "n"}}
PATH = "/api/v1/namespaces/n/pods/one"
TROUBLE = {
    "429": Reply(status=429, body={"reason": "TooManyRequests"}),
    "500": Reply(status=500, body={"reason": "InternalError"}),
    "503": Reply(status=503, body="no backend"),
    "reset": Reply(reset=True),
    "broken off": Reply(body=POD, cut=10),
    "half of it": Reply(body=POD, cut=10, honest=True),
    "no JSON": Reply(body="<html>sign in</html>"),
    "an error broken off": Reply(status=403, body={"reason": "Forbidden"}, cut=5),
}


class RecordingClock(VirtualClock):
    """Remembers its sleeps."""

    def __init__(self) -> None:
        super().__init__()
        self.sleeps_s: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.sleeps_s.append(seconds)
        super().sleep(seconds)


Speaks = Callable[..., tuple[KubernetesApi, ScriptedApi, RecordingClock]]


@pytest.fixture
def speaks() -> Iterator[Speaks]:
    with ExitStack() as stack:

        def start(*replies: Reply, **options: Any) -> tuple[KubernetesApi, ScriptedApi, RecordingClock]:
            script, clock = stack.enter_context(scripted_api(replies)), RecordingClock()
            configuration = client.Configuration(host=script.host)
            return KubernetesApi(configuration, context="test", clock=clock, **options), script, clock

        yield start


@pytest.mark.parametrize("trouble", TROUBLE)
def test_trouble_that_passes_is_waited_for(speaks: Speaks, trouble: str):
    api, script, clock = speaks(TROUBLE[trouble], TROUBLE[trouble], Reply(body=POD))
    assert api.get(PATH) == POD
    assert script.asked == [("GET", PATH)] * 3
    assert len(clock.sleeps_s) == 2


def test_silence_is_no_answer_and_is_asked_again(speaks: Speaks):
    api, script, _ = speaks(Reply(silent=True), Reply(body=POD), answer_s=0.05)
    assert api.get(PATH) == POD
    assert len(script.asked) == 2


def test_pauses_grow_to_a_limit_and_a_long_outage_costs_few_requests(speaks: Speaks):
    api, script, clock = speaks(Reply(reset=True), patience_s=600)
    with pytest.raises(ApiRefused, match="gave no answer"):
        api.get(PATH)
    assert clock.now_s() == pytest.approx(600)
    assert max(clock.sleeps_s) <= 10.0
    assert min(clock.sleeps_s[:-1]) >= 0.1
    # Half of ten seconds on average, after the first few.
    assert len(script.asked) < 600 / 5 * 2


def test_the_default_patience_outlasts_an_outage_of_a_minute(speaks: Speaks):
    api, _, clock = speaks(Reply(reset=True))
    with pytest.raises(ApiRefused):
        api.get(PATH)
    assert clock.now_s() >= 120


def test_two_clients_do_not_come_back_together(speaks: Speaks):
    pauses = []
    for _ in range(2):
        api, _, clock = speaks(Reply(status=503), patience_s=60)
        with pytest.raises(ApiRefused):
            api.get(PATH)
        pauses.append(clock.sleeps_s)
    assert pauses[0] != pauses[1]


def test_the_cluster_s_wish_to_be_left_alone_is_heeded(speaks: Speaks):
    api, _, clock = speaks(Reply(status=429, headers=(("Retry-After", "7"),)), Reply(body=POD))
    api.get(PATH)
    assert 7.0 < clock.sleeps_s[0] < 8.0


def test_the_wish_may_be_in_the_answer_s_body(speaks: Speaks):
    api, _, clock = speaks(Reply(status=429, body={"details": {"retryAfterSeconds": 4}}), Reply(body=POD))
    api.get(PATH)
    assert 4.0 < clock.sleeps_s[0] < 5.0


def test_the_wish_may_be_a_date(speaks: Speaks):
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=9), usegmt=True)
    api, _, clock = speaks(Reply(status=503, headers=(("Retry-After", later),)), Reply(body=POD))
    api.get(PATH)
    assert 7.0 < clock.sleeps_s[0] < 10.0


@pytest.mark.parametrize("wish", ["soon", "-3", "1e3", ""])
def test_a_wish_that_nobody_can_read_is_none(speaks: Speaks, wish: str):
    api, _, clock = speaks(Reply(status=503, headers=(("Retry-After", wish),)), Reply(body=POD))
    api.get(PATH)
    assert clock.sleeps_s[0] < 1.0


def test_a_wish_beyond_the_patience_is_bounded_by_it(speaks: Speaks):
    api, script, clock = speaks(Reply(status=429, headers=(("Retry-After", "86400"),)), patience_s=30)
    with pytest.raises(ApiRefused):
        api.get(PATH)
    assert clock.sleeps_s == [pytest.approx(30)]
    assert len(script.asked) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 422])
def test_what_will_not_pass_is_asked_once(speaks: Speaks, status: int):
    api, script, clock = speaks(Reply(status=status, body={"message": "no"}))
    with pytest.raises(ApiRefused, match="no") as caught:
        api.get(PATH)
    assert (caught.value.status, caught.value.unanswered) == (status, False)
    assert (len(script.asked), clock.sleeps_s) == (1, [])


def test_something_made_by_a_request_whose_answer_was_lost_is_found_there(speaks: Speaks):
    there = Reply(status=409, body={"reason": "AlreadyExists"})
    api, script, _ = speaks(Reply(reset=True), there)
    with pytest.raises(ApiRefused) as caught:
        api.create(POD)
    assert (caught.value.status, caught.value.unanswered) == (409, True)
    assert [method for method, _ in script.asked] == ["POST", "POST"]


def test_an_earlier_attempt_without_an_answer_is_not_forgotten(speaks: Speaks):
    """The owner of a trial may be there although the last answer says that it was not made."""
    api, _, _ = speaks(Reply(reset=True), Reply(status=429), patience_s=1)
    with pytest.raises(ApiRefused) as caught:
        api.create(POD)
    assert (caught.value.status, caught.value.unanswered) == (429, True)


def test_a_conflict_with_another_object_passes(speaks: Speaks):
    api, script, _ = speaks(Reply(status=409, body={"reason": "Conflict"}), Reply(status=201, body=POD))
    assert api.create(POD) == POD
    assert len(script.asked) == 2


def test_removing_another_of_that_name_is_not_tried_again(speaks: Speaks):
    api, script, _ = speaks(Reply(status=409, body={"reason": "Conflict"}))
    api.delete(PATH, uid="somebody else's")
    assert len(script.asked) == 1


def test_removing_what_a_lost_answer_removed_already_is_no_error(speaks: Speaks):
    api, script, _ = speaks(Reply(reset=True), Reply(status=404))
    api.delete(PATH)
    assert len(script.asked) == 2


def test_a_log_is_asked_for_once_unless_it_matters(speaks: Speaks):
    api, script, _ = speaks(Reply(status=500), Reply(status=500), Reply(body="out of memory"))
    with pytest.raises(ApiRefused):
        api.log("n", "one")
    assert len(script.asked) == 1
    assert api.log("n", "one", patience_s=3) == "out of memory"


def test_a_try_run_says_so(speaks: Speaks):
    api, script, _ = speaks(Reply(status=201, body=POD))
    api.create(POD, dry_run=True)
    assert script.asked == [("POST", "/api/v1/namespaces/n/pods?dryRun=All")]


def lines(*events: Any) -> str:
    return "".join(json.dumps(one) + "\n" for one in events)


ADDED = {"type": "ADDED", "object": POD}
GONE = {"type": "ERROR", "object": {"code": 410, "reason": "Expired", "message": "too old resource version"}}


def watched(api: KubernetesApi) -> list[Any]:
    return list(api.watch("/api/v1/namespaces/n/pods", selector="a=b", version="7", for_s=1))


def test_a_watch_that_breaks_off_ends_with_what_was_whole(speaks: Speaks):
    api, _, _ = speaks(Reply(body=lines(ADDED, ADDED), cut=9))
    assert watched(api) == [ADDED]


@pytest.mark.parametrize("reply", [Reply(status=410, body={"message": "too old"}), Reply(body=lines(GONE))])
def test_a_watch_that_is_too_old_says_so_wherever_it_is_told(speaks: Speaks, reply: Reply):
    api, script, _ = speaks(reply)
    with pytest.raises(ApiRefused, match="too old") as caught:
        watched(api)
    assert caught.value.status == 410
    assert len(script.asked) == 1


def test_an_answer_that_trickles_is_given_up(speaks: Speaks, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("runners.kubernetes_api.MOST_ANSWER_S", 0.0)
    api, _, _ = speaks(Reply(body=POD), patience_s=0)
    with pytest.raises(ApiRefused, match="not complete after"):
        api.get(PATH)
