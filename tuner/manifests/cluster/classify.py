"""What a cluster's objects say of a trial's server: one pure function from plain API objects to a state.

It never raises, whatever is missing. Events add words to a state and never decide it: they may be lost or merged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import assert_never

from tuner.manifests.cluster.container_signals import (
    BUILD,
    container_verdicts,
    gpu_out_of_memory,
    last_lines,
    pull_trouble,
)
from tuner.manifests.cluster.naming import ROLE_LABEL
from tuner.manifests.cluster.refusals import classify_pod_refusal
from tuner.manifests.cluster.scheduling import Fit, fit
from tuner.manifests.cluster.states import (
    Expectation,
    Infeasible,
    Phase,
    Ready,
    ServerState,
    StudyError,
    Transient,
    Waiting,
)
from tuner.manifests.plain import PlainObject, number_at, object_at, objects_at, text_at, value_at

_EVICTED = ("Evicted", "Preempting", "Preempted", "NodeShutdown", "Shutdown", "Terminated", "NodeLost", "NodeAffinity")
_TOO_MANY_SHARES = "maximum request size for shared resources"
_RANK: tuple[type, ...] = (StudyError, Infeasible, Transient, Ready, Waiting)


def classify(
    objects: Sequence[PlainObject], events: Sequence[PlainObject], now: datetime, expectation: Expectation
) -> ServerState:
    """The state of the one server among the objects (its pods, Deployment, and nodes where they may be read).

    Where several pods say different things, the one that asks for the strongest reaction is heard. `now` and
    `created_at` are aware times.
    """
    pods = server_pods(objects)
    nodes = [one for one in objects if text_at(one, "kind") == "Node"]
    states = [_pod_state(pod, nodes, now, expectation) for pod in pods] or [_unmade(objects, now, expectation)]
    state = min(states, key=lambda one: _RANK.index(type(one)))
    return _with_words(_out_of_patience(state, objects), events)


def server_pods(objects: Sequence[PlainObject]) -> tuple[PlainObject, ...]:
    """The pods that serve: those of the load have another role."""
    return tuple(
        one
        for one in objects
        if text_at(one, "kind") == "Pod" and text_at(one, "metadata", "labels", ROLE_LABEL) in {"", "server"}
    )


def spoiled(ready: Ready, objects: Sequence[PlainObject]) -> str:
    """Why a measurement is void: the server is not the one that was ready when it began. Empty: it is."""
    pod = next((one for one in server_pods(objects) if text_at(one, "metadata", "uid") == ready.uid), None)
    if pod is None:
        return f"the pod {ready.pod} is gone"
    after = _ready(pod, "")
    statuses = objects_at(pod, "status", "containerStatuses")
    restarts = sum(number_at(status, "restartCount") for status in statuses)
    if restarts != ready.restarts:
        return f"a container of {ready.pod} was restarted"
    if ready.container_id not in _container_ids(pod):
        return f"the container of {ready.pod} was replaced"
    if value_at(pod, "metadata", "deletionTimestamp") is not None:
        return f"the pod {ready.pod} is being removed"
    return "" if after is not None else f"the pod {ready.pod} stopped being ready"


def _container_ids(pod: PlainObject) -> set[str]:
    return {text_at(status, "containerID") for status in objects_at(pod, "status", "containerStatuses")}


def _unmade(objects: Sequence[PlainObject], now: datetime, expectation: Expectation) -> ServerState:
    """No pod yet: because the Deployment may not make one, or because it was not looked at yet."""
    waits = now.timestamp() - expectation.created_at.timestamp() > expectation.deadlines.schedule_s
    for deployment in objects:
        refusal = _condition(deployment, "ReplicaFailure")
        if text_at(deployment, "kind") != "Deployment" or text_at(refusal, "status") != "True":
            continue
        message = text_at(refusal, "message")
        meaning = classify_pod_refusal(message) or StudyError("pod_refused", message)
        if isinstance(meaning, Transient) and not waits:
            return Waiting(Phase.CREATE, message)
        return meaning
    return Transient("no_pod", "the cluster made no pod in time") if waits else Waiting(Phase.CREATE)


def _pod_state(pod: PlainObject, nodes: Sequence[PlainObject], now: datetime, expectation: Expectation) -> ServerState:
    verdicts: Iterator[ServerState] = container_verdicts(pod, expectation)
    gone = _taken_away(pod) or _refused_by_node(pod) or _node_lost(pod, nodes)
    if gone is not None:
        return gone
    found = min(verdicts, key=lambda one: _RANK.index(type(one)), default=None)
    if found is not None:
        return found
    if text_at(pod, "status", "phase") == "Failed":
        return Infeasible("crash", text_at(pod, "status", "message") or text_at(pod, "status", "reason"))
    return _ready(pod, expectation.container) or _on_its_way(pod, nodes, now, expectation)


def _taken_away(pod: PlainObject) -> Transient | None:
    disruption, node = _condition(pod, "DisruptionTarget"), text_at(pod, "spec", "nodeName")
    if text_at(disruption, "status") == "True":
        return Transient("disrupted", f"{text_at(disruption, 'reason')} {text_at(disruption, 'message')}".strip(), node)
    reason = text_at(pod, "status", "reason")
    if reason in _EVICTED:
        return Transient("disrupted", f"{reason} {text_at(pod, 'status', 'message')}".strip(), node)
    removed = value_at(pod, "metadata", "deletionTimestamp") is not None
    return Transient("disrupted", "somebody removed the pod", node) if removed else None


def _refused_by_node(pod: PlainObject) -> ServerState | None:
    """The scheduler's count of a resource was older than the node's."""
    reason, message = text_at(pod, "status", "reason"), text_at(pod, "status", "message")
    if reason == "DeadlineExceeded":
        return Infeasible("never_ready", message)
    if reason != "UnexpectedAdmissionError" and not reason.startswith("OutOf"):
        return None
    if _TOO_MANY_SHARES in message:
        return StudyError("too_many_shares", message)
    return Transient("refused_by_node", message or reason, text_at(pod, "spec", "nodeName"))


def _node_lost(pod: PlainObject, nodes: Sequence[PlainObject]) -> Transient | None:
    name = text_at(pod, "spec", "nodeName")
    unready = text_at(_condition(pod, "Ready"), "reason") in {"NodeNotReady", "NodeStatusUnknown"}
    states = [text_at(_condition(node, "Ready"), "status") for node in nodes if _is(node, name)]
    lost = unready or text_at(pod, "status", "phase") == "Unknown" or (bool(name) and "Unknown" in states)
    return Transient("node_lost", f"the node {name} does not answer", name) if lost else None


def _is(node: PlainObject, name: str) -> bool:
    return bool(name) and text_at(node, "metadata", "name") == name


def _ready(pod: PlainObject, container: str) -> Ready | None:
    if text_at(_condition(pod, "Ready"), "status") != "True":
        return None
    statuses = objects_at(pod, "status", "containerStatuses")
    serving = next((one for one in statuses if not container or text_at(one, "name") == container), {})
    return Ready(
        pod=text_at(pod, "metadata", "name"),
        uid=text_at(pod, "metadata", "uid"),
        node=text_at(pod, "spec", "nodeName"),
        address=text_at(pod, "status", "podIP"),
        container_id=text_at(serving, "containerID"),
        restarts=sum(number_at(status, "restartCount") for status in statuses),
        image_id=text_at(serving, "imageID"),
    )


def _on_its_way(pod: PlainObject, nodes: Sequence[PlainObject], now: datetime, expectation: Expectation) -> ServerState:
    """In which phase a pod is, and whether that took too long."""
    deadlines, begun = expectation.deadlines, expectation.created_at
    scheduled = _condition(pod, "PodScheduled")
    if text_at(scheduled, "status") != "True" and not text_at(pod, "spec", "nodeName"):
        late = _since_s(text_at(pod, "metadata", "creationTimestamp"), begun, now) > deadlines.schedule_s
        return _unscheduled(pod, text_at(scheduled, "message"), nodes, expectation, late=late)
    placed = text_at(scheduled, "lastTransitionTime")
    for status in objects_at(pod, "status", "initContainerStatuses"):
        running = object_at(status, "state", "running")
        if running:
            return _preparing(text_at(status, "name"), running, begun, now, deadlines.prepare_s)
    for status in objects_at(pod, "status", "containerStatuses"):
        running = object_at(status, "state", "running")
        if running and text_at(status, "name") == (expectation.container or text_at(status, "name")):
            late = _since_s(text_at(running, "startedAt"), begun, now) > deadlines.load_s
            return _loading(expectation, late=late)
    trouble = pull_trouble(pod)
    # What an init container did comes between the node and the image: both may take their time.
    patience_s = deadlines.pull_s + (deadlines.prepare_s if objects_at(pod, "spec", "initContainers") else 0.0)
    if _since_s(placed, begun, now) > patience_s:
        return Transient(
            "pull_timeout", trouble or "no container was started in time", text_at(pod, "spec", "nodeName")
        )
    return Waiting(Phase.PULL, trouble)


def _unscheduled(
    pod: PlainObject, message: str, nodes: Sequence[PlainObject], expectation: Expectation, *, late: bool
) -> ServerState:
    if not message:
        return Transient("unscheduled", "no scheduler looked at the pod") if late else Waiting(Phase.SCHEDULE)
    may_come = expectation.autoscaled and not late
    match fit(pod, nodes):
        case Fit.NO_SUCH_NODE if not may_come:
            return StudyError("no_such_node", message)
        case Fit.TOO_LARGE if not may_come:
            return Infeasible("too_large", message)
        case Fit.NO_SUCH_NODE | Fit.TOO_LARGE | Fit.BUSY | Fit.UNKNOWN:
            return Transient("unschedulable", message) if late else Waiting(Phase.SCHEDULE, message)
        case other:
            assert_never(other)


def _preparing(
    name: str, running: PlainObject, begun: datetime, now: datetime, deadline_s: float
) -> Waiting | Infeasible | Transient:
    if _since_s(text_at(running, "startedAt"), begun, now) <= deadline_s:
        return Waiting(Phase.PREPARE, name)
    message = f"the init container {name} did not end in {deadline_s:g} s"
    return Infeasible("engine_build", message) if name == BUILD else Transient("prepare", message)


def _loading(expectation: Expectation, *, late: bool) -> Waiting | Infeasible:
    """Triton stays up without a model that did not fit: it says so in its log only."""
    if gpu_out_of_memory(expectation.log_tail):
        return Infeasible("gpu_out_of_memory", last_lines(expectation.log_tail))
    if late:
        message = f"not ready in {expectation.deadlines.load_s:g} s\n{last_lines(expectation.log_tail)}"
        return Infeasible("never_ready", message.strip())
    return Waiting(Phase.LOAD)


def _out_of_patience(state: ServerState, objects: Sequence[PlainObject]) -> ServerState:
    """The Deployment's own deadline: a backstop where no clock of ours ran."""
    if not isinstance(state, Waiting):
        return state
    for one in objects:
        progress = _condition(one, "Progressing")
        if text_at(one, "kind") == "Deployment" and text_at(progress, "reason") == "ProgressDeadlineExceeded":
            message = text_at(progress, "message")
            loading = state.phase is Phase.LOAD
            return Infeasible("never_ready", message) if loading else Transient("no_progress", message)
    return state


def _with_words(state: ServerState, events: Sequence[PlainObject]) -> ServerState:
    """What waits, with the last thing the cluster said of it."""
    if not isinstance(state, Waiting) or state.detail:
        return state
    said = [(text_at(event, "lastTimestamp"), text_at(event, "message")) for event in events]
    return Waiting(state.phase, max(said, default=("", ""))[1])


def _condition(one: PlainObject, kind: str) -> PlainObject:
    return next((found for found in objects_at(one, "status", "conditions") if text_at(found, "type") == kind), {})


def _since_s(stamp: str, otherwise: datetime, now: datetime) -> float:
    """Seconds since an RFC 3339 time, or since `otherwise` where it is none."""
    return now.timestamp() - (parse_time(stamp) or otherwise).timestamp()


def parse_time(stamp: str) -> datetime | None:
    """An RFC 3339 time as the API writes it; None where it is none."""
    try:
        found = datetime.fromisoformat(stamp)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
