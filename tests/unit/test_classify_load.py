"""One row for each way in which a run of load in a cluster ends."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clusters import a_pod, ago, condition, ended, expectation, waiting
from tuner.manifests.cluster.load_state import classify_load
from tuner.manifests.cluster.states import LoadEnded, LoadRuns, StudyError, Transient


def a_job(role: str, *conditions: Any, run: int = 1, begun_s: float = 100.0, deadline_s: int = 1000) -> Any:
    return {
        "kind": "Job",
        "metadata": {"name": role, "labels": {"servetune/role": role, "servetune/run": str(run)}},
        "spec": {"activeDeadlineSeconds": deadline_s},
        "status": {"startTime": ago(begun_s), "conditions": list(conditions)},
    }


def a_load_pod(role: str = "load-worker", **changes: Any) -> Any:
    return a_pod(metadata={"name": "w-1", "labels": {"servetune/role": role, "servetune/run": "1"}}, **changes)


def removed_pod(asked_s: float, *, phase: str = "Running") -> Any:
    """Removal was asked for so long ago, with 30 s of grace."""
    pod = a_load_pod(phase=phase)
    pod["metadata"] |= {"deletionTimestamp": ago(asked_s - 30), "deletionGracePeriodSeconds": 30}
    return pod


COMPLETE = condition("Complete")
LOADS: dict[str, tuple[list[Any], Any]] = {
    "both end well": ([a_job("load-master", COMPLETE), a_job("load-worker", COMPLETE)], LoadEnded()),
    "the workers still end": ([a_job("load-master", COMPLETE), a_job("load-worker")], LoadRuns("load-master")),
    "an earlier run ended": (
        [a_job("load-master", COMPLETE, run=9), a_job("load-worker", COMPLETE, run=9)],
        LoadRuns(),
    ),
    "a worker is lost": (
        [a_job("load-master"), a_load_pod(phase="Failed", status={"reason": "Error"})],
        Transient("worker_lost", "w-1 failed Error", "node0"),
    ),
    "a worker says why": (
        [a_load_pod(phase="Failed", containers=[ended("Error", 7)])],
        Transient("worker_lost", "w-1 failed Error with exit code 7", "node0"),
    ),
    "a worker refuses its plan, and so its Job gives up": (
        [
            a_job("load-worker", condition("Failed", "True", "BackoffLimitExceeded")),
            a_load_pod(phase="Failed", containers=[ended("Error", 9)]),
        ],
        StudyError("load_refused", "w-1 cannot carry out its plan"),
    ),
    "the master cannot read its plan": (
        [a_load_pod("load-master", phase="Failed", containers=[ended("Error", 2)])],
        StudyError("load_refused", "w-1 cannot carry out its plan"),
    ),
    "somebody removes a worker": (
        [a_job("load-worker"), removed_pod(20.0)],
        Transient("worker_lost", "w-1 is removed", "node0"),
    ),
    "its Job removes a worker at the deadline, and does not say so yet": (
        [a_job("load-worker", begun_s=100.0, deadline_s=80), removed_pod(20.0)],
        StudyError("load_timeout", "w-1 is ended at its Job's deadline"),
    ),
    "a pod that ended well is removed": (
        [a_job("load-master"), removed_pod(1.0, phase="Succeeded")],
        LoadRuns(),
    ),
    "a worker's Job gave up": (
        [a_job("load-worker", condition("Failed", "True", "BackoffLimitExceeded", "reached the limit"))],
        Transient("worker_lost", "BackoffLimitExceeded reached the limit"),
    ),
    "the master is lost": (
        [a_job("load-master", condition("Failed", "True", "BackoffLimitExceeded"))],
        Transient("load_generator", "BackoffLimitExceeded"),
    ),
    "the load does not end": (
        [
            a_job("load-worker", condition("Failed", "True", "BackoffLimitExceeded")),
            a_job("load-master", condition("Failed", "True", "DeadlineExceeded", "Job was active too long")),
        ],
        StudyError("load_timeout", "Job was active too long"),
    ),
    "no node has room for it until the deadline": (
        [
            a_job("load-worker", condition("Failed", "True", "DeadlineExceeded", "Job was active too long")),
            a_load_pod(conditions=[condition("PodScheduled", "False", "Unschedulable", "0/2 nodes are available")]),
        ],
        Transient("load_unschedulable", "w-1 found no node: 0/2 nodes are available"),
    ),
    "the load's image is wrong": (
        [a_load_pod(containers=[waiting("ErrImageNeverPull")])],
        StudyError("image", "ErrImageNeverPull"),
    ),
}


@pytest.mark.parametrize("row", LOADS)
def test_each_end_of_a_run_of_load_has_its_class(row: str):
    objects, expected = LOADS[row]
    assert classify_load(objects, expectation(container=""), run=1) == expected


def test_a_pod_that_is_gone_between_two_looks_is_lost_though_its_job_made_another():
    other = a_load_pod(phase="Running")
    other["metadata"] |= {"name": "w-2", "uid": "another"}
    state = classify_load([a_job("load-worker"), other], expectation(), run=1, before=[a_load_pod(phase="Running")])
    assert state == Transient("worker_lost", "w-1 is removed", "node0")


def test_a_pod_that_ended_well_and_is_gone_is_not_missed():
    both = [a_job("load-master", COMPLETE), a_job("load-worker", COMPLETE)]
    assert classify_load(both, expectation(), run=1, before=[a_load_pod(phase="Succeeded")]) == LoadEnded()
