"""Load from inside a cluster: the contract, and every way in which a run of it is lost.

The control plane is real, and so are load master and workers; only that they run in containers is not: see
`test_whole_study.py` for that.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from runners.kubernetes_load import ClusterLoadGenerator, LoadEngine, PlannedLoad
from runners.kubernetes_runner import KubernetesRunner
from tests.cluster.control_plane import ControlPlane
from tests.cluster.loading_node import LoadingNodes, loading_nodes
from tests.cluster.processes import await_true
from tests.cluster.rest import exists
from tests.cluster.runners import DEADLINES, IMAGE, cluster_runner, occupied, options
from tests.contract.conftest import absent, protocol, silent  # noqa: F401 - fixtures of the contract
from tests.contract.load_generator_contract import LoadGeneratorContract, LostServerContract, a_profile
from tests.servers.behaviour import Behaviour, deployment_at, serving
from tuner.assemble_load import load_engine
from tuner.clock import SystemClock
from tuner.domain.cluster import ClusterOptions, LoadPods
from tuner.domain.deployment import Deployment
from tuner.domain.errors import TransientFailure, TunerError, UsageError
from tuner.domain.load import LoadRun, Payload
from tuner.domain.space import Configuration

pytestmark = pytest.mark.cluster
SMALL = Configuration.of({"cpu_cores": 0.25, "memory_gib": 0.25})
NODE = "loads0"
LONG = a_profile(window_s=120.0)


@pytest.fixture(scope="module")
def nodes(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoadingNodes]:
    with loading_nodes(plane, NODE, tmp_path_factory.mktemp("loads")) as running:
        yield running


def asked(namespace: str, **changes: Any) -> ClusterOptions:
    here = (("pool", NODE),)
    load = LoadPods(image=IMAGE, workers=changes.pop("workers", 1), cpu_cores=0.25, memory_gib=0.25, node_labels=here)
    return options(namespace, load=load, capacity_labels=(("on_demand", here),), **changes)


class Trial:
    """A trial that is deployed, and what sends load to servers from its place."""

    def __init__(self, runner: KubernetesRunner, deployment: Deployment, chosen: ClusterOptions) -> None:
        self.runner, self.deployment, self.options = runner, deployment, chosen

    def generator(self, engine: LoadEngine | None = None, **changes: Any) -> ClusterLoadGenerator:
        return ClusterLoadGenerator(
            api=self.runner._api,
            options=replace(self.options, **changes),
            engine=engine or load_engine(),
            place=lambda _name: self.runner.place_for_load(self.deployment.deployment_id),
            clock=SystemClock(),
        )


@contextmanager
def a_trial(plane: ControlPlane, namespace: str, **changes: Any) -> Iterator[Trial]:
    chosen = asked(namespace, **changes)
    runner = cluster_runner(plane.kubeconfig(), chosen)
    with runner.deploy(SMALL, deployment_id="t-1-0") as deployment:
        yield Trial(runner, deployment, chosen)
    assert occupied(plane.admin, namespace) == []


@pytest.fixture(scope="module")
def lasting_namespace(plane: ControlPlane) -> Iterator[str]:
    name = f"t-{uuid.uuid4().hex[:8]}"
    plane.admin.post("/api/v1/namespaces", {"kind": "Namespace", "metadata": {"name": name}})
    account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
    await_true("the namespace has its account", lambda: exists(plane.admin, account))
    yield name
    plane.admin.delete(f"/api/v1/namespaces/{name}")


@pytest.fixture(scope="module")
def trial(plane: ControlPlane, nodes: LoadingNodes, lasting_namespace: str) -> Iterator[Trial]:
    # A port of its own: the other trials of this module run beside it, on the same node.
    with a_trial(plane, lasting_namespace, port=18081) as running:
        yield running


def jobs_of(plane: ControlPlane, namespace: str) -> list[Any]:
    return plane.admin.items(f"/apis/batch/v1/namespaces/{namespace}/jobs")


def pods_of(plane: ControlPlane, namespace: str, role: str, phase: str = "Running") -> list[str]:
    pods = plane.admin.items(f"/api/v1/namespaces/{namespace}/pods?labelSelector=servetune/role={role}")
    return [one["metadata"]["name"] for one in pods if one["status"].get("phase") == phase]


def has_begun(nodes: LoadingNodes, plane: ControlPlane, namespace: str) -> bool:
    masters = pods_of(plane, namespace, "load-master")
    return any(b'"started"' in nodes.log_of(pod, "load-master") for pod in masters)


class TestClusterLoad(LoadGeneratorContract, LostServerContract):
    @pytest.fixture(scope="module")
    @classmethod
    def generator(cls, trial: Trial) -> ClusterLoadGenerator:
        return trial.generator()

    @pytest.fixture(scope="module")
    @classmethod
    def deployment(cls) -> Iterator[Deployment]:
        with serving(Behaviour()) as port:
            yield deployment_at(port)

    def test_afterwards_no_job_is_left(self, run: LoadRun, plane: ControlPlane, lasting_namespace: str):
        await_true("the Jobs are gone", lambda: not jobs_of(plane, lasting_namespace), deadline_s=20)


def test_a_server_of_the_trial_is_loaded_by_several_workers(plane: ControlPlane, nodes: LoadingNodes, namespace: str):
    with a_trial(plane, namespace, workers=2) as trial:
        before = trial.runner.telemetry(trial.deployment)
        run = trial.generator().drive(trial.deployment, a_profile())
        after = trial.runner.telemetry(trial.deployment)
        assert all(run.samples.ok), run.generator.first_error
        assert (after.inference_count or 0) - (before.inference_count or 0) == len(run.samples)


def test_payload_files_travel_with_the_plan(trial: Trial, tmp_path: Path):
    body = tmp_path / "body.json"
    value = {"name": "x", "datatype": "FP32", "shape": [1, 16], "data": [0.5] * 16}
    body.write_text(json.dumps({"inputs": [value]}))
    with serving(Behaviour(answer="nested_json")) as port:
        profile = a_profile()
        profile = replace(profile, payload=Payload(kind="files", files=((str(body), 1.0),)))
        run = trial.generator().drive(deployment_at(port), profile)
    assert all(run.samples.ok), run.generator.first_error


def fails(trial: Trial, reaction: type[TunerError], words: str, **how: Any) -> None:
    """Drive what must fail, and say how soon it did."""
    with serving(Behaviour()) as port:
        begun_s = time.monotonic()
        with pytest.raises(reaction, match=words) as caught:
            trial.generator(**how.pop("generator", {})).drive(
                how.get("deployment", deployment_at(port)), how.get("profile", LONG)
            )
        print(f"\n{words}: {type(caught.value).__name__} after {time.monotonic() - begun_s:.1f} s")


@pytest.mark.parametrize(("role", "words"), [("load-worker", "worker_lost"), ("load-master", "load_generator")])
@pytest.mark.parametrize("way", ["killed", "removed"])
def test_a_pod_of_the_load_that_is_lost_in_mid_run_voids_it(
    plane: ControlPlane, nodes: LoadingNodes, namespace: str, *, role: str, words: str, way: str
):
    lost_s: list[float] = []

    def lose() -> None:
        await_true("the load began", lambda: has_begun(nodes, plane, namespace), deadline_s=60)
        pod = pods_of(plane, namespace, role)[0]
        lost_s.append(time.monotonic())
        if way == "killed":
            nodes.kill(pod)
        else:
            plane.admin.delete(f"/api/v1/namespaces/{namespace}/pods/{pod}")

    with a_trial(plane, namespace) as trial:
        hand = Thread(target=lose)
        hand.start()
        fails(trial, TransientFailure, words)
        hand.join()
        print(f"seen {time.monotonic() - lost_s[0]:.1f} s after it was {way}")


def test_a_load_that_does_not_end_by_its_jobs_deadline_ends_the_study(
    plane: ControlPlane, nodes: LoadingNodes, namespace: str
):
    # Containers that never come: of two that wait for each other, one would tire of it first.
    nodes.held |= {"load-master", "load-worker"}
    try:
        with a_trial(plane, namespace) as trial:
            hurried = replace(DEADLINES, schedule_s=1.0, pull_s=1.0)
            engine = load_engine()

            def short(deployment: Deployment, profile: Any) -> PlannedLoad:
                # Less than nothing: start-up is added to it.
                return replace(engine.plan(deployment, profile), lasts_s=-117.0)

            fails(
                trial,
                UsageError,
                "load_timeout",
                generator={"engine": replace(engine, plan=short), "deadlines": hurried},
            )
    finally:
        nodes.held.clear()


def test_a_plan_that_the_image_cannot_read_is_the_studys_fault(trial: Trial):
    engine = load_engine()

    def older(deployment: Deployment, profile: Any) -> PlannedLoad:
        planned = engine.plan(deployment, profile)
        fields = json.loads(planned.text)
        return replace(planned, text=json.dumps(fields | {"a_field_of_tomorrow": 1}))

    fails(
        trial,
        UsageError,
        "(?s)load_refused.*plan cannot be read.*same servetune",
        generator={"engine": replace(engine, plan=older)},
    )


def test_a_target_that_the_workers_were_not_started_for_is_refused(trial: Trial):
    engine = load_engine()

    def elsewhere(deployment: Deployment, profile: Any) -> PlannedLoad:
        planned = engine.plan(deployment, profile)
        fields = json.loads(planned.text)
        return replace(planned, text=json.dumps(fields | {"endpoint": "http://192.0.2.1:80"}))

    fails(
        trial,
        UsageError,
        "(?s)load_refused.*may not put load on",
        generator={"engine": replace(engine, plan=elsewhere)},
    )


def test_a_result_with_a_damaged_line_is_never_a_number(trial: Trial, nodes: LoadingNodes, monkeypatch: Any):
    monkeypatch.setattr("runners.kubernetes_load.LOG_PATIENCE_S", 1.0)
    nodes.tampered["load-master"] = b'"number": 1'
    try:
        fails(trial, TransientFailure, "lacks its part 0", profile=a_profile())
    finally:
        nodes.tampered.clear()


def test_a_result_too_large_for_a_log_is_refused_before_anything_is_made(
    trial: Trial, plane: ControlPlane, lasting_namespace: str
):
    await_true("nothing runs", lambda: not jobs_of(plane, lasting_namespace), deadline_s=20)
    fails(trial, UsageError, "at most 7000000 fit", profile=a_profile(offered_rps=5000.0, window_s=100.0))
    assert jobs_of(plane, lasting_namespace) == []
