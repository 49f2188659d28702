"""Load from inside the cluster: for each run a master and its workers as Jobs of the trial, and their result whole."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from runners.kubernetes_api import ApiRefused, KubernetesApi
from runners.kubernetes_paths import collection, path_of
from runners.kubernetes_result import MOST_RESULT_BYTES, last_words, result_in
from runners.kubernetes_trial import TrialPlace, make_owned, refusals_explained
from runners.kubernetes_watch import PodWatch
from tuner.domain.cluster import ClusterOptions
from tuner.domain.deployment import Deployment
from tuner.domain.errors import TransientFailure, UsageError
from tuner.domain.load import LoadProfile, LoadRun
from tuner.interruption import heed, undisturbed
from tuner.manifests.cluster.load_jobs import LoadWork, load_commands, load_objects
from tuner.manifests.cluster.load_state import classify_load
from tuner.manifests.cluster.naming import ROLE_LABEL, RUN_LABEL, selector_of, trial_labels
from tuner.manifests.cluster.refusals import classify_refusal
from tuner.manifests.cluster.states import (
    Again,
    Expectation,
    LoadEnded,
    LoadRuns,
    LoadState,
    Relist,
    StudyError,
    Transient,
    as_error,
)
from tuner.manifests.cluster.trial_objects import TrialObjects
from tuner.manifests.plain import PlainObject, text_at
from tuner.ports import Clock

LOOK_S = 1
START_UP_S = 120.0
OVERDUE_S = 60.0
LOG_PATIENCE_S = 20.0
LOG_PAUSE_S = 0.5
SECRET_BYTES = 32

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedLoad:
    """One run as text for the master, the files it names, how long it lasts at most, and how large its result can be.

    `target` is the HOST:PORT that the requests go to.
    """

    text: str
    target: str
    lasts_s: float
    result_bytes: int
    files: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadEngine:
    """What has to be known here of the load engine; the assembly gives it, since both are adapters.

    `plan` Raises UsageError for what cannot be sent, `result` TransientFailure for bytes that are not the profile's;
    `secret_variable` is where master and workers look for their shared secret.
    """

    plan: Callable[[Deployment, LoadProfile], PlannedLoad]
    result: Callable[[bytes, LoadProfile], LoadRun]
    secret_variable: str


class ClusterLoadGenerator:
    """`LoadGenerator` whose requests leave from pods of the trial; see `tuner.ports.LoadGenerator`.

    `place` says where the next run's objects belong: they go with the deployment's owner, whatever happens here.
    """

    def __init__(
        self,
        *,
        api: KubernetesApi,
        options: ClusterOptions,
        engine: LoadEngine,
        place: Callable[[str], TrialPlace],
        clock: Clock,
    ) -> None:
        self._api, self._options, self._engine = api, options, engine
        self._place, self._clock = place, clock

    def drive(self, deployment: Deployment, profile: LoadProfile) -> LoadRun:
        """Complete before return, the run's Jobs gone.

        Raises TransientFailure if a pod of the load was lost or its result is not whole: the measurement is void and
        the server not to blame; UsageError if no load of this study can be sent, or it did not end in time.
        """
        planned = self._engine.plan(deployment, profile)
        refuse_unprintable(planned.result_bytes)
        place = self._place(deployment.deployment_id)
        work = self._work(place, planned)
        jobs = load_objects(self._options, work)
        with refusals_explained(f"the load of trial {place.trial.trial}"):
            try:
                make_owned(self._api, TrialObjects(owner=place.owner, owned=jobs), place.owner_uid)
                watch = _LoadWatch(self._api, self._options.namespace, work, self._clock)
                watch.await_end()
                packed = watch.result()
            finally:
                with undisturbed():
                    self._remove(jobs)
        return self._engine.result(packed, profile)

    def _work(self, place: TrialPlace, planned: PlannedLoad) -> LoadWork:
        deadlines = self._options.deadlines
        # Either may be scheduled and pulled while the other already waits.
        wait_s = deadlines.schedule_s + deadlines.pull_s
        master, worker = load_commands(
            self._options, place.trial, run=place.run, target=planned.target, wait_s=wait_s, port=place.load_port
        )
        # Known to this run alone. Who may read the namespace's pods can read it: it keeps out what else is on the
        # network, which could otherwise send load through our workers or forge their results.
        secret = secrets.token_hex(SECRET_BYTES)
        return LoadWork(
            trial=place.trial,
            run=place.run,
            master=master,
            worker=worker,
            plan=planned.text,
            files=planned.files,
            deadline_s=wait_s + START_UP_S + planned.lasts_s,
            expires_at=place.expires_at,
            port=place.load_port,
            environment=((self._engine.secret_variable, secret),),
        )

    def _remove(self, objects: tuple[PlainObject, ...]) -> None:
        """The Jobs with their pods. What an API that is away leaves goes with the trial's owner, and is waited for."""
        for one in objects:
            if text_at(one, "kind") == "Job":
                try:
                    self._api.delete(path_of(one))
                except ApiRefused as refused:
                    logger.warning(
                        "the Job %s is left to its trial's end: %s", text_at(one, "metadata", "name"), refused
                    )


