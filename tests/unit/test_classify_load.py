"""One row for each way in which a run of load in a cluster ends."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clusters import a_pod, condition, expectation, waiting
from tuner.manifests.cluster.load_state import classify_load
from tuner.manifests.cluster.states import LoadEnded, LoadRuns, StudyError, Transient


def a_job(role: str, *conditions: Any, run: int = 1) -> Any:
    return {
        "kind": "Job",
        "metadata": {"name": role, "labels": {"servetune/role": role, "servetune/run": str(run)}},
        "status": {"conditions": list(conditions)},
    }


def a_load_pod(role: str = "load-worker", **changes: Any) -> Any:
    return a_pod(metadata={"name": "w-1", "labels": {"servetune/role": role, "servetune/run": "1"}}, **changes)


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
    "the load's image is wrong": (
        [a_load_pod(containers=[waiting("ErrImageNeverPull")])],
        StudyError("image", "ErrImageNeverPull"),
    ),
}


@pytest.mark.parametrize("row", LOADS)
def test_each_end_of_a_run_of_load_has_its_class(row: str):
    objects, expected = LOADS[row]
    assert classify_load(objects, expectation(container=""), run=1) == expected
