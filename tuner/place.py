"""Where a runner works, as the caller says it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tuner.coordination import LEASE_S, Tell, told_nobody
from tuner.domain.spec import StudySpec


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterAccess:
    """Which cluster. No kubeconfig: the one we run in; empty context: the file's current one."""

    kubeconfig: Path | None = None
    context: str = ""


CLUSTER_WE_RUN_IN = ClusterAccess()


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A runner by name, and for clusters where in which one.

    `study` is what is to run there, where that matters; `pull_image`: a pod may be made that pulls its images.
    """

    runner: str
    namespace: str = ""
    access: ClusterAccess = CLUSTER_WE_RUN_IN
    study: StudySpec | None = None
    pull_image: bool = False


Pin = Callable[[str, str], str]
"""Keeps a value under a key with the study, and answers with the one that was kept there first."""


def pinned_nowhere(_key: str, value: str) -> str:
    """For a bench without a history: every value is the first."""
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where a study is tuned, and what its bench keeps there: the study's pins, and a lease of so many seconds."""

    access: ClusterAccess = CLUSTER_WE_RUN_IN
    pin: Pin = pinned_nowhere
    lease_s: float = LEASE_S
    tell: Tell = told_nobody


THIS_SITE = Site()
