"""What this machine can do for the local runner, for `servetune doctor`. Looks, changes nothing."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

from runners.cgroup_files import plan_cgroups
from runners.cgroup_plan import Limits
from runners.findings import Finding
from runners.leftovers import leftovers
from runners.server_environment import environment_place, require_supported_machine
from tuner.domain.errors import UsageError


def check_machine(cache_dir: Path, registry: Path) -> tuple[Finding, ...]:
    """Everything the local runner depends on, in reading order."""
    return (*_server(cache_dir), *_limits(), _orphans(registry))


def _server(cache_dir: Path) -> Iterator[Finding]:
    try:
        libpython = require_supported_machine()
        yield Finding("python", ok=True, detail=f"{platform.python_version()}, shared library in {libpython}")
    except UsageError as error:
        yield Finding("python", ok=False, detail=str(error))
        return
    place = environment_place(cache_dir)
    built = place.exists()
    uv = os.environ.get("UV") or shutil.which("uv")
    yield Finding("server environment", ok=True, detail=f"{place}{'' if built else ' (built on first use)'}")
    yield Finding("installer", ok=True, detail=uv or "no uv found: the environment is built with venv and pip")


def _limits() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0))
    yield Finding("cores", ok=True, detail=f"{cores}, of which the load generator wants one")
    plan = plan_cgroups("servetune-doctor", Limits(cpu_cores=0.5, memory_bytes=1 << 30))
    if plan is not None:
        yield Finding("limits", ok=True, detail=f"{plan.version}: fractions of a core and memory are enforced")
        return
    yield Finding(
        "limits",
        ok=False,
        detail="no control groups for this user: whole cores only, no memory limit; run as root for the others",
        needed=False,
    )


def _orphans(registry: Path) -> Finding:
    left = leftovers(registry)
    detail = "nothing left by an earlier crash" if not left else "; ".join(str(one) for one in left)
    return Finding("leftovers", ok=not left, detail=detail, needed=False)
