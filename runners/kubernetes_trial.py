"""One attempt at a trial in a cluster: its objects are made, followed until it serves, and removed by their owner."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

from runners.kubernetes_api import ApiRefused, KubernetesApi
from runners.kubernetes_paths import collection, path_of
from runners.kubernetes_watch import PodWatch
from tuner.domain.cluster import ClusterOptions
from tuner.domain.errors import CleanupFailed, TransientFailure, TunerError, UsageError
from tuner.interruption import heed
from tuner.manifests.cluster.classify import classify, server_pods
from tuner.manifests.cluster.comparison import dropped_fields
from tuner.manifests.cluster.naming import (
    CONTENT_ANNOTATION,
    MANAGED_BY,
    MANAGER,
    ROLE_LABEL,
    TrialId,
    selector_of,
    trial_labels,
)
from tuner.manifests.cluster.refusals import classify_refusal
from tuner.manifests.cluster.states import (
    Again,
    Exists,
    Expectation,
    Infeasible,
    Phase,
    Ready,
    Relist,
    ServerState,
    StudyError,
    Transient,
    Waiting,
    as_error,
)
from tuner.manifests.cluster.trial_objects import TrialObjects, owned_by
from tuner.manifests.plain import PlainObject, object_at, objects_at, text_at
from tuner.ports import Clock

LOOK_S = 1
LOG_LINES = 60
LOG_PATIENCE_S = 3.0
POLL_S = 0.25
LONGEST_POLL_S = 1.0
CLEAN = "see `servetune clean --runner kubernetes`"
Answer = TypeVar("Answer")
MADE: tuple[tuple[str, str], ...] = (
    ("v1", "Pod"),
    ("apps/v1", "Deployment"),
    ("batch/v1", "Job"),
    ("v1", "Service"),
    ("v1", "ConfigMap"),
)
"""What an owner's removal has to take away: these were made for the trial, whatever else the cluster makes of them."""
DISPENSABLE = ("spec.ttlSecondsAfterFinished",)
"""What a cluster may drop: 1.20 has it behind a gate, and the owner's removal takes the Jobs away anyway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialPlace:
    """Where the objects of a run of load belong: the owner by whose removal they go, the run's number (from 1, so that
    no two have the same names), and a port of the trial's own for the load's master.
    """

    trial: TrialId
    owner: PlainObject
    owner_uid: str
    expires_at: str
    run: int
    load_port: int


@contextmanager
def refusals_explained(what: str) -> Iterator[None]:
    """An answer of the cluster that is no success, as an error that the study's loop knows what to do with."""
    try:
        yield
    except ApiRefused as refused:
        raise refusal_as_error(refused, what) from refused


def refusal_as_error(refused: ApiRefused, what: str) -> TunerError:
    """Named by the reaction it asks for."""
    match classify_refusal(refused.status, refused.body, retry_after_s=refused.retry_after_s):
        case Infeasible() | Transient() | StudyError() as state:
            return as_error(replace(state, message=f"{what}: {state.message}"))
        case Again() | Relist():
            return TransientFailure(f"{what}: the cluster does not answer: {refused}")
        case Exists():
            return UsageError(f"{what}: {refused}", hint="somebody else's object has that name")


def make_owner(api: KubernetesApi, objects: TrialObjects) -> str:
    """The owner's uid. Raises ApiRefused."""
    return text_at(_made(api, objects.owner), "metadata", "uid")


def make_owned(api: KubernetesApi, objects: TrialObjects, uid: str) -> None:
    """What the owner owns, nothing of it twice. Raises ApiRefused, UsageError: the cluster is too old."""
    for manifest in objects.owned:
        kept = _made(api, owned_by(manifest, objects.owner, uid))
        lost = [one for one in dropped_fields(manifest, kept) if one not in DISPENSABLE]
        if lost:
            version = f"the {text_at(manifest, 'kind')}'s {', '.join(lost)}"
            raise UsageError(f"the cluster dropped {version}", hint="its API is older than these fields")


def _made(api: KubernetesApi, manifest: PlainObject) -> PlainObject:
    try:
        return api.create(manifest)
    except ApiRefused as refused:
        if not isinstance(classify_refusal(refused.status, refused.body), Exists):
            raise
        found = api.get(path_of(manifest))
        same = ("metadata", "annotations", CONTENT_ANNOTATION)
        if text_at(found, *same) != text_at(manifest, *same) or not _same_owner(found, manifest):
            raise
        return found


