"""One Triton server process on this machine: started, waited for, read, and its failures explained."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

from runners.cgroup_files import member_pids, read_cgroups
from runners.cgroup_plan import CgroupPlan
from runners.cgroup_reading import CgroupReading
from runners.cpu_placement import Placement
from runners.deployment_registry import CGROUPS_VARIABLE, CONTROLLER_VARIABLE, DEPLOYMENT_VARIABLE
from runners.gpu_watch import GpuWatch, visible_gpu, watch_gpu
from runners.leftovers import shared_memory_prefix
from runners.metrics_watch import MetricsWatch
from runners.process_table import ProcessIdentity, machine_busy_s, processes_with
from runners.readiness import await_ready
from runners.server_environment import ServerEnvironment
from runners.server_log import StartFailure, diagnose, last_errors, option_errors
from runners.triton_http import TritonHttp
from tuner.domain.deployment import KserveProtocol, Telemetry
from tuner.domain.errors import InfeasibleConfiguration, TransientFailure, UsageError
from tuner.domain.space import Configuration
from tuner.manifests.server_command import command_arguments, environment_settings
from tuner.ports import Clock

HOST = "127.0.0.1"
PORT_ATTEMPTS = 3
MIB = 1 << 20
CUDA_DEVICES = "CUDA_VISIBLE_DEVICES"
LAUNCHER = Path(__file__).parent / "local_launch.py"
OWN_ARGUMENTS = (
    "model-repository", "model-control-mode", "backend-directory", "id", "log-file", "allow-http",
    *(f"{service}-{part}" for service in ("http", "grpc", "metrics") for part in ("address", "port")),
)  # fmt: skip
OWN_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "TMPDIR", DEPLOYMENT_VARIABLE, CONTROLLER_VARIABLE, CGROUPS_VARIABLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerPlan:
    """Everything about one server that is known before it starts. `on_gpu`: what it serves is meant to use a GPU."""

    key: str
    model_name: str
    model_arguments: tuple[str, ...]
    configuration: Configuration
    placement: Placement
    cgroups: CgroupPlan | None
    folder: Path
    controller: ProcessIdentity
    ready_timeout_s: float
    on_gpu: bool = False

    @property
    def repository(self) -> Path:
        return self.folder / "models"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    http: int
    grpc: int
    metrics: int


def free_ports() -> Ports:
    """Three ports that were free a moment ago; another program may still win the race for one."""
    with ExitStack() as stack:
        found = []
        for _ in range(3):
            sock = stack.enter_context(socket.socket())
            sock.bind((HOST, 0))
            found.append(int(sock.getsockname()[1]))
    return Ports(http=found[0], grpc=found[1], metrics=found[2])


def server_argv(plan: ServerPlan, environment: ServerEnvironment, ports: Ports) -> list[str]:
    """The command line of the server. Raises UsageError where an `arg.NAME` knob is the runner's own."""
    return [
        str(environment.triton),
        f"--model-repository={plan.repository}",
        "--model-control-mode=none",
        f"--backend-directory={environment.backends}",
        f"--backend-config=python,shm-region-prefix-name={shared_memory_prefix(plan.key)}",
        f"--id={plan.key}",
        *(f"--{service}-address={HOST}" for service in ("http", "grpc", "metrics")),
        f"--http-port={ports.http}",
        f"--grpc-port={ports.grpc}",
        f"--metrics-port={ports.metrics}",
        "--allow-gpu-metrics=false",
        "--exit-timeout-secs=2",
        *plan.model_arguments,
        *command_arguments(plan.configuration, reserved=OWN_ARGUMENTS),
    ]


def server_variables(plan: ServerPlan, environment: ServerEnvironment, inherited: Mapping[str, str]) -> dict[str, str]:
    """The server's process environment: little of ours, the `env.NAME` knobs, and the marks that make it findable."""
    return {
        **environment.variables(inherited),
        **environment_settings(plan.configuration, reserved=OWN_VARIABLES),
        "TMPDIR": str(plan.folder),
        DEPLOYMENT_VARIABLE: plan.key,
        CONTROLLER_VARIABLE: str(plan.controller),
        CGROUPS_VARIABLE: os.pathsep.join(str(folder) for folder in plan.cgroups.folders) if plan.cgroups else "",
    }


