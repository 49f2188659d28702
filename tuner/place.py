"""Where a runner works, as the caller says it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterAccess:
    """Which cluster. No kubeconfig: the one we run in; empty context: the file's current one."""

    kubeconfig: Path | None = None
    context: str = ""


CLUSTER_WE_RUN_IN = ClusterAccess()


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A runner by name, and for clusters where in which one."""

    runner: str
    namespace: str = ""
    access: ClusterAccess = CLUSTER_WE_RUN_IN
