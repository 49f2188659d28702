"""Control groups on this machine: make, join, read, remove."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from runners.cgroup_plan import CgroupPlan, Hierarchies, Limits, parse_hierarchies, v1_plan, v2_plan
from runners.cgroup_reading import V1_FILES, V2_FILES, CgroupReading, v1_reading, v2_reading
from tuner.domain.errors import TransientFailure


def plan_cgroups(name: str, limits: Limits) -> CgroupPlan | None:
    """The control groups that can hold a server to these limits here; None where this user may not make them."""
    hierarchies = parse_hierarchies(
        Path("/proc/self/mountinfo").read_text("utf-8"), Path("/proc/self/cgroup").read_text("utf-8")
    )
    writable = {folder for _, folder in hierarchies.v1 if _may_write(folder)}
    return v1_plan(hierarchies, name, limits, writable=writable) or v2_plan(
        hierarchies, name, limits, offered=_offered(hierarchies)
    )


def _may_write(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK) and os.access(folder / "cgroup.procs", os.W_OK)


def _offered(hierarchies: Hierarchies) -> dict[Path, frozenset[str]]:
    """What each v2 folder between the root and our own gives its children, where we may write."""
    if hierarchies.v2_own is None:
        return {}
    found = {}
    for folder in [hierarchies.v2_own, *hierarchies.v2_own.parents]:
        with contextlib.suppress(OSError):
            if _may_write(folder):
                found[folder] = frozenset((folder / "cgroup.subtree_control").read_text("ascii").split())
    return found


def make_cgroups(plan: CgroupPlan) -> None:
    """Make the folders and set the limits. Raises TransientFailure, with nothing left behind."""
    try:
        for folder in plan.folders:
            folder.mkdir()
        for path, text in plan.writes:
            # Not every kernel counts swap apart.
            if path.exists() or path.name != "memory.swap.max":
                path.write_text(text, "ascii")
    except OSError as error:
        remove_cgroups(plan.folders)
        raise TransientFailure(f"could not set up control groups: {error}") from error


def remove_cgroups(folders: Iterable[Path]) -> tuple[Path, ...]:
    """Remove empty groups; returns those that could not be removed. Missing ones are no error."""
    left = []
    for folder in reversed(tuple(folders)):
        try:
            folder.rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            left.append(folder)
    return tuple(left)


def member_pids(folders: Iterable[Path]) -> frozenset[int]:
    """Every process in these groups."""
    pids: set[int] = set()
    for folder in folders:
        with contextlib.suppress(FileNotFoundError, OSError):
            pids.update(int(line) for line in (folder / "cgroup.procs").read_text("ascii").split())
    return frozenset(pids)


def read_cgroups(plan: CgroupPlan) -> CgroupReading:
    """The groups' counters and limits now. Raises TransientFailure where the groups are gone."""
    reading = v1_reading if plan.version == "cgroup-v1" else v2_reading
    names = V1_FILES if plan.version == "cgroup-v1" else V2_FILES
    try:
        # A file that this kernel does not have is no error, a group that is gone is one.
        found = {path.name: path for folder in plan.folders for path in folder.iterdir() if path.name in names}
        return reading({name: path.read_text("ascii") for name, path in found.items()})
    except (OSError, ValueError) as error:
        raise TransientFailure(f"could not read the server's control groups: {error}") from error