class _PortTaken(Exception):
    """Another program won the race for a port."""


class LocalServer:
    """One server of one deployment. Ending it is the work of `runners.leftovers.remove`."""

    def __init__(
        self, plan: ServerPlan, environment: ServerEnvironment, clock: Clock, inherited: Mapping[str, str]
    ) -> None:
        self.plan = plan
        self.http = TritonHttp(HOST, 0)
        self._ports = Ports(http=0, grpc=0, metrics=0)
        self._environment = environment
        self._clock = clock
        self._variables = server_variables(plan, environment, inherited)
        self._process: subprocess.Popen[bytes] | None = None
        self._watches = ExitStack()
        self._gpu: GpuWatch | None = None
        self._metrics: MetricsWatch | None = None

    def start(self) -> float:
        """Start, and wait until the model takes requests: seconds until then.

        Raises InfeasibleConfiguration, TransientFailure, UsageError (an option that Triton does not know).
        """
        gpu = visible_gpu(self._variables) if self.plan.on_gpu or CUDA_DEVICES in self._variables else None
        if gpu is not None:
            self._gpu = self._watches.enter_context(watch_gpu(gpu, self._pids))
        for _ in range(PORT_ATTEMPTS):
            try:
                ports = free_ports()
                ready_after_s = self._start(ports)
            except _PortTaken:
                self._wait_for_end()
            else:
                self._metrics = self._watch_metrics(ports.metrics)
                return ready_after_s
        raise TransientFailure(f"other programs took the server's ports {PORT_ATTEMPTS} times in a row")

    def endpoint(self, protocol: KserveProtocol) -> str:
        """Where it takes requests; known once it has started."""
        match protocol:
            case "kserve_http":
                return f"http://{HOST}:{self._ports.http}"
            case "kserve_grpc":
                return f"grpc://{HOST}:{self._ports.grpc}"
            case _ as unreachable:
                assert_never(unreachable)

    def reap(self) -> None:
        """Collect the exit status of a process that has ended, or is about to; nothing is watched any more."""
        self.stop_watching()
        self._wait_for_end()

    def stop_watching(self) -> None:
        """Look at nothing any more, so that the server can go. May be called again."""
        self._watches.close()

    def telemetry(self) -> Telemetry:
        """Raises InfeasibleConfiguration (killed for memory), TransientFailure."""
        groups = self._groups()
        self._refuse_killed_for_memory(groups)
        statistics = self.http.statistics(self.plan.model_name)
        server_cores = float(len(self.plan.placement.server_cpus))
        quota = groups.cpu_limit_cores if groups else None
        return Telemetry(
            inference_count=statistics.inference_count,
            execution_count=statistics.execution_count,
            queue_s=statistics.queue_s,
            compute_s=statistics.compute_s,
            batches=statistics.batches,
            pending_peak=self._metrics.take_pending_peak() if self._metrics else None,
            cpu_s=groups.cpu_s if groups else None,
            throttled_periods=groups.throttled_periods if groups else None,
            periods=groups.periods if groups else None,
            cpu_limit_cores=server_cores if quota is None else min(quota, server_cores),
            memory_peak_bytes=groups.memory_peak_bytes if groups else None,
            memory_limit_bytes=groups.memory_limit_bytes if groups else None,
            working_set_bytes=groups.working_set_bytes if groups else None,
            gpu=self._gpu.use() if self._gpu else None,
            machine_busy_s=machine_busy_s(),
            at_s=time.monotonic(),
        )

    def explain_failure(self) -> None:
        """Raises InfeasibleConfiguration where the memory limit is behind a failure; else returns."""
        self._refuse_killed_for_memory(self._groups())

    def _start(self, ports: Ports) -> float:
        self.http, self._ports = TritonHttp(HOST, ports.http), ports
        spec = self.plan.folder / "launch.json"
        spec.write_text(json.dumps(self._launch_spec(ports)), "utf-8")
        try:
            with self.plan.log.open("wb") as log:
                self._process = subprocess.Popen(  # noqa: S603 - our own launcher
                    [sys.executable, "-I", "-S", str(LAUNCHER), str(spec)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=self.plan.folder,
                    env=self._variables,
                    start_new_session=True,
                )
        except OSError as error:
            raise TransientFailure(f"could not start the server: {error}") from error
        try:
            return await_ready(self._is_ready, self._clock, self.plan.ready_timeout_s)
        except TimeoutError as error:
            self.explain_failure()
            raise InfeasibleConfiguration(f"the server was {error}; its log ends: {self._log_tail()}") from error

    def _launch_spec(self, ports: Ports) -> dict[str, object]:
        return {
            "parent_pid": self.plan.controller.pid,
            "join": [str(path) for path in self.plan.cgroups.members] if self.plan.cgroups else [],
            "cpus": list(self.plan.placement.server_cpus),
            "argv": server_argv(self.plan, self._environment, ports),
            "env": self._variables,
        }

    def _is_ready(self) -> bool:
        """Raises what explains it if the server has ended, or lost a part to the memory limit."""
        self.explain_failure()
        if self._process is not None and self._process.poll() is not None:
            self._explain_exit(self._process.returncode)
        # Another program may have won our port and answer in its place, so the server must say our name.
        return self.http.server_id() == self.plan.key and self.http.model_ready(self.plan.model_name)

    def _explain_exit(self, status: int) -> None:
        log = self.plan.log.read_text("utf-8", errors="replace")
        match diagnose(log):
            case StartFailure.PORT_TAKEN:
                raise _PortTaken
            case StartFailure.MODEL_REFUSED:
                raise InfeasibleConfiguration(f"Triton refused the model: {last_errors(log)}")
            case StartFailure.OPTION_UNKNOWN:
                raise UsageError(f"Triton: {option_errors(log)}", hint="check the `arg.` knobs")
            case StartFailure.OPTION_REFUSED:
                raise InfeasibleConfiguration(f"Triton refused its command line: {option_errors(log)}")
            case StartFailure.OTHER:
                raise TransientFailure(f"the server ended with status {status}: {last_errors(log)}")
            case _ as unreachable:
                assert_never(unreachable)

    def gpu_facts(self) -> tuple[tuple[str, str], ...]:
        """Of the GPU that is watched, for the record of the trial."""
        return self._gpu.facts if self._gpu else ()

    def _watch_metrics(self, port: int) -> MetricsWatch:
        metrics = TritonHttp(HOST, port)
        watch = MetricsWatch(lambda: metrics.text("/metrics"), self.plan.model_name)
        self._watches.enter_context(watch.sampler)
        return watch

    def _pids(self) -> frozenset[int]:
        """The server's processes as the GPU's driver may know them."""
        if self.plan.cgroups is not None:
            return member_pids(self.plan.cgroups.folders)
        marked = processes_with(DEPLOYMENT_VARIABLE).items()
        return frozenset(process.pid for process, found in marked if found[DEPLOYMENT_VARIABLE] == self.plan.key)

    def _wait_for_end(self) -> None:
        if self._process is not None:
            self._process.wait()

    def _groups(self) -> CgroupReading | None:
        return read_cgroups(self.plan.cgroups) if self.plan.cgroups else None

    def _refuse_killed_for_memory(self, groups: CgroupReading | None) -> None:
        if groups is None or not groups.oom_kills:
            return
        peak = "unknown" if groups.memory_peak_bytes is None else f"{groups.memory_peak_bytes / MIB:.0f} MiB"
        raise InfeasibleConfiguration(f"out of memory: the kernel killed part of the server (peak {peak})")

    def _log_tail(self) -> str:
        return last_errors(self.plan.log.read_text("utf-8", errors="replace"))
