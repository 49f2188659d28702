"""An API server that fails: whole studies through a proxy that spoils a share of the calls, or is away for a minute.

Control plane, study loop and runner are real; what a kubelet would say of a pod, a thread says, and what load would
show, the simulated queue.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import pytest

from runners.kubernetes_api import ANSWER_S, PATIENCE_S, open_api
from runners.kubernetes_runner import KubernetesRunner
from tests.cluster.control_plane import ControlPlane
from tests.cluster.fake_node import FakeNodes
from tests.cluster.fault_proxy import Fault, FaultProxy, Plan, fault_proxy, kubeconfig_through, told
from tests.cluster.kserve_pod import MODEL
from tests.cluster.processes import await_true
from tests.cluster.rest import exists
from tests.cluster.runners import DEADLINES, IMAGE, infer, occupied, options, own_node
from tests.cluster.simulated_load import SimulatedLoad
from tests.fakes import ListHistory
from tests.specs import a_spec, space_of
from tuner.assemble import make_optimizer
from tuner.clock import SystemClock, wall_clock_text
from tuner.domain.cost import Footprint
from tuner.domain.deployment import Deployment, ModelRef
from tuner.domain.errors import CleanupFailed, TransientFailure
from tuner.domain.events import Event, PhaseStarted
from tuner.domain.recommendation import Proven
from tuner.domain.space import Configuration, SearchSpace
from tuner.domain.spec import StudySpec
from tuner.domain.trial import Failed, Infeasible, Trial
from tuner.study import Bench, run_study

pytestmark = pytest.mark.cluster
SMALL = Configuration.of({"cpu_cores": 0.25, "memory_gib": 0.25})
OUTAGE_S = 60.0


def study_of(space: SearchSpace) -> StudySpec:
    """60 rps: too much for half a core, easy for a whole one."""
    spec = a_spec(name="faults", space=space, model=ModelRef(name=MODEL, image=IMAGE, digest=IMAGE))
    return replace(
        spec,
        load=replace(spec.load, target_rps=54.0),
        budget=replace(spec.budget, trials=len(space)),
        pricing=replace(spec.pricing, footprint=Footprint(cpu_cores=1.0)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A study's answer, its trials, and what it asked the API for."""

    answer: Any
    trials: tuple[Trial, ...]
    proxy: FaultProxy


def runner_through(
    proxy: FaultProxy, plane: ControlPlane, namespace: str, spec: StudySpec, *, answer_s: float = 1.0, **changes: Any
) -> KubernetesRunner:
    return KubernetesRunner(
        api=open_api(
            kubeconfig_through(proxy, plane), answer_s=answer_s, patience_s=changes.pop("patience_s", PATIENCE_S)
        ),
        spec=spec,
        options=options(namespace, **changes),
        config_pbtxt=lambda _configuration: "",
        clock=SystemClock(),
    )


def study_through(
    proxy: FaultProxy,
    plane: ControlPlane,
    namespace: str,
    spec: StudySpec,
    *,
    watch: Callable[[Event], None] = lambda _event: None,
    answer_s: float = 1.0,
) -> Ended:
    """The whole study, with every call of the runner through the proxy."""
    runner = runner_through(proxy, plane, namespace, spec, answer_s=answer_s)
    history = ListHistory()
    bench = Bench(runner=runner, load=SimulatedLoad(spec), clock=SystemClock(), wall_clock=wall_clock_text)
    answer = run_study(spec, optimizer=make_optimizer(spec), bench=bench, history=history, watch=watch)
    return Ended(answer=answer, trials=history.trials(), proxy=proxy)


def outcomes(ended: Ended) -> list[tuple[str, str]]:
    """What each trial of the search ended as."""
    return [(trial.configuration.key, type(trial.outcome).__name__) for trial in ended.trials]


def failures(ended: Ended) -> list[str]:
    return [trial.outcome.error for trial in ended.trials if isinstance(trial.outcome, Failed)]


def winner(ended: Ended) -> Any:
    assert isinstance(ended.answer, Proven), ended.answer
    return ended.answer.evidence.candidate


