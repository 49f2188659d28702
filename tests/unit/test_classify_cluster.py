"""One row for each way in which a cluster says that a trial's server will not come, or is another."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clusters import (
    NOW,
    a_deployment,
    a_node,
    a_pod,
    ago,
    condition,
    container_status,
    ended,
    expectation,
    ready_pod,
    running,
    waiting,
)
from tuner.domain.errors import InfeasibleConfiguration, TransientFailure, UsageError
from tuner.manifests.cluster.classify import classify
from tuner.manifests.cluster.states import (
    Infeasible,
    Phase,
    Ready,
    StudyError,
    Transient,
    Waiting,
    as_error,
)

UNSCHEDULABLE = "0/2 nodes are available: 1 Insufficient nvidia.com/gpu, 1 node(s) didn't match Pod's node affinity."
TOO_MANY = "request for 'nvidia.com/gpu: 2' too large: maximum request size for shared resources is 1"
QUOTA = (
    'pods "st-resnet-12-1-server-6c8d-" is forbidden: exceeded quota: gpus, '
    "requested: requests.nvidia.com/gpu={asked}, used: requests.nvidia.com/gpu={used}, "
    "limited: requests.nvidia.com/gpu=2"
)


def unscheduled(message: str = UNSCHEDULABLE, **changes: Any) -> Any:
    refused = condition("PodScheduled", "False", "Unschedulable", message)
    return a_pod(node="", conditions=[refused], containers=[], **changes)


def refused(message: str) -> list[Any]:
    return [a_deployment(condition("ReplicaFailure", "True", "FailedCreate", message))]


# name: (objects, what else the runner knows, state, reason or phase)
ROWS: dict[str, tuple[list[Any], dict[str, Any], type, str]] = {
    "quota below what one trial asks": (refused(QUOTA.format(asked=4, used=0)), {}, Infeasible, "above_quota"),
    "quota in use by others": (refused(QUOTA.format(asked=1, used=2)), {}, Waiting, Phase.CREATE),
    "limit range": (
        refused("pods is forbidden: maximum cpu usage per Container is 2, but limit is 4"),
        {},
        Infeasible,
        "outside_limit_range",
    ),
    "pod security": (
        refused('pods "x" is forbidden: violates PodSecurity "restricted:latest": host namespaces (hostNetwork=true)'),
        {},
        StudyError,
        "pod_security",
    ),
    "service account missing": (
        refused('pods "x" is forbidden: error looking up service account a/b: serviceaccount "b" not found'),
        {},
        StudyError,
        "pod_refused",
    ),
    "hook does not answer": (
        refused('Internal error occurred: failed calling webhook "w": timeout'),
        {},
        Waiting,
        Phase.CREATE,
    ),
    "nothing made yet": ([a_deployment()], {}, Waiting, Phase.CREATE),
    "no node with the label": (
        [
            unscheduled(spec={"nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-L4"}}),
            a_node(labels={"nvidia.com/gpu.product": "Tesla-T4"}),
        ],
        {},
        StudyError,
        "no_such_node",
    ),
    "no node with the label, but one may come": (
        [unscheduled(spec={"nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-L4"}}), a_node()],
        {"autoscaled": True},
        Waiting,
        Phase.SCHEDULE,
    ),
    "larger than every node": (
        [unscheduled(limits={"nvidia.com/gpu": "2"}), a_node(), a_node("node1", **{"nvidia.com__gpu": "1"})],
        {},
        Infeasible,
        "too_large",
    ),
    "busy nodes": (
        [unscheduled(limits={"nvidia.com/gpu": "1"}), a_node("node1", **{"nvidia.com__gpu": "1"})],
        {},
        Waiting,
        Phase.SCHEDULE,
    ),
    "busy nodes under HAMi": (
        [
            unscheduled(
                limits={"nvidia.com/gpu": "1", "nvidia.com/gpumem-percentage": "50", "nvidia.com/gpucores": "50"}
            ),
            a_node("node1", **{"nvidia.com__gpu": "10"}),
        ],
        {},
        Waiting,
        Phase.SCHEDULE,
    ),
    "nodes not to be seen": ([unscheduled()], {}, Waiting, Phase.SCHEDULE),
    "invalid image name": (
        [a_pod(containers=[waiting("InvalidImageName", "couldn't parse image reference")])],
        {},
        StudyError,
        "image",
    ),
    "image never pulled": ([a_pod(containers=[waiting("ErrImageNeverPull")])], {}, StudyError, "image"),
    "image unknown to the registry": (
        [a_pod(containers=[waiting("ErrImagePull", "failed to resolve reference: unexpected status: 404 Not Found")])],
        {},
        StudyError,
        "image",
    ),
    "image refused": (
        [a_pod(containers=[waiting("ImagePullBackOff", "pull access denied, repository does not exist")])],
        {},
        StudyError,
        "image",
    ),
    "registry out of reach": (
        [a_pod(containers=[waiting("ErrImagePull", "dial tcp 10.0.0.9:443: i/o timeout")])],
        {},
        Waiting,
        Phase.PULL,
    ),
    "ConfigMap missing": (
        [a_pod(containers=[waiting("CreateContainerConfigError", 'configmap "x" not found')])],
        {},
        StudyError,
        "missing_reference",
    ),
    "bad command, as a wait": (
        [a_pod(containers=[waiting("RunContainerError", 'exec: "tritonservr": not found')])],
        {},
        StudyError,
        "bad_command",
    ),
    "bad command, as an end": ([a_pod(containers=[ended("StartError", 128)])], {}, StudyError, "bad_command"),
    "host out of memory": (
        [a_pod(phase="Running", containers=[ended("OOMKilled", 137)])],
        {},
        Infeasible,
        "out_of_memory",
    ),
    "host out of memory, already restarted": (
        [a_pod(phase="Running", containers=[ended("OOMKilled", 137, restarts=1)])],
        {},
        Infeasible,
        "out_of_memory",
    ),
    "GPU out of memory at its end": (
        [a_pod(phase="Running", containers=[ended("Error", 1)])],
        {"log_tail": "RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB"},
        Infeasible,
        "gpu_out_of_memory",
    ),
    "GPU out of memory while the server stays up": (
        [a_pod(phase="Running", containers=[running(5)])],
        {"log_tail": "failed to load 'resnet50': CUDA_ERROR_OUT_OF_MEMORY: out of memory"},
        Infeasible,
        "gpu_out_of_memory",
    ),
    "crash at start": (
        [a_pod(phase="Running", containers=[ended("Error", 1)])],
        {"log_tail": "error: unknown option '--bad'"},
        Infeasible,
        "crash",
    ),
    "crash loop": ([a_pod(phase="Running", containers=[ended("Error", 1, restarts=3)])], {}, Infeasible, "crash"),
    "segmentation fault, the first time": (
        [a_pod(phase="Running", containers=[ended("Error", 139)])],
        {},
        Transient,
        "crash",
    ),
    "segmentation fault, again": (
        [a_pod(phase="Running", containers=[ended("Error", 139)])],
        {"attempt": 2},
        Infeasible,
        "crash",
    ),
    "killed by its startup probe": (
        [a_pod(phase="Running", containers=[ended("Error", 137, restarts=1)])],
        {},
        Infeasible,
        "never_ready",
    ),
    "never ready by our clock": (
        [a_pod(phase="Running", containers=[running(301)])],
        {"log_tail": "loading resnet50"},
        Infeasible,
        "never_ready",
    ),
    "never ready by the Deployment's clock": (
        [
            a_pod(phase="Running", containers=[running(20)]),
            a_deployment(condition("Progressing", "False", "ProgressDeadlineExceeded", "timed out progressing")),
        ],
        {},
        Infeasible,
        "never_ready",
    ),
    "no pod by the Deployment's clock": (
        [a_deployment(condition("Progressing", "False", "ProgressDeadlineExceeded", "timed out progressing"))],
        {},
        Transient,
        "no_progress",
    ),
    "device plugin refuses": (
        [a_pod(phase="Failed", status={"reason": "UnexpectedAdmissionError", "message": "Allocate failed"})],
        {},
        Transient,
        "refused_by_node",
    ),
    "node out of GPUs": (
        [a_pod(phase="Failed", status={"reason": "OutOfnvidia.com/gpu", "message": "Node didn't have enough"})],
        {},
        Transient,
        "refused_by_node",
    ),
    "more than one shared GPU asked": (
        [
            a_pod(
                phase="Failed",
                status={
                    "reason": "UnexpectedAdmissionError",
                    "message": TOO_MANY,
                },
            )
        ],
        {},
        StudyError,
        "too_many_shares",
    ),
    "preempted": (
        [
            ready_pod(
                conditions=[
                    condition("Ready"),
                    condition("DisruptionTarget", "True", "PreemptionByScheduler", "preempting to accommodate a pod"),
                ]
            )
        ],
        {},
        Transient,
        "disrupted",
    ),
    "evicted": (
        [a_pod(phase="Failed", status={"reason": "Evicted", "message": "The node was low on resource: memory."})],
        {},
        Transient,
        "disrupted",
    ),
    "node shut down": ([a_pod(phase="Failed", status={"reason": "NodeShutdown"})], {}, Transient, "disrupted"),
    "removed by somebody": (
        [ready_pod(metadata={"deletionTimestamp": ago(1), "uid": "4f1c", "name": "x"})],
        {},
        Transient,
        "disrupted",
    ),
    "node lost": ([ready_pod(), a_node(ready="Unknown")], {}, Transient, "node_lost"),
    "node lost, by the pod": (
        [ready_pod(conditions=[condition("Ready", "False", "NodeNotReady")])],
        {},
        Transient,
        "node_lost",
    ),
    "pod past its deadline": (
        [a_pod(phase="Failed", status={"reason": "DeadlineExceeded", "message": "Pod was active too long"})],
        {},
        Infeasible,
        "never_ready",
    ),
    "engine build fails": (
        [
            a_pod(
                init=[
                    container_status("build-engine", state={"terminated": {"reason": "Error", "exitCode": 1}}),
                ]
            )
        ],
        {},
        Infeasible,
        "engine_build",
    ),
    "model cannot be fetched": (
        [a_pod(init=[container_status("fetch-model", state={"terminated": {"reason": "Error", "exitCode": 1}})])],
        {},
        Transient,
        "prepare",
    ),
    "model is fetched": (
        [a_pod(init=[container_status("fetch-model", state={"running": {"startedAt": ago(5)}})])],
        {},
        Waiting,
        Phase.PREPARE,
    ),
    "image comes": ([a_pod()], {}, Waiting, Phase.PULL),
    "model loads": ([a_pod(phase="Running", containers=[running(5)])], {}, Waiting, Phase.LOAD),
    "ready": ([ready_pod(), a_node()], {}, Ready, ""),
}


@pytest.mark.parametrize("row", ROWS)
def test_each_signal_has_its_class(row: str):
    objects, known, kind, what = ROWS[row]
    state = classify(objects, [], NOW, expectation(**known))
    assert isinstance(state, kind), state
    assert getattr(state, "reason", getattr(state, "phase", "")) == what


LATE = {
    "no pod": ([a_deployment()], Transient, "no_pod"),
    "quota": (refused(QUOTA.format(asked=1, used=2)), Transient, "quota_full"),
    "busy": ([unscheduled(), a_node(**{"nvidia.com__gpu": "1"})], Transient, "unschedulable"),
    "no scheduler": ([a_pod(node="", conditions=[], containers=[])], Transient, "unscheduled"),
    "pull": ([a_pod(containers=[waiting("ErrImagePull", "i/o timeout")])], Transient, "pull_timeout"),
    "engine": (
        [a_pod(init=[container_status("build-engine", state={"running": {"startedAt": ago(5000)}})])],
        Infeasible,
        "engine_build",
    ),
}


@pytest.mark.parametrize("row", LATE)
def test_patience_ends(row: str):
    objects, kind, reason = LATE[row]
    old = [one | {"metadata": one["metadata"] | {"creationTimestamp": ago(5000)}} for one in objects]
    for one in old:
        for stated in one["status"].get("conditions", []):
            stated["lastTransitionTime"] = ago(5000)
    long_ago = expectation(created_at=NOW.replace(hour=1))
    state = classify(old, [], NOW, long_ago)
    assert isinstance(state, kind), state
    assert state.reason == reason


@pytest.mark.parametrize(
    ("state", "error"),
    [
        (Infeasible("out_of_memory", "killed"), InfeasibleConfiguration),
        (Transient("node_lost"), TransientFailure),
        (StudyError("image", "no such image"), UsageError),
    ],
)
def test_a_state_becomes_the_error_the_loop_knows(state: Any, error: type[Exception]):
    raised = as_error(state)
    assert type(raised) is error
    assert str(raised).startswith(state.reason)


def test_an_autoscaler_that_adds_no_node_in_time_ends_the_wait():
    pod = unscheduled(limits={"nvidia.com/gpu": "2"}, metadata={"creationTimestamp": ago(400)})
    state = classify([pod, a_node(**{"nvidia.com__gpu": "1"})], [], NOW, expectation(autoscaled=True))
    assert state == Infeasible("too_large", UNSCHEDULABLE)


def test_the_log_goes_with_the_reason():
    log = "\n".join(f"line {number}" for number in range(100))
    state = classify([a_pod(containers=[ended("Error", 2)])], [], NOW, expectation(log_tail=log))
    assert isinstance(state, Infeasible)
    assert state.message.startswith("exit code 2\nline 80")
    assert state.message.endswith("line 99")


def test_events_add_words_and_decide_nothing():
    event = {"kind": "Event", "message": "pod triggered scale-up: [{pool 1->2 (max: 4)}]", "lastTimestamp": ago(1)}
    older = {"kind": "Event", "message": "(combined from similar events): no preemption", "lastTimestamp": ago(9)}
    without = classify([a_deployment()], [], NOW, expectation())
    assert classify([a_deployment()], [older, event], NOW, expectation()) == Waiting(Phase.CREATE, event["message"])
    assert isinstance(without, Waiting)


def test_pods_of_the_load_are_not_the_server():
    lost = a_pod(phase="Failed", metadata={"labels": {"servetune/role": "load-worker"}})
    assert isinstance(classify([ready_pod(), lost], [], NOW, expectation()), Ready)
