"""A fleet of sixteen GPUs of four types that are objects only, a study for it, and load that a queue answers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from runners.kubernetes_admission import KubernetesAdmission
from runners.kubernetes_api import open_api
from runners.kubernetes_runner import KubernetesRunner
from runners.queue_simulation import serve
from runners.simulated_bench import on_node, seen_by_client
from runners.simulated_service import service_plan, virtual_model
from tests.cluster.addresses import loopback_address
from tests.cluster.fake_node import FakeNodes
from tests.cluster.kserve_pod import MODEL
from tests.cluster.rest import Rest
from tests.cluster.runners import DEADLINES, IMAGE, own_node
from tests.fakes import ListHistory
from tests.specs import a_price, a_spec, space_of
from tuner.clock import SystemClock
from tuner.domain.arrivals import intended_starts_s
from tuner.domain.cluster import ClusterGpu, ClusterOptions, LoadPods
from tuner.domain.cost import Footprint, PriceBook, Pricing
from tuner.domain.deployment import Deployment, ModelRef
from tuner.domain.events import Event
from tuner.domain.load import GeneratorHealth, LoadProfile, LoadRun
from tuner.domain.recommendation import Conclusion
from tuner.domain.slo import Slo
from tuner.domain.space import Configuration
from tuner.domain.spec import Budget, ConfirmSpec, RunnerSpec, SearchSpec, StudySpec
from tuner.manifests.cluster.quantities import parse_quantity
from tuner.search.optimizers import OPTIMIZERS
from tuner.search.problem import search_problem
from tuner.study import run_study
from tuner.trial_run import Bench

PRODUCTS = {"T4": "Tesla-T4", "L4": "NVIDIA-L4", "A10": "NVIDIA-A10", "L40S": "NVIDIA-L40S"}
PRICES = {"T4": 0.35, "L4": 0.7, "A10": 1.0, "L40S": 1.8}
NODES_A_TYPE, GPUS_A_NODE = 2, 2
WINDOW_TAKES_S = 4.0
"""In place of the window's own seconds: a queue's answers are known at once."""
SERVICE = (("cpu_ms_per_item", 12.0), ("gflop_per_item", 20.0))


def node_names(namespace: str) -> dict[str, str]:
    """Node -> GPU type."""
    return {f"{name.lower()}-{k}-{namespace}": name for name in PRODUCTS for k in range(NODES_A_TYPE)}


@contextmanager
def fleet(nodes: FakeNodes, namespace: str) -> Iterator[dict[str, int]]:
    """Sixteen GPUs for the pods of one namespace: how many each node has."""
    names = node_names(namespace)
    for name, gpu in names.items():
        labels = own_node(namespace) | {"nvidia.com/gpu.product": PRODUCTS[gpu]}
        nodes.add(name, labels=labels, **{"cpu": "64", "memory": "256Gi", "nvidia.com/gpu": str(GPUS_A_NODE)})
    try:
        yield dict.fromkeys(names, GPUS_A_NODE)
    finally:
        for name in names:
            nodes.remove(name)


def options(namespace: str) -> ClusterOptions:
    return ClusterOptions(
        namespace=namespace,
        load=LoadPods(image=IMAGE, cpu_cores=0.5, memory_gib=0.5),
        image=IMAGE,
        network="host",
        host_address=loopback_address(namespace),
        gpus=tuple(ClusterGpu(name=name, labels=(product,)) for name, product in PRODUCTS.items()),
        capacity_labels=(("on_demand", tuple(own_node(namespace).items())),),
        deadlines=DEADLINES,
    )


def study(namespace: str, *, parallel: int, trials: int) -> StudySpec:
    """Sixteen configurations: cores for decoding, and the type of the GPU."""
    prices = (a_price(), *(a_price("gpu", price, name) for name, price in PRICES.items()))
    base = a_spec(
        name=f"fleet {namespace}",
        model=ModelRef(name=MODEL, image=IMAGE, digest=IMAGE),
        runner=RunnerSpec(kind="kubernetes", options=SERVICE, kubernetes=options(namespace), parallel_trials=parallel),
        space=space_of(cpu_cores=(1, 2, 4, 6), gpu_type=tuple(PRODUCTS)),
        slos=(Slo(indicator="latency_p99_ms", max=80.0),),
        pricing=Pricing(book=PriceBook(currency="USD", term="on_demand", prices=prices), footprint=Footprint()),
        max_replicas=1,
        confirm=ConfirmSpec(repeats=3, window_s=30.0),
        budget=Budget(trials=trials, wall_time_s=100_000.0),
        search=SearchSpec(optimizer="grid", seed=11),
    )
    return replace(base, load=replace(base.load, arrivals="poisson", target_rps=135.0, window_s=20.0))


@dataclass
class QueueLoad:
    """Answers for the pod that really is there: its own CPU limit, on the GPU that its node's label names."""

    admin: Rest
    namespace: str
    answered: list[Configuration] = field(default_factory=list)

    def drive(self, deployment: Deployment, profile: LoadProfile) -> LoadRun:
        found = self._of_the_pod(dict(deployment.facts)["pod"])
        self.answered.append(found)
        plan = service_plan(virtual_model(SERVICE), Footprint(), found)
        plan = on_node(plan, 0.015, deployment.deployment_id)
        starts_s = intended_starts_s(profile)
        served = serve(plan, starts_s, random.Random(profile.seed))
        SystemClock().sleep(WINDOW_TAKES_S)
        return LoadRun(
            profile=profile,
            samples=seen_by_client(starts_s, served.done_s, profile.timeout_s),
            generator=GeneratorHealth(cpu_ratio=0.1, cpu_ms_per_request=0.0, workers_lost=0),
        )

    def _of_the_pod(self, name: str) -> Configuration:
        pod = self.admin.get(f"/api/v1/namespaces/{self.namespace}/pods/{name}")
        node = self.admin.get(f"/api/v1/nodes/{pod['spec']['nodeName']}")
        types = {product: gpu for gpu, product in PRODUCTS.items()}
        cores = parse_quantity(pod["spec"]["containers"][0]["resources"]["limits"]["cpu"])
        gpu_type = types[node["metadata"]["labels"]["nvidia.com/gpu.product"]]
        return Configuration.of({"cpu_cores": int(cores), "gpu_type": gpu_type})


@dataclass
class Course:
    """A study on a fleet, through the real loop and runner."""

    spec: StudySpec
    admin: Rest
    kubeconfig: Path
    history: ListHistory = field(default_factory=ListHistory)
    events: list[Event] = field(default_factory=list)

    def watch(self, event: Event) -> None:
        self.events.append(event)

    def run(self) -> Conclusion:
        asked = self.spec.runner.kubernetes
        api, clock = open_api(self.kubeconfig, patience_s=60), SystemClock()
        runner = KubernetesRunner(
            api=api, spec=self.spec, options=asked, config_pbtxt=lambda _configuration: "", clock=clock
        )
        bench = Bench(
            runner=runner,
            load=QueueLoad(self.admin, asked.namespace),
            clock=clock,
            wall_clock=lambda: "then",
            admission=KubernetesAdmission(api, self.spec, asked),
        )
        optimizer = OPTIMIZERS[self.spec.search.optimizer](search_problem(self.spec))
        return run_study(self.spec, optimizer=optimizer, bench=bench, history=self.history, watch=self.watch)
