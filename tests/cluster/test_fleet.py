"""Sixteen GPUs of four types, eight trials at once through the real loop and runner, on a real control plane.

What is said of the fleet is checked from every change of every pod, as a watch of its own recorded it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runners.kubernetes_admission import KubernetesAdmission, refuse_auto
from runners.kubernetes_api import open_api
from runners.simulated_truth import truly_feasible
from tests.cluster.addresses import loopback_address
from tests.cluster.control_plane import ControlPlane
from tests.cluster.fake_node import FakeNodes
from tests.cluster.fleet import PRODUCTS, Course, fleet, node_names, study
from tests.cluster.pod_history import GPU, PodHistory, pod_history
from tests.cluster.rest import Rest
from tests.cluster.runners import IMAGE, occupied, own_node
from tuner.domain.admission import Admitted, Never, Wait
from tuner.domain.errors import UsageError
from tuner.domain.events import Event, RoomAwaited, TrialFinished
from tuner.domain.recommendation import Proven
from tuner.domain.space import Configuration
from tuner.domain.spec import StudySpec
from tuner.domain.trial import Failed, Search, studied_s

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


def cheapest_that_holds(spec: StudySpec) -> Any:
    by_cost = sorted(spec.space, key=spec.pricing.unit_cost_per_hour)
    return next(one for one in by_cost if truly_feasible(spec, one, 1))


def check_history(history: PodHistory, gpus: dict[str, int], namespace: str, *, most: int, least: int) -> None:
    assert history.oversubscribed(gpus) == []
    assert history.left_pending(namespace) == []
    assert least <= max(history.at_once(namespace)) <= most


def test_eight_trials_at_once_on_sixteen_gpus(plane: ControlPlane, nodes: FakeNodes, namespace: str, kubeconfig: Path):
    with fleet(nodes, namespace) as gpus, pod_history(plane.admin) as recorded:
        beside = Course(study(namespace, parallel=8, trials=16), plane.admin, kubeconfig)
        begun_s = time.monotonic()
        conclusion = beside.run()
        beside_s = time.monotonic() - begun_s
        recorded.until_gone(namespace)
        assert occupied(plane.admin, namespace) == []
        alone = Course(study(namespace, parallel=1, trials=4), plane.admin, kubeconfig)
        begun_s = time.monotonic()
        alone.run()
        alone_s = time.monotonic() - begun_s
    trials, few = beside.history.trials(), alone.history.trials()
    assert isinstance(conclusion, Proven)
    assert conclusion.evidence.candidate.configuration == cheapest_that_holds(beside.spec)
    assert [trial.number for trial in trials] == list(range(len(trials)))
    assert {trial.configuration for trial in trials if isinstance(trial.purpose, Search)} == set(beside.spec.space)
    assert not any(isinstance(trial.outcome, Failed) for trial in trials)
    check_history(recorded, gpus, namespace, most=8, least=4)
    ratio = (alone_s / len(few)) / (beside_s / len(trials))
    print(
        f"\n{len(trials)} trials, at most {max(recorded.at_once(namespace))} at once and "
        f"{recorded.cards_at_once(namespace)} of 16 GPUs, in {beside_s:.0f} s (study time {studied_s(trials):.0f} s); "
        f"one after the other {len(few)} trials in {alone_s:.0f} s: {ratio:.1f} times as fast a trial"
    )
    assert studied_s(trials) < sum(trial.phases.elapsed_s for trial in trials) / 2


@dataclass
class Others:
    """Somebody else's pods on the fleet, without end until they are told."""

    admin: Rest
    namespace: str
    names: list[str]

    def leave(self) -> None:
        for name in self.names:
            self.admin.delete(f"/api/v1/namespaces/default/pods/{name}", gracePeriodSeconds=0)


@contextmanager
def others_on(admin: Rest, namespace: str, gpu: str, count: int) -> Iterator[Others]:
    """So many pods of one card each on the nodes of one type."""
    names = [f"other-{gpu.lower()}-{k}-{namespace}" for k in range(count)]
    limits = {"cpu": "1", "memory": "1Gi", GPU: "1"}
    for k, name in enumerate(names):
        container = {
            "name": "other",
            "image": IMAGE,
            "ports": [{"containerPort": 18100 + k}],
            "readinessProbe": {"httpGet": {"host": loopback_address(namespace), "path": "/", "port": 18100 + k}},
            "resources": {"limits": limits},
        }
        selector = own_node(namespace) | {"nvidia.com/gpu.product": PRODUCTS[gpu]}
        spec = {"containers": [container], "nodeSelector": selector, "terminationGracePeriodSeconds": 0}
        admin.post("/api/v1/namespaces/default/pods", {"kind": "Pod", "metadata": {"name": name}, "spec": spec})
    others = Others(admin, namespace, names)
    try:
        yield others
    finally:
        others.leave()


