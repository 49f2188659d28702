"""The runner `local`: a real Triton server per trial, on this machine, held to its limits, with nothing left behind."""

from __future__ import annotations

import os
import re
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from runners.cgroup_files import make_cgroups, plan_cgroups
from runners.cgroup_plan import GIB, Limits
from runners.cpu_placement import place
from runners.deployment_registry import RegistryEntry, write_entry
from runners.leftovers import reclaim, remove, shared_memory_prefix
from runners.local_knobs import refuse_unknown_knobs
from runners.local_repository import ServedModel
from runners.local_server import LocalServer, ServerPlan
from runners.process_table import cpu_model, this_process
from runners.server_environment import ServerEnvironment
from tuner.domain.cost import Footprint
from tuner.domain.deployment import Deployment, KserveProtocol, Telemetry
from tuner.domain.errors import TransientFailure, UsageError
from tuner.domain.space import Configuration
from tuner.interruption import undisturbed
from tuner.ports import Clock


class LocalRunner:
    """Deploys on this machine, one server at a time; see `tuner.ports.Runner`.

    What the study prices but does not tune is enforced too: `footprint` holds where a configuration is silent. Of the
    environment variables `inherited`, the server gets PATH, HOME and the locale. A
    deployment must be entered by a thread that outlives it, because the kernel kills the server when that thread ends.
    """

    def __init__(
        self,
        *,
        model: ServedModel,
        environment: ServerEnvironment,
        footprint: Footprint,
        study: str,
        ready_timeout_s: float,
        registry: Path,
        clock: Clock,
        inherited: Mapping[str, str],
        protocol: KserveProtocol = "kserve_http",
    ) -> None:
        self._model = model
        self._environment = environment
        self._footprint = footprint
        self._study = study
        self._ready_timeout_s = ready_timeout_s
        self._registry = registry
        self._clock = clock
        self._inherited = inherited
        self._protocol = protocol
        self._running: dict[str, LocalServer] = {}

    @contextmanager
    def deploy(self, configuration: Configuration, *, deployment_id: str) -> Iterator[Deployment]:
        """Ready on entry, gone on exit; what an earlier crash left is ended first.

        Raises InfeasibleConfiguration (refused, never ready, or out of memory, now or while serving),
        TransientFailure, UsageError (this machine cannot enforce it), CleanupFailed.
        """
        reclaim(self._registry, self._clock)
        plan, entry = self._plan(configuration, deployment_id)
        server = LocalServer(plan, self._environment, self._clock, self._inherited)
        write_entry(self._registry, entry)
        try:
            self._prepare(plan)
            ready_after_s = server.start()
            self._running[deployment_id] = server
            yield self._deployment(deployment_id, server, ready_after_s)
        except TransientFailure:
            server.explain_failure()
            raise
        finally:
            with undisturbed():
                self._running.pop(deployment_id, None)
                server.stop_watching()
                remove(self._registry, entry, self._clock)
                server.reap()

    def telemetry(self, deployment: Deployment) -> Telemetry:
        """Triton's statistics and the kernel's counters since the server started.

        Raises InfeasibleConfiguration if the kernel has killed part of the server for memory, TransientFailure if it
        does not answer.
        """
        server = self._running.get(deployment.deployment_id)
        if server is None:
            raise TransientFailure(f"deployment {deployment.deployment_id} is not running")
        return server.telemetry()

    def _plan(self, configuration: Configuration, deployment_id: str) -> tuple[ServerPlan, RegistryEntry]:
        """What will be started and what it will occupy; nothing is yet. Raises UsageError."""
        refuse_unknown_knobs(name for name, _ in configuration.settings)
        key = f"servetune-{re.sub(r'[^A-Za-z0-9_-]', '_', deployment_id)[:60]}-{secrets.token_hex(4)}"
        limits = limits_of(configuration, self._footprint)
        placement = place(limits.cpu_cores, sorted(os.sched_getaffinity(0)))
        cgroups = plan_cgroups(key, replace(limits, precedence=not placement.shared))
        if cgroups is None:
            refuse_what_affinity_cannot_do(limits)
        plan = ServerPlan(
            key=key,
            model_name=self._model.name,
            model_arguments=self._model.arguments,
            configuration=configuration,
            placement=placement,
            cgroups=cgroups,
            folder=Path(tempfile.gettempdir()) / key,
            controller=this_process(),
            ready_timeout_s=self._ready_timeout_s,
            on_gpu=bool(configuration.text("gpu_type", self._footprint.gpu_type)),
        )
        entry = RegistryEntry(
            key=key,
            study=self._study,
            deployment_id=deployment_id,
            controller=plan.controller,
            folder=str(plan.folder),
            cgroups=tuple(str(folder) for folder in cgroups.folders) if cgroups else (),
            shared_memory=shared_memory_prefix(key),
        )
        return plan, entry

    def _prepare(self, plan: ServerPlan) -> None:
        try:
            plan.folder.mkdir(mode=0o700)
            self._model.lay_out(plan.configuration, plan.repository)
        except OSError as error:
            raise TransientFailure(f"could not write the model repository: {error}") from error
        if plan.cgroups is not None:
            make_cgroups(plan.cgroups)

    def _deployment(self, deployment_id: str, server: LocalServer, ready_after_s: float) -> Deployment:
        inputs, batched = server.http.inputs(self._model.name)
        return Deployment(
            deployment_id=deployment_id,
            endpoint=server.endpoint(self._protocol),
            protocol=self._protocol,
            model_name=self._model.name,
            inputs=inputs,
            batched=batched,
            configuration=server.plan.configuration,
            generator_cpus=server.plan.placement.generator_cpus,
            ready_after_s=ready_after_s,
            facts=(
                *placement_facts(server.plan),
                *server.gpu_facts(),
                ("triton", server.http.version()),
                *self._environment.versions,
            ),
        )


def limits_of(configuration: Configuration, footprint: Footprint) -> Limits:
    """What the server is held to: the configuration's amounts, else the ones the study prices."""
    memory_gib = configuration.number("memory_gib", footprint.memory_gib)
    return Limits(
        cpu_cores=configuration.number("cpu_cores", footprint.cpu_cores),
        memory_bytes=round(memory_gib * GIB) if memory_gib else None,
    )


def refuse_what_affinity_cannot_do(limits: Limits) -> None:
    """Raises UsageError: without control groups only whole cores can be enforced."""
    hint = "run as root, or where your user may make control groups"
    if limits.cpu_cores != int(limits.cpu_cores):
        raise UsageError(
            f"cpu_cores {limits.cpu_cores:g} is a fraction: without control groups only whole cores are enforced",
            hint=f"{hint}, or use whole cores",
        )
    if limits.memory_bytes is not None:
        raise UsageError("memory_gib cannot be enforced without control groups", hint=hint)


def placement_facts(plan: ServerPlan) -> tuple[tuple[str, str], ...]:
    """How the limits are enforced and who runs where, for the record of the trial."""
    where = plan.placement
    sharing = "the load generator shares cores with the server" if where.shared else "the load generator has its own"
    return (
        ("cpu_enforcement", plan.cgroups.version if plan.cgroups else "affinity"),
        ("server_cpus", ",".join(map(str, where.server_cpus))),
        ("generator_cpus", ",".join(map(str, where.generator_cpus))),
        ("core_sharing", sharing),
        ("machine", f"{len(os.sched_getaffinity(0))} cores of {cpu_model()}"),
    )
