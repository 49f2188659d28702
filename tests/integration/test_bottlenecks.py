"""What limits a server, found on real ones: a Triton short of CPU, one with too few instances, a starved generator.

Each case is made so strong that no machine is quick or slow enough to hide it: a tenth of a core, twice the load that
one sleeping instance can serve, and a core shared with thirty programs.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from load_profiles.locust_generator import LocustLoadGenerator
from runners.cgroup_files import plan_cgroups
from runners.cgroup_plan import Limits
from runners.local_repository import served_model
from runners.local_runner import LocalRunner
from tests.local_triton import environment, local_runner
from tests.servers.behaviour import Behaviour, deployment_at, serving
from tuner import cli
from tuner.domain.deployment import Deployment, ModelRef, telemetry_between
from tuner.domain.diagnosis import Bottleneck, diagnose
from tuner.domain.load import LoadProfile, Payload
from tuner.domain.measurement import Doubt, Measurement, measure
from tuner.domain.slo import Slo
from tuner.domain.space import Configuration
from tuner.load_command import run_load

LIMIT = Slo(indicator="latency_p99_ms", max=200.0)
needs_cgroups = pytest.mark.skipif(
    plan_cgroups("servetune-probe", Limits(cpu_cores=0.5, memory_bytes=1 << 30)) is None,
    reason="this user may not make control groups here",
)
SLEEPER = """\
import time
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        time.sleep(0.04)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("y", np.zeros(1, np.float32))]) for _ in requests]
"""
SLEEPER_CONFIG = """\
backend: "python"
max_batch_size: 0
input { name: "x" data_type: TYPE_FP32 dims: [1] }
output { name: "y" data_type: TYPE_FP32 dims: [1] }
instance_group { count: 1 kind: KIND_CPU }
"""


def profile(*, offered_rps: float, window_s: float, shape: tuple[int, ...] | None = None) -> LoadProfile:
    return LoadProfile(
        arrivals="constant",
        offered_rps=offered_rps,
        warmup_s=0.5,
        window_s=window_s,
        timeout_s=1.0,
        payload=Payload(shape=shape),
        seed=1,
    )


def measured(runner: LocalRunner, deployment: Deployment, load: LoadProfile) -> Measurement:
    before = runner.telemetry(deployment)
    run = LocustLoadGenerator().drive(deployment, load)
    return measure(run, (LIMIT,), telemetry_between(before, runner.telemetry(deployment)))


@pytest.fixture
def sleeper(tmp_path: Path) -> ModelRef:
    """A model that waits 40 ms, as for a device that is somewhere else, and needs no CPU for it."""
    folder = tmp_path / "models" / "sleeper"
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.py").write_text(SLEEPER)
    (folder / "config.pbtxt").write_text(SLEEPER_CONFIG)
    return ModelRef(name="sleeper", repository=str(tmp_path / "models"))


@needs_cgroups
@pytest.mark.triton
def test_a_server_with_a_tenth_of_a_core_is_cpu_bound_and_the_throttling_shows_it(tmp_path: Path):
    runner = local_runner(tmp_path / "registry")
    tenth = Configuration.of({"cpu_cores": 0.1, "memory_gib": 1, "max_batch_size": 8})
    with runner.deploy(tenth, deployment_id="bound-0-0") as deployment:
        seen = measured(runner, deployment, profile(offered_rps=150.0, window_s=3.0, shape=(3, 48, 192)))
    found = diagnose(replace(seen, doubts=()))
    assert found.bottleneck is Bottleneck.CPU, (found, seen)
    assert "throttled in" in found.evidence
    assert seen.telemetry.cpu_limit_cores == pytest.approx(0.1)
    assert seen.telemetry.memory_limit_bytes == 1 << 30
    assert seen.telemetry.memory_peak_bytes is not None
    assert 0 < (seen.telemetry.working_set_bytes or 0) <= seen.telemetry.memory_peak_bytes
    assert seen.telemetry.batches, "it batches what waits"


@pytest.mark.triton
def test_a_server_with_too_few_instances_queues_while_its_cpu_is_idle(tmp_path: Path, sleeper: ModelRef):
    runner = local_runner(tmp_path / "registry", model=served_model(sleeper, environment()))
    with runner.deploy(Configuration.of({"cpu_cores": 1}), deployment_id="queue-0-0") as deployment:
        seen = measured(runner, deployment, profile(offered_rps=50.0, window_s=3.0))
    found = diagnose(replace(seen, doubts=()))
    assert found.bottleneck is Bottleneck.QUEUEING, (found, seen)
    assert seen.telemetry.cpu_limit_cores == pytest.approx(1.0)
    assert seen.telemetry.pending_peak is not None
    assert seen.telemetry.pending_peak > 5


@pytest.mark.triton
def test_load_tells_the_statistics_and_metrics_of_a_server_that_is_not_ours(
    tmp_path: Path, sleeper: ModelRef, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Twice the load that it can serve, so that its queue is what there is to be told."""
    runner = local_runner(tmp_path / "registry", model=served_model(sleeper, environment()))
    with runner.deploy(Configuration.of({}), deployment_id="told-0-0") as deployment:
        metrics = f"http://127.0.0.1:{metrics_port('told-0-0')}/metrics"
        options = ["--target", deployment.endpoint, "--model", "sleeper", "--rate", "50", "--duration", "3s", "--json"]
        monkeypatch.setattr(sys, "argv", ["servetune", "load", *options, "--metrics-url", metrics])
        with pytest.raises(SystemExit):
            cli.main()
    document = json.loads(capsys.readouterr().out)
    told = document["telemetry"]
    assert told["inference_count"] == told["execution_count"] > 0
    assert told["batches"] == {"1": told["execution_count"]}
    assert told["compute_ms_per_inference"] >= 40.0
    assert told["pending_peak"] > 5
    assert told["gpu"] is None
    if not document["doubts"] or document["verdict"] != "INVALID":
        assert document["bottleneck"]["name"] == "queueing"