@dataclass
class UntilOthersLeave(Course):
    """The others leave once the study has waited for room, and measured elsewhere meanwhile."""

    others: Others | None = None
    measured_meanwhile: int = 0

    def watch(self, event: Event) -> None:
        super().watch(event)
        waited = any(isinstance(one, RoomAwaited) for one in self.events)
        finished = sum(isinstance(one, TrialFinished) for one in self.events)
        if self.others is not None and waited and finished >= 4:
            self.measured_meanwhile = finished
            self.others.leave()
            self.others = None


def test_a_fleet_that_others_use_under_a_quota_is_taken_as_it_is(
    plane: ControlPlane, nodes: FakeNodes, namespace: str, kubeconfig: Path
):
    hard = {f"requests.{GPU}": "3"}
    quota = {"kind": "ResourceQuota", "metadata": {"name": "three"}, "spec": {"hard": hard}}
    plane.admin.post(f"/api/v1/namespaces/{namespace}/resourcequotas", quota)
    with (
        fleet(nodes, namespace) as gpus,
        pod_history(plane.admin) as recorded,
        others_on(plane.admin, namespace, "T4", 4) as others,
    ):
        spec = study(namespace, parallel=8, trials=16)
        course = UntilOthersLeave(spec, plane.admin, kubeconfig, others=others)
        conclusion = course.run()
        recorded.until_gone(namespace)
        assert occupied(plane.admin, namespace) == []
    assert isinstance(conclusion, Proven)
    assert conclusion.evidence.candidate.configuration == cheapest_that_holds(spec)
    trials = course.history.trials()
    assert {trial.configuration for trial in trials if isinstance(trial.purpose, Search)} == set(spec.space)
    assert not any(isinstance(trial.outcome, Failed) for trial in trials)
    # A quota no longer counts a pod that is on its way out, so that its place may be taken.
    check_history(recorded, gpus, namespace, most=6, least=2)
    assert recorded.cards_at_once(namespace) <= 3
    assert course.measured_meanwhile >= 4
    assert quota_refusals(plane.admin, namespace) == []
    assert set(node_names(namespace).values()) == set(PRODUCTS)
    reasons = {event.reason for event in course.events if isinstance(event, RoomAwaited)}
    print(f"\n{len(trials)} trials beside others and under a quota; waited for: {'; '.join(sorted(reasons))}")


def quota_refusals(admin: Rest, namespace: str) -> list[str]:
    events = admin.items(f"/api/v1/namespaces/{namespace}/events")
    return [one["message"] for one in events if one["reason"] == "FailedCreate" and "quota" in one["message"]]


def test_who_may_not_look_is_told_so_for_auto_and_held_back_by_nothing_else(plane: ControlPlane, namespace: str):
    spec = study(namespace, parallel=8, trials=16)
    api = open_api(plane.kubeconfig("nobody"))
    with pytest.raises(UsageError, match="needs to list nodes and pods of the whole cluster, and may not"):
        refuse_auto(api, spec.runner.kubernetes)
    room = KubernetesAdmission(api, spec, spec.runner.kubernetes).room(0, spec.space.at(0), ())
    assert room == Admitted()
    refuse_auto(open_api(plane.kubeconfig()), spec.runner.kubernetes)


def test_a_gpu_that_no_node_has_is_the_studys_fault_and_too_many_cores_the_configurations(
    plane: ControlPlane, nodes: FakeNodes, namespace: str, kubeconfig: Path
):
    spec = study(namespace, parallel=8, trials=16)
    admission = KubernetesAdmission(open_api(kubeconfig), spec, spec.runner.kubernetes)
    small = Configuration.of({"cpu_cores": 1, "gpu_type": "T4"})
    elsewhere = study("elsewhere", parallel=8, trials=16)
    with fleet(nodes, namespace):
        with pytest.raises(UsageError, match="no node has the labels"):
            KubernetesAdmission(open_api(kubeconfig), elsewhere, elsewhere.runner.kubernetes).room(0, small, ())
        assert admission.room(0, small, ()) == Admitted()
        beside = [(number, small) for number in range(1, 5)]
        assert isinstance(admission.room(0, small, beside), Wait)
        assert isinstance(admission.room(0, Configuration.of({"cpu_cores": 65, "gpu_type": "T4"}), ()), Never)