def _same_owner(found: PlainObject, manifest: PlainObject) -> bool:
    asked, there = (one["metadata"] for one in (manifest, found))
    if not isinstance(asked, dict) or not isinstance(there, dict):
        return False
    return "deletionTimestamp" not in there and there.get("ownerReferences") == asked.get("ownerReferences")


class TrialWatch:
    """A trial's server while it comes up, and while it serves."""

    def __init__(
        self, api: KubernetesApi, options: ClusterOptions, trial: TrialId, container: str, clock: Clock
    ) -> None:
        self._api, self._namespace = api, options.namespace
        self._clock = clock
        self._selector = selector_of(trial_labels(trial, "server"))
        self._pods = PodWatch(api, options.namespace, self._selector, clock)
        self._expected = Expectation(
            created_at=datetime.now(UTC),
            container=container,
            attempt=trial.attempt,
            autoscaled=options.autoscaled,
            deadlines=options.deadlines,
        )

    def await_ready(self) -> Ready:
        """Raises InfeasibleConfiguration, TransientFailure, UsageError by what the cluster says; ApiRefused.

        The phases' deadlines are told by the cluster's own times; on our clock all of them together are the limit, and
        one look more.
        """
        limit_s = self._expected.deadlines
        together_s = limit_s.schedule_s + limit_s.pull_s + limit_s.prepare_s + limit_s.load_s
        ends_s = self._clock.now_s() + together_s
        while True:
            heed()
            state = self.state(wait_s=LOOK_S)
            match state:
                case Ready():
                    return state
                case Waiting(phase=phase, detail=detail) if self._clock.now_s() > ends_s:
                    raise TransientFailure(f"after {together_s:g} s it still waits: {phase} {detail}".strip())
                case Waiting():
                    continue
                case Infeasible() | Transient() | StudyError():
                    raise as_error(state)

    def state(self, *, wait_s: int) -> ServerState:
        """What the cluster says now, or after a change. Raises ApiRefused."""
        pods = self._pods.look(wait_s=wait_s)
        deployments = self._api.list(
            collection("apps/v1", "Deployment", self._namespace), selector=self._selector
        ).items
        objects = (*pods, *deployments)
        state = self._classified(objects)
        if isinstance(state, Waiting) and state.phase is Phase.SCHEDULE and state.detail:
            objects = (*objects, *self._nodes())
            state = self._classified(objects)
        final = isinstance(state, Infeasible)
        if final or (isinstance(state, Waiting) and state.phase is Phase.LOAD):
            tail = self.log_tail(patience_s=LOG_PATIENCE_S if final else 0.0)
            self._expected = replace(self._expected, log_tail=tail or self._expected.log_tail)
            state = self._classified(objects)
        return state if isinstance(state, Ready | Waiting) else self._classified(objects, self._events())

    def objects(self) -> tuple[PlainObject, ...]:
        """The pods as they are now. Raises ApiRefused."""
        return self._api.list(collection("v1", "Pod", self._namespace), selector=self._selector).items

    def judged(self, objects: tuple[PlainObject, ...]) -> ServerState:
        """What these objects say."""
        return self._classified(objects)

    def log_tail(self, *, patience_s: float = 0.0) -> str:
        """The server's last lines, of its container before this one where it was started again. Empty: none."""
        for pod in server_pods(self._pods.pods):
            for previous in (True, False):
                try:
                    return self._api.log(
                        self._namespace,
                        text_at(pod, "metadata", "name"),
                        container=self._expected.container,
                        lines=LOG_LINES,
                        previous=previous,
                        patience_s=patience_s,
                    )
                except ApiRefused:
                    continue
        return ""

    def _classified(self, objects: tuple[PlainObject, ...], events: tuple[PlainObject, ...] = ()) -> ServerState:
        return classify(objects, events, datetime.now(UTC), self._expected)

    def _nodes(self) -> tuple[PlainObject, ...]:
        """None where this identity may not see them: then nothing is concluded from them."""
        try:
            return self._api.list(collection("v1", "Node", "")).items
        except ApiRefused as refused:
            if refused.status == 403:
                return ()
            raise

    def _events(self) -> tuple[PlainObject, ...]:
        """They only add words: a state stands without them."""
        path = collection("v1", "Event", self._namespace)
        found: tuple[PlainObject, ...] = ()
        for pod in self._pods.pods:
            try:
                fields = f"involvedObject.name={text_at(pod, 'metadata', 'name')}"
                found += self._api.list(path, fields=fields, patience_s=0).items
            except ApiRefused:
                return found
        return found


