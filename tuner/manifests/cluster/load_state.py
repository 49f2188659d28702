"""What a cluster's objects say of a run of load. Its faults are never the server's: they void the measurement."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from tuner.manifests.cluster.classify import parse_time
from tuner.manifests.cluster.container_signals import container_verdicts
from tuner.manifests.cluster.naming import ROLE_LABEL, RUN_LABEL
from tuner.manifests.cluster.states import (
    Expectation,
    LoadEnded,
    LoadRuns,
    LoadState,
    StudyError,
    Transient,
)
from tuner.manifests.plain import PlainObject, number_at, object_at, objects_at, text_at

ROLES = ("load-master", "load-worker")
TIMEOUT = "load_timeout"
REFUSALS = {2, 9}
"""Exit codes of our own programs that say that the same plan would be refused again (see tuner.domain.errors)."""


def classify_load(
    objects: Sequence[PlainObject], expectation: Expectation, *, run: int, before: Sequence[PlainObject] = ()
) -> LoadState:
    """The state of one run's Jobs and pods among the objects; `before` are pods that were seen earlier. Never raises.

    A pod that somebody removed is lost even where its Job makes another one of it, as Jobs do before Kubernetes 1.26.
    """
    ours = [one for one in objects if text_at(one, "metadata", "labels", RUN_LABEL) == str(run)]
    found = [*_job_failures(ours), *_pod_failures(ours, expectation), *_removed(ours, before)]
    # A Job's deadline, or a plan that is refused, explains what else failed with it.
    for first in sorted(found, key=lambda one: isinstance(one, Transient)):
        return _without_room((*ours, *before)) or first if first.reason == TIMEOUT else first
    finished = {_role(one) for one in ours if text_at(one, "kind") == "Job" and _condition(one, "Complete")}
    return LoadEnded() if finished.issuperset(ROLES) else LoadRuns(", ".join(sorted(finished)))


def _without_room(objects: Sequence[PlainObject]) -> Transient | None:
    """A load that no node had room for was not too slow: another time there may be some."""
    for pod in objects:
        for one in objects_at(pod, "status", "conditions"):
            if (text_at(one, "type"), text_at(one, "status")) == ("PodScheduled", "False"):
                return Transient("load_unschedulable", f"{_name(pod)} found no node: {text_at(one, 'message')}")
    return None


def _job_failures(objects: Sequence[PlainObject]) -> list[Transient | StudyError]:
    found: list[Transient | StudyError] = []
    for job in objects:
        failure = _condition(job, "Failed")
        if text_at(job, "kind") != "Job" or not failure:
            continue
        reason, message = text_at(failure, "reason"), text_at(failure, "message")
        if reason == "DeadlineExceeded":
            found.append(StudyError(TIMEOUT, message or "the load did not end in time"))
        else:
            found.append(Transient(_lost(job), f"{reason} {message}".strip()))
    return found


def _pod_failures(objects: Sequence[PlainObject], expectation: Expectation) -> list[Transient | StudyError]:
    found: list[Transient | StudyError] = []
    for pod in objects:
        if text_at(pod, "kind") != "Pod":
            continue
        wrong = [one for one in container_verdicts(pod, expectation) if isinstance(one, StudyError)]
        if wrong:
            return [wrong[0]]
        if text_at(pod, "status", "phase") == "Failed":
            if _exit_codes(pod) & REFUSALS:
                return [StudyError("load_refused", f"{_name(pod)} cannot carry out its plan")]
            found.append(Transient(_lost(pod), f"{_name(pod)} failed {_why(pod)}".strip(), _node(pod)))
    return found


def _removed(objects: Sequence[PlainObject], before: Sequence[PlainObject]) -> list[Transient | StudyError]:
    """Pods that go, or are gone, before they ended: by somebody's hand, or by their Job at its deadline."""
    pods = {text_at(one, "metadata", "uid"): one for one in objects if text_at(one, "kind") == "Pod"}
    known = {text_at(one, "metadata", "uid"): one for one in before} | pods
    deadlines = {_role(one): _deadline(one) for one in objects if text_at(one, "kind") == "Job"}
    found: list[Transient | StudyError] = []
    for uid, pod in known.items():
        removed_at = _removed_at(pod)
        if text_at(pod, "status", "phase") == "Succeeded" or (uid in pods and removed_at is None):
            continue
        until = deadlines.get(_role(pod))
        if removed_at is not None and until is not None and removed_at >= until:
            found.append(StudyError(TIMEOUT, f"{_name(pod)} is ended at its Job's deadline"))
        else:
            found.append(Transient(_lost(pod), f"{_name(pod)} is removed", _node(pod)))
    return found


def _removed_at(pod: PlainObject) -> datetime | None:
    """When its removal was asked for: what is marked on a pod is the end of its grace period."""
    marked = parse_time(text_at(pod, "metadata", "deletionTimestamp"))
    return marked and marked - timedelta(seconds=number_at(pod, "metadata", "deletionGracePeriodSeconds"))


def _deadline(job: PlainObject) -> datetime | None:
    """When the cluster ends it."""
    begun = parse_time(text_at(job, "status", "startTime"))
    return begun and begun + timedelta(seconds=number_at(job, "spec", "activeDeadlineSeconds"))


def _exit_codes(pod: PlainObject) -> set[int]:
    return {number_at(one, "state", "terminated", "exitCode") for one in objects_at(pod, "status", "containerStatuses")}


def _why(pod: PlainObject) -> str:
    """The pod's own reason, else its container's."""
    ended = [object_at(one, "state", "terminated") for one in objects_at(pod, "status", "containerStatuses")]
    whole = [f"{text_at(one, 'reason')} with exit code {number_at(one, 'exitCode')}" for one in ended if one]
    return text_at(pod, "status", "reason") or ", ".join(whole)


def _name(one: PlainObject) -> str:
    return text_at(one, "metadata", "name")


def _node(pod: PlainObject) -> str:
    return text_at(pod, "spec", "nodeName")


def _lost(one: PlainObject) -> str:
    return "worker_lost" if _role(one) == "load-worker" else "load_generator"


def _role(one: PlainObject) -> str:
    return text_at(one, "metadata", "labels", ROLE_LABEL)


def _condition(one: PlainObject, kind: str) -> PlainObject:
    conditions = objects_at(one, "status", "conditions")
    true = (found for found in conditions if text_at(found, "status") == "True")
    return next((found for found in true if text_at(found, "type") == kind), {})
