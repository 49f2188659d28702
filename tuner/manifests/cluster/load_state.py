"""What a cluster's objects say of a run of load. Its faults are never the server's: they void the measurement."""

from __future__ import annotations

from collections.abc import Sequence

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
from tuner.manifests.plain import PlainObject, objects_at, text_at

ROLES = ("load-master", "load-worker")


def classify_load(objects: Sequence[PlainObject], expectation: Expectation, *, run: int) -> LoadState:
    """The state of one run's Jobs and pods among the objects. Never raises."""
    ours = [one for one in objects if text_at(one, "metadata", "labels", RUN_LABEL) == str(run)]
    for found in (*_job_failures(ours), *_pod_failures(ours, expectation)):
        return found
    finished = {_role(one) for one in ours if text_at(one, "kind") == "Job" and _condition(one, "Complete")}
    return LoadEnded() if finished.issuperset(ROLES) else LoadRuns(", ".join(sorted(finished)))


def _job_failures(objects: Sequence[PlainObject]) -> list[Transient | StudyError]:
    found: list[Transient | StudyError] = []
    for job in objects:
        failure = _condition(job, "Failed")
        if text_at(job, "kind") != "Job" or not failure:
            continue
        reason, message = text_at(failure, "reason"), text_at(failure, "message")
        if reason == "DeadlineExceeded":
            found.append(StudyError("load_timeout", message or "the load did not end in time"))
        else:
            found.append(Transient(_lost(job), f"{reason} {message}".strip()))
    # A deadline explains the pods that failed with it.
    return sorted(found, key=lambda one: isinstance(one, Transient))


def _pod_failures(objects: Sequence[PlainObject], expectation: Expectation) -> list[Transient | StudyError]:
    found: list[Transient | StudyError] = []
    for pod in objects:
        if text_at(pod, "kind") != "Pod":
            continue
        wrong = [one for one in container_verdicts(pod, expectation) if isinstance(one, StudyError)]
        if wrong:
            return [wrong[0]]
        if text_at(pod, "status", "phase") == "Failed":
            name, why = text_at(pod, "metadata", "name"), text_at(pod, "status", "reason")
            found.append(Transient(_lost(pod), f"{name} failed {why}".strip(), text_at(pod, "spec", "nodeName")))
    return found


def _lost(one: PlainObject) -> str:
    return "worker_lost" if _role(one) == "load-worker" else "load_generator"


def _role(one: PlainObject) -> str:
    return text_at(one, "metadata", "labels", ROLE_LABEL)


def _condition(one: PlainObject, kind: str) -> PlainObject:
    conditions = objects_at(one, "status", "conditions")
    true = (found for found in conditions if text_at(found, "status") == "True")
    return next((found for found in true if text_at(found, "type") == kind), {})
