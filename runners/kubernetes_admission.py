"""Room in a cluster: a look at nodes, pods and quotas before each trial; `tuner.manifests.cluster.admission` judges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from runners.kubernetes_api import ApiRefused, KubernetesApi
from runners.kubernetes_paths import collection
from runners.kubernetes_runner import server_port
from runners.kubernetes_trial import refusals_explained
from tuner.domain.admission import Admitted, Room
from tuner.domain.cluster import ClusterOptions
from tuner.domain.errors import UsageError
from tuner.domain.space import Configuration
from tuner.domain.spec import StudySpec
from tuner.manifests.cluster.admission import ClusterSeen, admit, is_over
from tuner.manifests.cluster.naming import ATTEMPT_LABEL, ROLE_LABEL, Role, TrialId, trial_labels
from tuner.manifests.cluster.placement import NodeLabel, Placement, with_placement
from tuner.manifests.cluster.quantities import cpu_quantity, memory_quantity
from tuner.manifests.cluster.scheduling import Fit, fit
from tuner.manifests.cluster.server_pod import server_template
from tuner.manifests.cluster.trial import served_trial
from tuner.manifests.plain import PlainObject, object_at, text_at


class KubernetesAdmission:
    """Implements `tuner.ports.Admission` for the trials of one study.

    Where the nodes may not be looked at, only quotas hold a trial back, and where pods of other namespaces may not be,
    those of this one stand for all.
    """

    def __init__(self, api: KubernetesApi, spec: StudySpec, options: ClusterOptions) -> None:
        self._api, self._spec, self._options = api, spec, options

    def room(self, number: int, configuration: Configuration, beside: Sequence[tuple[int, Configuration]]) -> Room:
        """Raises UsageError where no node has the labels that are asked for, TransientFailure."""
        wanted = tuple(self._pods(number, configuration))
        with refusals_explained("the look for room"):
            seen = self._look()
        if not seen.nodes and not seen.quotas:
            return Admitted()
        if not seen.autoscaled:
            _refuse_for_all(wanted, seen, configuration)
        unseen = [pod for other, settings in beside for pod in self._still_to_come(other, settings, seen)]
        return admit(seen, wanted, unseen)

    def _look(self) -> ClusterSeen:
        namespace = self._options.namespace
        return ClusterSeen(
            nodes=self._allowed("v1", "Node", "") or (),
            pods=self._first_allowed("Pod", "", namespace),
            quotas=self._allowed("v1", "ResourceQuota", namespace) or (),
            namespace=namespace,
            autoscaled=self._options.autoscaled,
        )

    def _first_allowed(self, kind: str, *namespaces: str) -> tuple[PlainObject, ...]:
        found = (self._allowed("v1", kind, namespace) for namespace in namespaces)
        return next((items for items in found if items is not None), ())

    def _allowed(self, api_version: str, kind: str, namespace: str) -> tuple[PlainObject, ...] | None:
        """None where this may not be looked at."""
        try:
            return self._api.list(collection(api_version, kind, namespace)).items
        except ApiRefused as refused:
            if refused.status == 403:
                return None
            raise

    def _still_to_come(self, number: int, configuration: Configuration, seen: ClusterSeen) -> Iterator[PlainObject]:
        """Pods of a running trial that are not there, or are over: those of the load come again with each level."""
        mine = trial_labels(TrialId(study=self._spec.name, trial=number), "server")
        shared = {key: mine[key] for key in mine if key not in {ROLE_LABEL, ATTEMPT_LABEL}}
        there = [
            text_at(pod, "metadata", "labels", ROLE_LABEL)
            for pod in seen.pods
            if not is_over(pod) and shared.items() <= dict(object_at(pod, "metadata", "labels")).items()
        ]
        for pod in self._pods(number, configuration):
            role = text_at(pod, "metadata", "labels", ROLE_LABEL)
            if role in there:
                there.remove(role)
            else:
                yield pod

    def _pods(self, number: int, configuration: Configuration) -> Iterator[PlainObject]:
        """As the runner and the load will make them, as far as a scheduler looks at them."""
        port = server_port(self._options, number)
        trial = served_trial(self._spec, configuration, trial=number, expires_at="", http_port=port)
        yield self._named(trial.id, "server", server_template(self._options, trial))
        if self._options.load.sent_from == "pods":
            yield self._named(trial.id, "load-master", {"spec": _load_pod(self._options)})
            for _ in range(self._options.load.workers):
                yield self._named(trial.id, "load-worker", {"spec": _load_pod(self._options)})

    def _named(self, trial: TrialId, role: Role, pod: PlainObject) -> PlainObject:
        metadata = object_at(pod, "metadata")
        labels = {**object_at(metadata, "labels"), **trial_labels(trial, role)}
        return {**pod, "metadata": {**metadata, "namespace": self._options.namespace, "labels": labels}}


def _refuse_for_all(wanted: Sequence[PlainObject], seen: ClusterSeen, configuration: Configuration) -> None:
    """Raises UsageError for what is wrong with the study, whatever the configuration."""
    hint = "no configuration of the study can work before this is mended"
    for pod in wanted:
        fits = fit(pod, seen.nodes)
        role = text_at(pod, "metadata", "labels", ROLE_LABEL)
        if fits is Fit.NO_SUCH_NODE:
            what = f"that {configuration} asks for" if role == "server" else "that the load asks for"
            raise UsageError(f"no_such_node: no node has the labels {what}", hint=hint)
        if fits is Fit.TOO_LARGE and role != "server":
            raise UsageError("no node is large enough for a pod of the load", hint=hint)


def _load_pod(options: ClusterOptions) -> PlainObject:
    load = options.load
    requests = {"cpu": cpu_quantity(load.cpu_cores), "memory": memory_quantity(load.memory_gib)}
    labels = tuple(NodeLabel(key, (value,)) for key, value in load.node_labels)
    return with_placement({"containers": [{"resources": {"requests": requests}}]}, Placement(labels=labels))


def refuse_auto(api: KubernetesApi, options: ClusterOptions) -> None:
    """Raises UsageError where nothing says how many trials fit; TransientFailure."""
    if options.autoscaled:
        raise UsageError(
            "parallel_trials: auto would make an autoscaled cluster grow", hint="write how many trials may run at once"
        )
    if options.sharing.scheme.startswith("dra"):
        raise UsageError(
            "parallel_trials: auto cannot count the devices of DRA", hint="write how many trials may run at once"
        )
    with refusals_explained(f"the cluster at {api.host}"):
        missing = [
            kind for kind in ("nodes", "pods") if not api.may(namespace="", group="", resource=kind, verb="list")
        ]
    if missing:
        raise UsageError(
            f"parallel_trials: auto needs to list {' and '.join(missing)} of the whole cluster, and may not",
            hint="allow it (ClusterRole), or write how many trials may run at once",
        )