def refuse_unprintable(result_bytes: int) -> None:
    """Raises UsageError for a run whose result would not fit into a pod's log."""
    if result_bytes > MOST_RESULT_BYTES:
        raise UsageError(
            f"the result of one run of load would have {result_bytes} bytes; at most {MOST_RESULT_BYTES} fit",
            hint="lower load.target_rps or the windows of load and confirm: at most about 411,000 requests",
        )


class _LoadWatch:
    """One run's pods and Jobs, until they ended."""

    def __init__(self, api: KubernetesApi, namespace: str, work: LoadWork, clock: Clock) -> None:
        self._api, self._namespace, self._work, self._clock = api, namespace, work, clock
        labels = {key: value for key, value in trial_labels(work.trial, "load").items() if key != ROLE_LABEL}
        self._selector = selector_of(labels | {RUN_LABEL: str(work.run)})
        self._pods = PodWatch(api, namespace, self._selector, clock)
        self._seen: dict[str, PlainObject] = {}
        self._expected = Expectation(created_at=datetime.now(UTC))

    def await_end(self) -> None:
        """Raises TransientFailure, UsageError by what the cluster says, or at last by our own clock; ApiRefused.

        The load does not need the API: while that is away, the run goes on, and so does the waiting.
        """
        until_s = self._clock.now_s() + self._work.deadline_s + OVERDUE_S
        while self._clock.now_s() < until_s:
            heed()
            try:
                state = self._state()
            except ApiRefused as refused:
                if not isinstance(classify_refusal(refused.status, refused.body), Again | Relist):
                    raise
                logger.warning("the load goes on unseen: %s", refused)
                continue
            match state:
                case LoadEnded():
                    return
                case LoadRuns():
                    continue
                case Transient() | StudyError():
                    raise as_error(self._in_their_words(state))
        raise TransientFailure(f"load_timeout: the cluster did not end the load {OVERDUE_S:g} s after its deadline")

    def _state(self) -> LoadState:
        pods = self._pods.look(wait_s=LOOK_S)
        jobs = self._api.list(collection("batch/v1", "Job", self._namespace), selector=self._selector).items
        state = classify_load((*pods, *jobs), self._expected, run=self._work.run, before=tuple(self._seen.values()))
        self._seen |= {text_at(pod, "metadata", "uid"): pod for pod in pods}
        return state

    def _in_their_words(self, state: Transient | StudyError) -> Transient | StudyError:
        """With the last words of the pods that failed, the master's first."""
        failed = [pod for pod in self._seen.values() if text_at(pod, "status", "phase") == "Failed"]
        words = [state.message]
        for pod in sorted(failed, key=lambda one: text_at(one, "metadata", "labels", ROLE_LABEL)):
            with suppress(ApiRefused):
                words.append(last_words(self._log(pod)))
        message = "\n".join(word for word in dict.fromkeys(words) if word)
        return (
            Transient(state.reason, message, state.node)
            if isinstance(state, Transient)
            else StudyError(state.reason, message)
        )

    def result(self) -> bytes:
        """Of a run that ended. Raises TransientFailure if it does not come whole within LOG_PATIENCE_S, ApiRefused."""
        masters = [
            pod for pod in self._seen.values() if text_at(pod, "metadata", "labels", ROLE_LABEL) == "load-master"
        ]
        if len(masters) != 1:
            raise TransientFailure(f"{len(masters)} masters of one run of load were seen")
        until_s = self._clock.now_s() + LOG_PATIENCE_S
        while True:
            try:
                return result_in(self._log(masters[0]))
            except (TransientFailure, ApiRefused):
                if self._clock.now_s() >= until_s:
                    raise
            self._clock.sleep(LOG_PAUSE_S)

    def _log(self, pod: PlainObject) -> str:
        role = text_at(pod, "metadata", "labels", ROLE_LABEL)
        return self._api.log(self._namespace, text_at(pod, "metadata", "name"), container=role)
