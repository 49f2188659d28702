"""A whole study as a user runs it: Triton in pods under CPU limits on a real kubelet, load from Jobs of the project's
own image, and the answer that follows from what the model costs.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from load_profiles.locust_generator import ignore_progress
from runners.kubernetes_api import open_api
from tests.cluster.addresses import loopback_address
from tests.cluster.binaries import missing_node
from tests.cluster.control_plane import ControlPlane
from tests.cluster.project_image import image_layers, imported, missing_builder
from tests.cluster.real_node import real_node
from tests.cluster.runners import IMAGE, cluster_runner, occupied, options
from tests.contract.load_generator_contract import a_profile
from tuner.assemble_load import cluster_load
from tuner.clock import SystemClock
from tuner.domain.cluster import LoadPods
from tuner.domain.deployment import telemetry_between
from tuner.domain.measurement import Doubt, measure
from tuner.domain.space import Configuration

SPIN = Path(__file__).with_name("spin")
STUDY = """apiVersion: servetune/v1
kind: Study
metadata: {{name: whole-study}}
model: {{repository: models}}
runner:
  kind: kubernetes
  ready_timeout_s: 120
  kubernetes:
    namespace: {namespace}
    image: {image}
    model: {{image: {image}, path: /model/1, way: copy}}
    network: host
    host_address: {address}
    shared_memory_mib: 64
    load: {{image: {image}, cpu_cores: 0.6, memory_gib: 0.5}}
    capacity_labels: {{on_demand: {{kubernetes.io/hostname: {node}}}}}
knobs:
  cpu_cores: [0.1, 0.45, 0.6]
  max_batch_size: [1, 8]
footprint: {{memory_gib: 0.75}}
load: {{arrivals: constant, target_rps: 24, warmup_s: 2, window_s: 6, timeout_s: 8}}
slos:
  - {{indicator: latency_p95_ms, max: 2500}}
prices: {{book: prices.csv, term: on_demand}}
replicas: {{max: 1}}
confirm: {{repeats: 1, window_s: 8}}
budget: {{trials: 4, wall_time_s: 400}}
search: {{optimizer: structured, seed: 3}}
"""
PRICES = """resource,sku,term,currency,price_per_hour,as_of,source
cpu_core,,on_demand,USD,0.03,2026-11-22,made up for tests
memory_gib,,on_demand,USD,0.004,2026-11-22,made up for tests
"""

SHOWN = ("number", "cpu_cores", "max_batch_size", "deploy_s", "load_s", "teardown_s", "send_lag_p99_ms", "doubts")

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def real(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A node's name, and the project's image on it."""
    missing = missing_node() or missing_builder()
    if missing:
        pytest.skip(missing)
    begun_s = time.monotonic()
    layers = image_layers(SPIN)
    folder = tmp_path_factory.mktemp("node")
    with real_node(plane, folder) as name:
        ready_s = time.monotonic()
        image = imported(folder / "c.sock", layers)
        size_bytes = sum(layer.path.stat().st_size for layer in layers)
        print(
            f"\nimage: {size_bytes / 2**20:.0f} MiB, in containerd after {time.monotonic() - ready_s:.0f} s;"
            f" node and layers {ready_s - begun_s:.0f} s"
        )
        yield name, image


def written_study(folder: Path, namespace: str, node: str, image: str) -> Path:
    shutil.copytree(SPIN, folder / "models" / "spin")
    (folder / "prices.csv").write_text(PRICES)
    study = folder / "study.yaml"
    where = {"namespace": namespace, "node": node, "image": image, "address": loopback_address(namespace)}
    study.write_text(STUDY.format(**where))
    return study


def servetune(*argv: str, storage: Path) -> tuple[int, str, str]:
    own = {"SERVETUNE_STORAGE": f"sqlite:///{storage}"}
    command = [sys.executable, "-m", "tuner", *argv]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | own, timeout=420)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.timeout(600)
def test_the_cheapest_spec_that_carries_the_load_is_found_and_nothing_is_left(
    plane: ControlPlane, real: tuple[str, str], namespace: str, kubeconfig: Path, tmp_path: Path
):
    """An execution costs 30 ms of CPU and 2 ms for each request in it, beside what Triton itself needs.

    24 requests a second come. By ones they cost over 32 ms each, so that 0.6 cores carry fewer than 19 of them. By
    eights they cost some 6 ms each and a little of Triton's own: 0.1 cores carry at most 17, as long as nothing else
    costs anything, and 0.45 cores over 50. So 0.45 cores with batches are the cheapest that will do.
    """
    node, image = real
    study = written_study(tmp_path, namespace, node, image)
    begun_s = time.monotonic()
    code, out, err = servetune(
        "tune", str(study), "--kubeconfig", str(kubeconfig), "--json", storage=tmp_path / "study.db"
    )
    print(f"\nthe study took {time.monotonic() - begun_s:.0f} s\n{out[-3000:]}\n{err[-6000:]}")
    assert code == 0
    table = tmp_path / "trials.csv"
    servetune("report", str(study), "-o", str(table), storage=tmp_path / "study.db")
    with table.open(newline="") as rows:
        for row in csv.DictReader(rows):
            print({key: value for key, value in row.items() if key in SHOWN})
    answer: Any = json.loads(out)
    assert answer["recommendation"]["configuration"] == {"cpu_cores": 0.45, "max_batch_size": 8}
    assert occupied(plane.admin, namespace) == []


@pytest.mark.timeout(300)
def test_load_from_the_controller_goes_through_a_port_forward_when_asked_for(
    plane: ControlPlane, real: tuple[str, str], namespace: str, kubeconfig: Path
):
    """No request of ours goes to the pod's own address: its server listens where only its node's kubelet asks."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    chosen = options(
        namespace,
        port=port,
        container={"command": ["python3", "/kserve_pod.py", str(port), "127.0.0.1"]},
        host_address="127.0.0.1",
        capacity_labels=(("on_demand", (("kubernetes.io/hostname", real[0]),)),),
        load=LoadPods(image=IMAGE, sent_from="port_forward"),
    )
    api = open_api(kubeconfig)
    runner = cluster_runner(kubeconfig, chosen)
    small = Configuration.of({"cpu_cores": 0.5, "memory_gib": 0.125})
    with (
        runner.deploy(small, deployment_id="t-1-0") as deployment,
        cluster_load(api, chosen, runner.place_for_load, SystemClock(), ignore_progress) as load,
    ):
        assert not deployment.endpoint.endswith(f":{port}")
        profile = a_profile(offered_rps=30.0, window_s=2.0, timeout_s=10.0)
        before = runner.telemetry(deployment)
        run = load.drive(deployment, profile)
        seen = telemetry_between(before, runner.telemetry(deployment))
        assert all(run.samples.ok), run.generator.first_error
        assert seen.inference_count == len(run.samples)
        latencies_ms = sorted(
            1000 * (done - due) for due, done in zip(run.samples.intended_s, run.samples.done_s, strict=True)
        )
        print(f"\nby port-forward: median {latencies_ms[len(latencies_ms) // 2]:.1f} ms")
        assert Doubt.DETOUR in measure(run, (), seen).doubts
    assert occupied(plane.admin, namespace) == []