def test_a_study_under_faults_in_three_of_ten_calls_ends_as_one_without(
    plane: ControlPlane, node: FakeNodes, namespace: str
):
    spec = study_of(space_of(cpu_cores=(0.5, 1), **{"env.FAULT": ("", "oom")}))
    with fault_proxy(plane) as calm:
        expected = study_through(calm, plane, namespace, spec)
    assert occupied(plane.admin, namespace) == []
    assert winner(expected).configuration.number("cpu_cores", 0) == 1
    assert sum(isinstance(trial.outcome, Infeasible) for trial in expected.trials) == 2
    with fault_proxy(plane, Plan(seed=5, ratio=0.3)) as proxy:
        ended = study_through(proxy, plane, namespace, spec)
    ratio = len(proxy.calls) / len(calm.calls)
    spoiled = sum(proxy.faults().values()) / len(proxy.calls)
    print(
        f"\nwithout faults {len(calm.calls)} calls: {told(calm.calls)}"
        f"\nwith faults in {spoiled:.0%} of them {len(proxy.calls)}, {ratio:.2f} times as many: {told(proxy.calls)}"
        f"\n{dict(proxy.faults())}"
    )
    assert occupied(plane.admin, namespace) == []
    assert failures(ended) == []
    assert winner(ended) == winner(expected)
    assert outcomes(ended) == outcomes(expected)
    assert 0.2 < spoiled < 0.4
    # Of ten calls three have to be repeated: 1 / 0.7 = 1.43, and a spoiled watch costs a list as well.
    assert ratio < 2.5


CREATED = ("/configmaps", "/deployments", "/services")


class OfEachCreation(Plan):
    """The first answer to every creation goes wrong in one way."""

    def __init__(self, fault: Fault) -> None:
        super().__init__()
        self._fault, self._seen = fault, set[str]()

    def draw(self, path: str) -> Fault | None:
        first = path not in self._seen and path.endswith(CREATED)
        self._seen.add(path)
        return self._fault if first else None


@pytest.mark.parametrize("fault", ["lost", "cut", "half", "silent"])
def test_a_creation_whose_answer_is_lost_makes_one_object_and_no_error(
    plane: ControlPlane, node: FakeNodes, namespace: str, fault: Fault
):
    spec = study_of(space_of(cpu_cores=(1,)))
    with fault_proxy(plane, OfEachCreation(fault)) as proxy:
        runner = runner_through(proxy, plane, namespace, spec, answer_s=1.0)
        with runner.deploy(SMALL, deployment_id="t-1-0") as deployment:
            infer(deployment)
            made = [one.split()[0] for one in occupied(plane.admin, namespace)]
            assert sorted(made) == ["configmaps", "deployments", "pods", "replicasets", "services"]
    assert occupied(plane.admin, namespace) == []
    spoiled = [one for one in proxy.calls if one.fault]
    assert {one.resource for one in spoiled if one.verb == "create"} == {"configmaps", "deployments", "services"}


class EveryWatch(Plan):
    """No watch ever holds."""

    def draw(self, path: str) -> Fault | None:
        return "410" if "watch=true" in path else None


def test_a_cluster_in_which_every_watch_is_too_old_is_listed_instead(
    plane: ControlPlane, node: FakeNodes, namespace: str
):
    spec = study_of(space_of(cpu_cores=(1,)))
    with fault_proxy(plane, EveryWatch()) as proxy:
        runner = runner_through(proxy, plane, namespace, spec)
        with runner.deploy(SMALL, deployment_id="t-1-0") as deployment:
            infer(deployment)
    assert occupied(plane.admin, namespace) == []
    watches = [one for one in proxy.calls if one.verb == "watch"]
    print(f"\n{told(proxy.calls)}")
    assert watches
    assert {one.fault for one in watches} == {"410"}


def during(phase: str, proxy: FaultProxy) -> tuple[Callable[[Event], None], list[threading.Timer]]:
    """The API goes away when a trial first comes to this phase, and is back after a minute."""
    begun: list[threading.Timer] = []

    def watch(event: Event) -> None:
        if isinstance(event, PhaseStarted) and event.phase == phase and not begun:
            proxy.away.set()
            begun.append(threading.Timer(OUTAGE_S, proxy.away.clear))
            begun[0].start()

    return watch, begun


