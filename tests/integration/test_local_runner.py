"""The local runner against the machine: real Triton servers, real limits, real kills."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runners import local_runner as local_runner_module
from runners import local_server
from runners.cgroup_files import plan_cgroups
from runners.cgroup_plan import Limits
from runners.deployment_registry import DEPLOYMENT_VARIABLE, entries
from runners.leftovers import leftovers, reclaim
from runners.local_repository import served_model
from runners.process_table import processes_with
from runners.readiness import await_ready
from tests.local_triton import QUICKSTART_MODEL, answers, environment, infer, local_runner, occupied
from tuner.clock import SystemClock
from tuner.domain.deployment import Deployment, ModelRef, telemetry_between
from tuner.domain.errors import InfeasibleConfiguration, TransientFailure, UsageError
from tuner.domain.space import Configuration

pytestmark = pytest.mark.triton

needs_cgroups = pytest.mark.skipif(
    plan_cgroups("servetune-probe", Limits(cpu_cores=0.5, memory_bytes=1 << 30)) is None,
    reason="this user may not make control groups here",
)


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    return tmp_path / "registry"


def infer_at_once(deployment: Deployment, requests: int, batch: int = 1) -> list[np.ndarray]:
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda _: infer(deployment, batch), range(requests)))


def test_concurrent_requests_are_answered_alike_and_share_executions(registry: Path):
    tuned = Configuration.of({"max_batch_size": 8, "queue_delay_ms": 20, "instances": 1, "intra_op_threads": 1})
    runner = local_runner(registry)
    with runner.deploy(tuned, deployment_id="batch-0-0") as deployment:
        alone = infer(deployment)
        before = runner.telemetry(deployment)
        together = infer_at_once(deployment, 40)
        spent = telemetry_between(before, runner.telemetry(deployment))
    assert alone.sum() == pytest.approx(1.0, abs=1e-3)
    assert all(np.allclose(answer, alone, atol=1e-4) for answer in together)
    assert spent.inference_count is not None
    assert spent.execution_count is not None
    assert spent.execution_count < spent.inference_count


def test_a_batch_above_the_limit_is_refused_and_one_at_the_limit_is_served(registry: Path):
    from tritonclient.utils import InferenceServerException

    with local_runner(registry).deploy(Configuration.of({"max_batch_size": 1}), deployment_id="one-0-0") as deployment:
        assert infer(deployment, batch=1).shape == (1, 2)
        with pytest.raises(InferenceServerException, match="batch-size must be <= 1"):
            infer(deployment, batch=2)


@needs_cgroups
def test_a_fraction_of_a_core_is_enforced_and_seen_in_throttled_periods(registry: Path):
    """A tenth, so that even a busy machine would have had more to give."""
    runner = local_runner(registry)
    tenth = Configuration.of({"cpu_cores": 0.1, "max_batch_size": 32})
    with runner.deploy(tenth, deployment_id="cpu-0-0") as deployment:
        started_s, before = time.monotonic(), runner.telemetry(deployment)
        infer_at_once(deployment, 8, batch=16)
        spent = telemetry_between(before, runner.telemetry(deployment))
        elapsed_s = time.monotonic() - started_s
    assert spent.throttled_periods is not None
    assert spent.throttled_periods > 0
    assert spent.cpu_s is not None
    # One period's quota may be spent on either side of the window.
    assert spent.cpu_s <= 0.1 * elapsed_s + 0.02
    assert dict(deployment.facts)["cpu_enforcement"] in ("cgroup-v1", "cgroup-v2")


@pytest.mark.parametrize(
    ("knobs", "words"), [({"cpu_cores": 0.5}, "is a fraction"), ({"cpu_cores": 1, "memory_gib": 1}, "memory_gib")]
)
def test_without_control_groups_what_affinity_cannot_do_is_refused(registry, monkeypatch, knobs, words):
    monkeypatch.setattr(local_runner_module, "plan_cgroups", lambda _name, _limits: None)
    with (
        pytest.raises(UsageError, match=words),
        local_runner(registry).deploy(Configuration.of(knobs), deployment_id="user-0-0"),
    ):
        pytest.fail("it must not be entered")


def test_without_control_groups_every_process_of_the_server_is_bound_to_its_cores(registry: Path, monkeypatch):
    monkeypatch.setattr(local_runner_module, "plan_cgroups", lambda _name, _limits: None)
    runner = local_runner(registry)
    with runner.deploy(Configuration.of({"cpu_cores": 1}), deployment_id="user-1-0") as deployment:
        marked = [p for p, e in processes_with(DEPLOYMENT_VARIABLE).items() if "user-1-0" in e[DEPLOYMENT_VARIABLE]]
        allowed = {frozenset(os.sched_getaffinity(process.pid)) for process in marked}
        telemetry = runner.telemetry(deployment)
    assert len(marked) > 1, "the server and its model process"
    assert allowed == {frozenset([max(os.sched_getaffinity(0))])}
    assert ("cpu_enforcement", "affinity") in deployment.facts
    assert (telemetry.cpu_s, telemetry.cpu_limit_cores, telemetry.memory_limit_bytes) == (None, 1.0, None)
    assert occupied(registry, "user-1-0") == []


@needs_cgroups
def test_too_little_memory_to_start_is_infeasible(registry: Path):
    small = Configuration.of({"cpu_cores": 1, "memory_gib": 0.03})
    with (
        pytest.raises(InfeasibleConfiguration, match=r"out of memory.*peak \d+ MiB"),
        local_runner(registry).deploy(small, deployment_id="oom-0-0"),
    ):
        pytest.fail("it must not be entered")
    assert occupied(registry, "oom-0-0") == []


@needs_cgroups
def test_out_of_memory_while_serving_is_infeasible(registry: Path):
    from tritonclient.utils import InferenceServerException

    tight = Configuration.of({"cpu_cores": 1, "memory_gib": 0.12, "max_batch_size": 256})
    runner = local_runner(registry)
    with runner.deploy(tight, deployment_id="oom-1-0") as deployment:
        with pytest.raises((InferenceServerException, OSError)):
            infer(deployment, batch=256)
        with pytest.raises(InfeasibleConfiguration, match="out of memory"):
            runner.telemetry(deployment)
    # A load generator that breaks because its server was killed has not failed for reasons of the machine.
    with (  # noqa: PT012
        pytest.raises(InfeasibleConfiguration, match="out of memory"),
        runner.deploy(tight, deployment_id="oom-1-0") as deployment,
    ):
        with contextlib.suppress(InferenceServerException, OSError):
            infer(deployment, batch=256)
        raise TransientFailure("no answer any more")
    assert occupied(registry, "oom-1-0") == []


def test_a_server_that_is_never_ready_is_infeasible(registry: Path):
    with (
        pytest.raises(InfeasibleConfiguration, match=r"not ready within 0\.01 s"),
        local_runner(registry, ready_timeout_s=0.01).deploy(Configuration.of({}), deployment_id="late-0-0"),
    ):
        pytest.fail("it must not be entered")
    assert occupied(registry, "late-0-0") == []


@pytest.mark.parametrize(
    ("knob", "value", "reaction", "words"),
    [
        ("arg.no-such-option", 1, UsageError, "unrecognized option '--no-such-option=1'"),
        ("arg.rate-limit", "sideways", InfeasibleConfiguration, "invalid argument for --rate-limit"),
        ("arg.http-port", 8000, UsageError, "set by the runner itself"),
        ("gpu_type", "h100", UsageError, "cannot set gpu_type"),
    ],
)
def test_what_the_server_does_not_take_is_refused_in_its_words(registry, knob, value, reaction, words):
    with (
        pytest.raises(reaction, match=words),
        local_runner(registry).deploy(Configuration.of({knob: value}), deployment_id="arg-0-0"),
    ):
        pytest.fail("it must not be entered")
    assert occupied(registry, "arg-0-0") == []


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        yield other.getsockname()[1]


@pytest.mark.parametrize("service", ["http", "grpc", "metrics"])
def test_a_port_that_another_program_took_is_replaced(registry: Path, monkeypatch, service: str):
    with taken_port() as port:
        taken = replace(local_server.free_ports(), **{service: port})
        offers = iter([taken, local_server.free_ports()])
        monkeypatch.setattr(local_server, "free_ports", lambda: next(offers))
        with local_runner(registry).deploy(Configuration.of({}), deployment_id="port-0-0") as deployment:
            assert infer(deployment).shape == (1, 2)


@pytest.mark.parametrize("stage", ["ports", "program"])
def test_a_start_that_the_machine_spoils_is_a_transient_failure(registry: Path, monkeypatch, stage: str):
    runner = local_runner(registry)
    with taken_port() as port:
        if stage == "ports":
            taken = replace(local_server.free_ports(), http=port)
            monkeypatch.setattr(local_server, "free_ports", lambda: taken)
        else:
            monkeypatch.setattr(
                runner, "_environment", replace(environment(), triton=Path("/nonexistent/tritonserver"))
            )
        with (
            pytest.raises(TransientFailure, match=r"took the server's ports|No such file"),
            runner.deploy(Configuration.of({}), deployment_id="bad-0-0"),
        ):
            pytest.fail("it must not be entered")
    assert occupied(registry, "bad-0-0") == []


def test_a_model_that_triton_cannot_load_is_infeasible(registry: Path, tmp_path: Path):
    folder = tmp_path / "models" / "broken"
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.py").write_text("raise RuntimeError('no such luck')")
    (folder / "config.pbtxt").write_text('backend: "python"')
    model = served_model(ModelRef(name="broken", repository=str(tmp_path / "models")), environment())
    with (
        pytest.raises(InfeasibleConfiguration, match="no such luck"),
        local_runner(registry, model=model).deploy(Configuration.of({}), deployment_id="model-0-0"),
    ):
        pytest.fail("it must not be entered")


def test_a_ready_repository_for_tritons_onnx_backend_is_served_with_the_knobs_patched_in(
    registry: Path, tmp_path: Path
):
    folder = tmp_path / "models" / "angle"
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.onnx").write_bytes(QUICKSTART_MODEL.read_bytes())
    (folder / "config.pbtxt").write_text("""
        platform: "onnxruntime_onnx"
        max_batch_size: 64
        input { name: "x" data_type: TYPE_FP32 dims: [3, 48, 192] }
        output { name: "save_infer_model/scale_0.tmp_1" data_type: TYPE_FP32 dims: [2] }
        dynamic_batching { preferred_batch_size: [4, 32] }
    """)
    before = (folder / "config.pbtxt").read_text()
    model = served_model(ModelRef(name="angle", repository=str(tmp_path / "models")), environment())
    tuned = Configuration.of({"max_batch_size": 8})
    with local_runner(registry, model=model).deploy(tuned, deployment_id="repo-0-0") as deployment:
        assert infer(deployment, batch=8).shape == (8, 2)
        assert deployment.inputs[0].shape == (3, 48, 192)
    assert (folder / "config.pbtxt").read_text() == before


@contextmanager
def controller(registry: Path) -> Iterator[tuple[subprocess.Popen[str], Deployment]]:
    """A controller of its own with a deployment that is ready; killed at the end if it still runs."""
    command = [sys.executable, "-m", "tests.integration.abandon_a_server", str(registry)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            endpoint = process.stdout.readline().strip()
            assert endpoint.startswith("http://"), process.communicate(timeout=120)[1]
            yield process, _at(endpoint)
        finally:
            process.kill()


def _at(endpoint: str) -> Deployment:
    return Deployment(
        deployment_id="left-0-0",
        endpoint=endpoint,
        model_name="cls",
        inputs=(),
        batched=True,
        configuration=Configuration.of({}),
        generator_cpus=(0,),
        ready_after_s=0.0,
    )


@needs_cgroups
def test_what_a_killed_controller_leaves_is_reclaimed(registry: Path):
    with controller(registry) as (process, deployment):
        assert reclaim(registry, SystemClock()) == ()
        assert answers(deployment), "the server of a living controller is left alone"
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=120)
        (left,) = leftovers(registry)
        assert Path(left.entry.folder).is_dir()
        assert "left-0-0" in str(left)
        assert [found.entry for found in reclaim(registry, SystemClock())] == [left.entry]
    assert occupied(registry, "left-0-0") == []
    assert not answers(deployment)
    assert leftovers(registry) == ()


def test_a_controller_killed_before_its_server_was_ready_leaves_nothing_that_is_not_reclaimed(registry: Path):
    command = [sys.executable, "-m", "tests.integration.abandon_a_server", str(registry)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        await_ready(lambda: bool(list(entries(registry))), SystemClock(), 120.0)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=120)
    assert len(reclaim(registry, SystemClock())) == 1
    assert occupied(registry, "left-0-0") == []


@needs_cgroups
def test_a_server_is_found_by_its_mark_even_without_its_registry_entry(registry: Path):
    with controller(registry) as (process, deployment):
        (entry,) = entries(registry)
        # As if the kernel's signal to the server had failed: a process with the mark, in the server's groups.
        environ = next(e for e in processes_with(DEPLOYMENT_VARIABLE).values() if e[DEPLOYMENT_VARIABLE] == entry.key)
        with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], env=environ) as survivor:
            for folder in entry.cgroups:
                (Path(folder) / "cgroup.procs").write_text(str(survivor.pid))
            process.send_signal(signal.SIGKILL)
            process.wait(timeout=120)
            (registry / entry.file_name).unlink()
            assert survivor.pid in [pid for left in leftovers(registry) for pid in left.pids]
            reclaim(registry, SystemClock())
            assert survivor.wait(timeout=120) == -signal.SIGKILL
    assert occupied(registry, "left-0-0") == []
    assert not answers(deployment)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_controller_takes_its_server_down_itself(registry: Path, number: signal.Signals):
    with controller(registry) as (process, deployment):
        process.send_signal(number)
        process.wait(timeout=120)
        assert occupied(registry, "left-0-0") == []
        assert not answers(deployment)
