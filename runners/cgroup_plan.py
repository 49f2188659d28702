"""Which control groups hold a server to its limits, as values: folders to make and texts to write. Pure.

Both versions are covered: in v1 each controller has a hierarchy of its own, in v2 one hierarchy has them all and a
folder offers only what its parent's `cgroup.subtree_control` lists. Source: the kernel's admin-guide, cgroup-v1 and
cgroup-v2.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

PERIOD_US = 100_000
"""The scheduler's default period, which is Kubernetes' too: a throttled server pauses here as it would there."""

GIB = 1 << 30

PRECEDENCE = 10
"""A server on cores of its own has so many times an ordinary process's claim to them when others want them too. The
quota still holds; the weight only keeps a busy machine from making a configuration look worse than it is."""

_V1_ORDINARY_SHARES, _V2_ORDINARY_WEIGHT = 1024, 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a server may use; None is no limit. `precedence`: its cores are not also the load generator's."""

    cpu_cores: float
    memory_bytes: int | None
    precedence: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Hierarchies:
    """Where this process sits: v1 controller -> its own folder there; the v2 mount point and its own folder there."""

    v1: tuple[tuple[str, Path], ...] = ()
    v2_mount: Path | None = None
    v2_own: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupPlan:
    """One server's control groups. `folders` are made in order and removed in reverse."""

    version: Literal["cgroup-v1", "cgroup-v2"]
    folders: tuple[Path, ...]
    writes: tuple[tuple[Path, str], ...]

    @property
    def members(self) -> tuple[Path, ...]:
        """The files that a process joins by writing its number to."""
        return tuple(folder / "cgroup.procs" for folder in self.folders)


def parse_hierarchies(mountinfo: str, own_cgroups: str) -> Hierarchies:
    """From the texts of /proc/self/mountinfo and /proc/self/cgroup (proc(5), cgroups(7))."""
    own = {
        names: Path(path) for _, names, path in (line.split(":", 2) for line in own_cgroups.splitlines() if ":" in line)
    }
    v1: dict[str, Path] = {}
    v2_mount = v2_own = None
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        root, mount = (Path(field) for field in before.split()[3:5])
        kind, _, options = after.split()[:3]
        if kind == "cgroup2" and "" in own:
            v2_mount, v2_own = mount, _below(mount, root, own[""])
        elif kind == "cgroup":
            joint = next((names for names in own if names and set(names.split(",")) <= set(options.split(","))), "")
            v1.update({name: _below(mount, root, own[joint]) for name in joint.split(",") if joint})
    return Hierarchies(v1=tuple(sorted(v1.items())), v2_mount=v2_mount, v2_own=v2_own)


def _below(mount: Path, root: Path, path: Path) -> Path:
    """A cgroup's folder; a path outside what is mounted (a container sees only its own part) is the mount itself."""
    return mount / path.relative_to(root) if path.is_relative_to(root) else mount


def v1_plan(hierarchies: Hierarchies, name: str, limits: Limits, *, writable: Collection[Path]) -> CgroupPlan | None:
    """Groups named `name` below our own in each v1 hierarchy we may write to; None where CPU time is not among them."""
    own = {controller: folder for controller, folder in hierarchies.v1 if folder in writable}
    if "cpu" not in own or (limits.memory_bytes is not None and "memory" not in own):
        return None
    wanted = {c: own[c] / name for c in ("cpu", "cpuacct", "memory") if c in own}
    writes = [
        (wanted["cpu"] / "cpu.cfs_period_us", str(PERIOD_US)),
        (wanted["cpu"] / "cpu.cfs_quota_us", str(_quota_us(limits))),
    ]
    if limits.precedence:
        writes.append((wanted["cpu"] / "cpu.shares", str(PRECEDENCE * _V1_ORDINARY_SHARES)))
    if limits.memory_bytes is not None:
        writes.append((wanted["memory"] / "memory.limit_in_bytes", str(limits.memory_bytes)))
    return CgroupPlan(version="cgroup-v1", folders=tuple(dict.fromkeys(wanted.values())), writes=tuple(writes))


def v2_plan(
    hierarchies: Hierarchies, name: str, limits: Limits, *, offered: Mapping[Path, Collection[str]]
) -> CgroupPlan | None:
    """One group in the nearest folder above our own that offers `cpu` and `memory`; None where none does.

    `offered` maps a folder we may write to to its `cgroup.subtree_control`. Our own folder is no candidate: a group
    with processes in it cannot have limited children, except for the root.
    """
    if hierarchies.v2_mount is None or hierarchies.v2_own is None:
        return None
    above = [f for f in hierarchies.v2_own.parents if f.is_relative_to(hierarchies.v2_mount)]
    parent = next((f for f in [*above, hierarchies.v2_mount] if {"cpu", "memory"} <= set(offered.get(f, ()))), None)
    if parent is None:
        return None
    folder = parent / name
    writes = [(folder / "cpu.max", f"{_quota_us(limits)} {PERIOD_US}")]
    if limits.precedence:
        writes.append((folder / "cpu.weight", str(PRECEDENCE * _V2_ORDINARY_WEIGHT)))
    if limits.memory_bytes is not None:
        writes += [
            (folder / "memory.max", str(limits.memory_bytes)),
            # Swapping instead of dying would only make the server slow in a way no pod is.
            (folder / "memory.swap.max", "0"),
        ]
    return CgroupPlan(version="cgroup-v2", folders=(folder,), writes=tuple(writes))


def _quota_us(limits: Limits) -> int:
    return round(limits.cpu_cores * PERIOD_US)