def test_a_minute_without_the_api_during_measurement_and_during_removal_changes_nothing(
    plane: ControlPlane, node: FakeNodes, namespace: str, second_namespace: str
):
    """With the patience that is the default. Both at once, in a namespace each."""
    spec = study_of(space_of(cpu_cores=(0.5, 1)))

    def study(phase: str, where: str) -> Ended:
        with fault_proxy(plane) as proxy:
            watch, begun = during(phase, proxy)
            ended = study_through(proxy, plane, where, spec, watch=watch, answer_s=ANSWER_S)
            assert begun
            begun[0].join()
            return ended

    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(study, ("load", "teardown"), (namespace, second_namespace)))
    for one, where in zip(ended, (namespace, second_namespace), strict=True):
        assert failures(one) == []
        assert winner(one).configuration == Configuration.of({"cpu_cores": 1})
        assert occupied(plane.admin, where) == []
        away = one.proxy.faults()["away"]
        print(f"\n{away} connections or calls while the API was away for {OUTAGE_S:g} s")
        # Pauses of five seconds on average, after the first few.
        assert away <= OUTAGE_S / 5 * 2 + 6


def lose_the_api(proxy: FaultProxy, runner: KubernetesRunner, deployment: Deployment) -> None:
    proxy.away.set()
    with pytest.raises(TransientFailure, match="does not answer"):
        runner.telemetry(deployment)


def test_an_api_that_stays_away_ends_a_trial_after_its_patience_and_says_what_is_left(
    plane: ControlPlane, node: FakeNodes, namespace: str
):
    spec = study_of(space_of(cpu_cores=(1,)))
    with fault_proxy(plane) as proxy:
        short = replace(DEADLINES, teardown_s=2)
        runner = runner_through(proxy, plane, namespace, spec, patience_s=1.0, deadlines=short)
        with (
            pytest.raises(CleanupFailed, match=r"left behind: everything of trial 1 .*gave no answer"),
            runner.deploy(SMALL, deployment_id="t-1-0") as deployment,
        ):
            lose_the_api(proxy, runner, deployment)
        proxy.away.clear()
        assert occupied(plane.admin, namespace)
        # The next attempt of that name finds it, and begins by taking it away.
        with runner.deploy(SMALL, deployment_id="t-1-0") as deployment:
            infer(deployment)
    assert occupied(plane.admin, namespace) == []


def test_what_the_proxy_calls_a_request_is_what_the_access_rules_call_it(plane: ControlPlane, namespace: str):
    with fault_proxy(plane) as proxy:
        api = open_api(kubeconfig_through(proxy, plane))
        pods = f"/api/v1/namespaces/{namespace}/pods"
        listed = api.list(pods)
        list(api.watch(pods, selector="", version=listed.version, for_s=1))
        assert api.find(f"{pods}/none") is None
        api.delete(f"/apis/apps/v1/namespaces/{namespace}/deployments/none")
        assert api.get(f"/api/v1/namespaces/{namespace}")
        assert api.list("/api/v1/nodes")
    assert [(one.group, one.resource, one.verb) for one in proxy.calls] == [
        ("", "pods", "list"),
        ("", "pods", "watch"),
        ("", "pods", "get"),
        ("apps", "deployments", "delete"),
        ("", "namespaces", "get"),
        ("", "nodes", "list"),
    ]


@pytest.fixture
def second_namespace(plane: ControlPlane, node: FakeNodes, namespace: str) -> Iterator[str]:
    """With a node of its own."""
    name = f"{namespace}-2"
    plane.admin.post("/api/v1/namespaces", {"kind": "Namespace", "metadata": {"name": name}})
    account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
    await_true("the namespace has its account", lambda: exists(plane.admin, account))
    node.add(f"node-{name}", labels=own_node(name))
    yield name
    node.remove(f"node-{name}")
    plane.admin.delete(f"/api/v1/namespaces/{name}")