def remove(
    api: KubernetesApi,
    namespace: str,
    trial: TrialId,
    owner: PlainObject,
    clock: Clock,
    *,
    within_s: float,
    uid: str = "",
) -> None:
    """Delete the owner, and wait until everything of the trial is gone. Raises CleanupFailed.

    With its uid, another owner of that name and all it owns are left alone: a later coordinator's.

    Each of the two may take `within_s`: before the cluster has taken the order, nothing can go. An API that does not
    answer is asked again until then. Pods on a node that does not answer either are left behind, marked for removal:
    the cluster drops them with the node, or when it is back.
    """
    labels = {key: value for key, value in trial_labels(trial, "owner").items() if key != ROLE_LABEL}
    selector = selector_of(labels)
    what = f"of trial {trial.trial} of study {trial.study}, in namespace {namespace}"
    _insist(lambda: api.delete(path_of(owner), uid=uid), f"everything {what}", clock, within_s)
    begun_s, pause_s, kinds = clock.now_s(), POLL_S, MADE
    while True:
        look = partial(remains_of, api, namespace, selector, kinds)
        remains = _insist(look, f"perhaps something {what}", clock, within_s)
        if not remains and kinds == MADE:
            return
        if uid and _insist(partial(_replaced, api, owner, uid), f"perhaps something {what}", clock, within_s):
            return
        if remains and clock.now_s() - begun_s > within_s:
            if _all_on_lost_nodes(api, namespace, selector, remains):
                return
            raise CleanupFailed(f"still there after {within_s:g} s: {', '.join(remains)} {what}", hint=CLEAN)
        # What is gone stays gone: only the rest is looked for, and then everything once more.
        kinds = tuple(one for one in MADE if any(found.startswith(f"{one[1]} ") for found in remains)) or MADE
        if remains:
            clock.sleep(pause_s)
            pause_s = min(1.5 * pause_s, LONGEST_POLL_S)


def _insist(ask: Callable[[], Answer], what: str, clock: Clock, within_s: float) -> Answer:
    """The cluster's answer, once there is one. Raises CleanupFailed after `within_s`, or for a refusal that stays."""
    begun_s = clock.now_s()
    while True:
        try:
            return ask()
        except ApiRefused as refused:
            passing = isinstance(classify_refusal(refused.status, refused.body), Again | Relist)
            if not passing or clock.now_s() - begun_s > within_s:
                raise CleanupFailed(f"left behind: {what}: {refused}", hint=CLEAN) from refused
            clock.sleep(LONGEST_POLL_S)


def _replaced(api: KubernetesApi, owner: PlainObject, uid: str) -> bool:
    """Whether an owner of that name is there that is not this one. Raises ApiRefused."""
    found = api.find(path_of(owner))
    return found is not None and text_at(found, "metadata", "uid") != uid


def _all_on_lost_nodes(api: KubernetesApi, namespace: str, selector: str, remains: list[str]) -> bool:
    """False where this identity may not see nodes."""
    try:
        pods = api.list(collection("v1", "Pod", namespace), selector=selector).items
        nodes = api.list(collection("v1", "Node", "")).items
    except ApiRefused:
        return False
    answering = {text_at(node, "metadata", "name") for node in nodes if _answers(node)}
    marked = all("deletionTimestamp" in object_at(pod, "metadata") for pod in pods)
    return len(pods) == len(remains) and marked and all(text_at(p, "spec", "nodeName") not in answering for p in pods)


def _answers(node: PlainObject) -> bool:
    conditions = objects_at(node, "status", "conditions")
    return any(text_at(one, "type") == "Ready" and text_at(one, "status") == "True" for one in conditions)


def remains_of(
    api: KubernetesApi, namespace: str, selector: str, kinds: tuple[tuple[str, str], ...] = MADE
) -> list[str]:
    """Names of what is still there by label, of these kinds. Raises ApiRefused."""
    if f"{MANAGED_BY}={MANAGER}" not in selector:
        raise ValueError("only what servetune made is looked at")
    return [
        f"{kind} {text_at(one, 'metadata', 'name')}"
        for api_version, kind in kinds
        for one in api.list(collection(api_version, kind, namespace), selector=selector).items
    ]
