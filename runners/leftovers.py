"""Ending a deployment, ours or one that a killed controller left: processes, control groups, files, registry entry.

Teardown and reclaim are the same function, so that what an orderly end removes and what a crash leaves cannot drift
apart. Nothing of a living controller is touched.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runners.cgroup_files import member_pids, remove_cgroups
from runners.deployment_registry import (
    CGROUPS_VARIABLE,
    CONTROLLER_VARIABLE,
    DEPLOYMENT_VARIABLE,
    RegistryEntry,
    entries,
    forget_entry,
    torn_files,
)
from runners.process_table import ProcessIdentity, certainly_gone, identity_of, kill, processes_with
from runners.readiness import await_ready
from tuner.domain.errors import CleanupFailed
from tuner.ports import Clock

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where the kernel keeps POSIX shared memory; we remove our own names
DEADLINE_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """What a controller that is gone left behind, for a dry run to list."""

    entry: RegistryEntry
    pids: tuple[int, ...]

    def __str__(self) -> str:
        groups = sum(Path(folder).exists() for folder in self.entry.cgroups)
        folder = self.entry.folder if self.entry.folder and Path(self.entry.folder).exists() else "no folder"
        return (
            f"{self.entry.key} of study {self.entry.study or 'unknown'}: "
            f"{len(self.pids)} processes, {groups} control groups, {folder}"
        )


def leftovers(registry: Path) -> tuple[Leftover, ...]:
    """Deployments whose controller is gone, by registry entry or by the mark in a process's environment."""
    known = {entry.key: entry for entry in entries(registry) if certainly_gone(entry.controller)}
    for environ in processes_with(DEPLOYMENT_VARIABLE).values():
        key = environ[DEPLOYMENT_VARIABLE]
        controller = _controller(environ)
        if key not in known and controller is not None and certainly_gone(controller):
            known[key] = _unregistered(key, controller, environ)
    return tuple(
        Leftover(entry=entry, pids=tuple(sorted(process.pid for process in _processes(entry))))
        for entry in known.values()
    )


def _controller(environ: dict[str, str]) -> ProcessIdentity | None:
    try:
        return ProcessIdentity.parse(environ.get(CONTROLLER_VARIABLE, ""))
    except ValueError:
        return None


def _unregistered(key: str, controller: ProcessIdentity, environ: dict[str, str]) -> RegistryEntry:
    """What a marked process itself tells, for a deployment whose entry somebody deleted."""
    folder, groups = environ.get("TMPDIR", ""), environ.get(CGROUPS_VARIABLE, "").split(os.pathsep)
    return RegistryEntry(
        key=key,
        study="",
        deployment_id="",
        controller=controller,
        # Only what carries the key in its name: a mark may be inherited by a process of somebody else's making.
        folder=folder if Path(folder).name == key else "",
        cgroups=tuple(group for group in groups if Path(group).name == key),
        shared_memory=shared_memory_prefix(key),
    )


def shared_memory_prefix(key: str) -> str:
    """What the names of a deployment's shared memory start with."""
    return f"{key}_"


def reclaim(registry: Path, clock: Clock) -> tuple[Leftover, ...]:
    """Remove all leftovers, and say what they were. Raises CleanupFailed."""
    found = leftovers(registry)
    for leftover in found:
        remove(registry, leftover.entry, clock)
    for path, pid, start_ticks in torn_files(registry):
        writer = identity_of(pid)
        if writer is None or writer.start_ticks != start_ticks:
            path.unlink(missing_ok=True)
    return found


def remove(registry: Path, entry: RegistryEntry, clock: Clock) -> None:
    """End and remove everything of one deployment; missing parts are no error. Raises CleanupFailed.

    SIGKILL at once: a server of one trial has nothing to save, and a graceful stop of Triton takes two seconds.
    """
    groups = tuple(Path(folder) for folder in entry.cgroups)
    with _cleanup_of(entry, "processes"):
        await_ready(lambda: not _kill_all(entry), clock, DEADLINE_S)
    with _cleanup_of(entry, f"control groups {', '.join(entry.cgroups)}"):
        await_ready(lambda: not remove_cgroups(groups), clock, DEADLINE_S)
    for path in SHARED_MEMORY.glob(f"{entry.shared_memory}*"):
        path.unlink(missing_ok=True)
    if entry.folder:
        with _cleanup_of(entry, f"folder {entry.folder}"):
            _remove_folder(Path(entry.folder))
    forget_entry(registry, entry)


@contextlib.contextmanager
def _cleanup_of(entry: RegistryEntry, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # TimeoutError is one
        raise CleanupFailed(
            f"deployment {entry.key}: {what} could not be removed: {error}", hint="see `servetune clean`"
        ) from error


def _processes(entry: RegistryEntry) -> frozenset[ProcessIdentity]:
    """By control group and by mark: one finds what the other cannot."""
    groups = tuple(Path(folder) for folder in entry.cgroups)
    members = {identity for pid in member_pids(groups) if (identity := identity_of(pid)) is not None}
    marked = {p for p, e in processes_with(DEPLOYMENT_VARIABLE).items() if e[DEPLOYMENT_VARIABLE] == entry.key}
    return frozenset(members | marked)


def _kill_all(entry: RegistryEntry) -> bool:
    """Whether there was anything left to kill."""
    found = _processes(entry)
    for process in found:
        kill(process)
    return bool(found)


def _remove_folder(folder: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)
