"""The runner `kubernetes`: the candidate server as a Deployment, removed with everything else by its one owner."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count

from runners.kubernetes_api import ApiRefused, KubernetesApi
from runners.kubernetes_forward import LOOPBACK, LocalForward
from runners.kubernetes_lease import ClusterLease
from runners.kubernetes_paths import path_of
from runners.kubernetes_trial import TrialPlace, TrialWatch, make_owned, make_owner, refusals_explained, remove
from runners.triton_http import TritonHttp
from tuner.domain.cluster import ClusterOptions
from tuner.domain.deployment import Deployment, Telemetry
from tuner.domain.errors import InfeasibleConfiguration, TransientFailure, UsageError
from tuner.domain.space import Configuration
from tuner.domain.spec import StudySpec
from tuner.interruption import undisturbed
from tuner.manifests.cluster.classify import spoiled
from tuner.manifests.cluster.load_jobs import MASTER_PORT
from tuner.manifests.cluster.server_pod import http_port
from tuner.manifests.cluster.states import Infeasible, Ready, as_error
from tuner.manifests.cluster.trial import SERVER, ServedTrial, served_trial
from tuner.manifests.cluster.trial_objects import TrialObjects, trial_objects
from tuner.ports import Clock

MEASURED_FOR_S = 3600.0
POD_NETWORK_PORT = 8000
HOST_PORTS = range(20_000, 30_000, 4)
"""On the host's network: four ports a trial (the server's HTTP, gRPC and metrics, the load master's), below those that
Linux gives away by itself.
"""
PORTS_OF_SERVER = 3
_DEPLOYMENT = re.compile(r"(?:.*-)?(\d+)-(\d+)")


def server_port(options: ClusterOptions, trial: int, attempt: int = 1) -> int:
    """The first of the trial's ports. On the host's network no two trials of a study have one in common that are less
    than three hundred numbers apart.
    """
    return HOST_PORTS[(7 * trial + attempt) % len(HOST_PORTS)] if options.network == "host" else POD_NETWORK_PORT


@dataclass(frozen=True, slots=True, kw_only=True)
class _Running:
    watch: TrialWatch
    ready: Ready
    http: TritonHttp
    places: Iterator[TrialPlace]
    attempt: int


class KubernetesRunner:
    """Deploys into one namespace of one cluster; see `tuner.ports.Runner`. Several threads may use it at once.

    `lease` is asked before anything is written; None: nobody else tunes in that namespace. Under it, a trial of the
    same study and number that is there already is an earlier coordinator's, and nobody's any more: it is removed.
    `config_pbtxt` renders a configuration; empty text: the model's own stands.
    """

    def __init__(
        self,
        *,
        api: KubernetesApi,
        spec: StudySpec,
        options: ClusterOptions,
        config_pbtxt: Callable[[Configuration], str],
        clock: Clock,
        lease: ClusterLease | None = None,
    ) -> None:
        self._lease = lease
        self._api, self._spec, self._options = api, spec, options
        self._config_pbtxt = config_pbtxt
        self._clock = clock
        self._running: dict[str, _Running] = {}

    @contextmanager
    def deploy(self, configuration: Configuration, *, deployment_id: str) -> Iterator[Deployment]:
        """Ready on entry; on exit the owner is deleted and its pods are gone.

        Raises InfeasibleConfiguration, TransientFailure, UsageError (no configuration of the study can work here),
        CleanupFailed; InfrastructureError where the study's lease is lost.
        """
        self._confirm()
        trial = self._trial(configuration, deployment_id)
        objects = trial_objects(self._options, trial)
        container = self._options.base.container if self._options.base else SERVER
        begun_s = self._clock.now_s()
        with refusals_explained(f"trial {trial.id.trial}"):
            self._clear(trial, objects)
            self._confirm()
            uid = self._claim(trial, objects)
        try:
            with refusals_explained(f"trial {trial.id.trial}"):
                make_owned(self._api, objects, uid)
                watch = TrialWatch(self._api, self._options, trial.id, container, self._clock)
                ready = watch.await_ready()
            with self._reached(ready, http_port(self._options, trial)) as http:
                places = map(partial(self._place, trial, objects, uid), count(1))
                self._running[deployment_id] = _Running(
                    watch=watch, ready=ready, http=http, places=places, attempt=trial.id.attempt
                )
                yield self._deployment(deployment_id, trial, ready, http, self._clock.now_s() - begun_s)
        finally:
            with undisturbed():
                self._running.pop(deployment_id, None)
                # By its uid: after a lease was lost, there may be another's trial of that name.
                self._remove(trial, objects, uid)

    def telemetry(self, deployment: Deployment) -> Telemetry:
        """The server's statistics, as far as it can be reached from here, and whether it still is the same server.

        Raises InfeasibleConfiguration if it ran out of memory while serving, TransientFailure if it is another one
        now, or does not answer.
        """
        running = self._found(deployment.deployment_id)
        with refusals_explained(f"deployment {deployment.deployment_id}"):
            pods = running.watch.objects()
        lost = spoiled(running.ready, pods)
        state = running.watch.judged(pods)
        # Once is an accident, twice is what this configuration does under load.
        if lost and isinstance(state, Infeasible) and (state.reason == "out_of_memory" or running.attempt > 1):
            raise InfeasibleConfiguration(f"while serving: {as_error(state).message}")
        if lost:
            raise TransientFailure(lost)
        seen = running.http.statistics(deployment.model_name)
        return Telemetry(
            inference_count=seen.inference_count,
            execution_count=seen.execution_count,
            queue_s=seen.queue_s,
            compute_s=seen.compute_s,
            batches=seen.batches,
            restarts=running.ready.restarts,
            at_s=time.monotonic(),
        )

    def place_for_load(self, deployment_id: str) -> TrialPlace:
        """Where the next run of load on a deployment belongs. Raises TransientFailure if that is not running."""
        return next(self._found(deployment_id).places)

    def _found(self, deployment_id: str) -> _Running:
        running = self._running.get(deployment_id)
        if running is None:
            raise TransientFailure(f"deployment {deployment_id} is not running")
        return running

    def _place(self, trial: ServedTrial, objects: TrialObjects, uid: str, run: int) -> TrialPlace:
        on_host = self._options.network == "host"
        server = server_port(self._options, trial.id.trial, trial.id.attempt)
        return TrialPlace(
            trial=trial.id,
            owner=objects.owner,
            owner_uid=uid,
            expires_at=trial.expires_at,
            run=run,
            load_port=server + PORTS_OF_SERVER if on_host else MASTER_PORT,
        )

    def _trial(self, configuration: Configuration, deployment_id: str) -> ServedTrial:
        named = _DEPLOYMENT.fullmatch(deployment_id)
        if named is None:
            raise UsageError(f"the deployment's name {deployment_id!r} does not end in -TRIAL-ATTEMPT")
        # The study counts attempts from 0, the cluster's names from 1.
        trial, attempt = int(named[1]), int(named[2]) + 1
        deadlines = self._options.deadlines
        lasts_s = deadlines.schedule_s + deadlines.pull_s + deadlines.prepare_s + deadlines.load_s + MEASURED_FOR_S
        expiry = datetime.now(UTC) + timedelta(seconds=lasts_s + deadlines.teardown_s)
        return served_trial(
            self._spec,
            configuration,
            trial=trial,
            attempt=attempt,
            expires_at=expiry.strftime("%Y-%m-%dT%H:%M:%SZ"),
            config_pbtxt=self._config_pbtxt(configuration),
            coordinator=self._lease.coordinator if self._lease else None,
            http_port=server_port(self._options, trial, attempt),
        )

    def _confirm(self) -> None:
        """Raises InfrastructureError, TransientFailure."""
        if self._lease is not None:
            self._lease.confirm()

    def _clear(self, trial: ServedTrial, objects: TrialObjects) -> None:
        """What an earlier attempt of the same name left goes first. Raises ApiRefused, CleanupFailed."""
        if self._api.find(path_of(objects.owner)) is not None:
            self._remove(trial, objects)

    def _claim(self, trial: ServedTrial, objects: TrialObjects) -> str:
        """The uid of the new owner. Raises ApiRefused: after a refusal nothing is there, after silence nobody knows."""
        try:
            return make_owner(self._api, objects)
        except ApiRefused as refused:
            if refused.unanswered:
                self._remove(trial, objects)
            raise
        except BaseException:
            # Stopped by a signal while nobody knows whether it was made.
            with undisturbed():
                self._remove(trial, objects)
            raise

    def _remove(self, trial: ServedTrial, objects: TrialObjects, uid: str = "") -> None:
        namespace, within_s = self._options.namespace, self._options.deadlines.teardown_s
        remove(self._api, namespace, trial.id, objects.owner, self._clock, within_s=within_s, uid=uid)

    @contextmanager
    def _reached(self, ready: Ready, port: int) -> Iterator[TritonHttp]:
        """The server as it is reached from here."""
        if self._options.load.sent_from == "port_forward":
            with LocalForward(partial(self._api.connect, self._options.namespace, ready.pod, port)) as forward:
                yield TritonHttp(LOOPBACK, forward.port)
        else:
            yield TritonHttp(self._options.host_address if self._options.network == "host" else ready.address, port)

    def _deployment(
        self, deployment_id: str, trial: ServedTrial, ready: Ready, http: TritonHttp, ready_after_s: float
    ) -> Deployment:
        inputs, batched = http.inputs(trial.model.name)
        return Deployment(
            deployment_id=deployment_id,
            endpoint=f"http://{f'[{http.host}]' if ':' in http.host else http.host}:{http.port}",
            model_name=trial.model.name,
            inputs=inputs,
            batched=batched,
            configuration=trial.configuration,
            # The server has none of this machine's: they are all the generator's.
            generator_cpus=tuple(sorted(os.sched_getaffinity(0))),
            ready_after_s=ready_after_s,
            facts=(
                ("cluster", self._api.identity),
                ("context", self._api.context),
                ("namespace", self._options.namespace),
                ("pod", ready.pod),
                ("node", ready.node),
                ("image", ready.image_id),
            ),
        )