def metrics_port(deployment_id: str) -> int:
    """Of a running Triton, from its command line."""
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            ports = [word.partition("=")[2] for word in words if word.startswith("--metrics-port=")]
            if ports and any(word.startswith("--id=") and deployment_id in word for word in words):
                return int(ports[0])
    raise AssertionError(f"no server of {deployment_id}")


@contextmanager
def hogs(core: int, count: int) -> Iterator[None]:
    """So many programs that want all of one core; gone afterwards, and without us.

    Each in a session of its own, for a scheduler that shares a core by sessions.
    """
    work = f"import os; os.sched_setaffinity(0, [{core}])\nprint(flush=True)\n"
    work += f"while os.getppid() == {os.getpid()}: pass"
    with contextlib.ExitStack() as stack:
        started = []
        for _ in range(count):
            argv = [sys.executable, "-S", "-E", "-c", work]
            process = stack.enter_context(subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True))
            stack.callback(process.kill)
            started.append(process)
        for process in started:
            assert process.stdout is not None
            process.stdout.readline()
        yield


def test_a_generator_whose_core_other_programs_want_is_generator_bound_and_its_measurement_invalid():
    """It wants more of its core than one of thirty-one can get: what it sends is late, whoever is lucky."""
    core = min(os.sched_getaffinity(0))
    load = replace(profile(offered_rps=3000.0, window_s=2.0), timeout_s=2.0)
    with serving(Behaviour(delay_s=0.0)) as port, hogs(core, 30):
        starved = replace(deployment_at(port), generator_cpus=(core,))
        result = run_load(starved, load, ())
    seen = result.measurement
    assert (result.verdict, result.exit_code) == ("INVALID", 7)
    assert Doubt.SEND_LAG in seen.doubts, seen
    found = diagnose(seen)
    assert found.bottleneck is Bottleneck.GENERATOR
    assert "something kept it from running" in found.evidence, found
