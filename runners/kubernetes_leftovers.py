"""What crashed studies left in a namespace, found by label: only what is past its expiry, for nobody uses that."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from runners.kubernetes_api import KubernetesApi
from runners.kubernetes_paths import collection
from runners.kubernetes_trial import refusals_explained, remains_of, remove
from tuner.manifests.cluster.naming import (
    ATTEMPT_LABEL,
    EXPIRY_ANNOTATION,
    MANAGED_BY,
    MANAGER,
    ROLE_LABEL,
    STUDY_ANNOTATION,
    TRIAL_LABEL,
    TrialId,
    selector_of,
    trial_labels,
)
from tuner.manifests.plain import PlainObject, text_at
from tuner.ports import Clock

OWNERS = f"{MANAGED_BY}={MANAGER},{ROLE_LABEL}=owner"
TEARDOWN_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterLeftover:
    """One trial's owner, whose time is over, and what still is there of the trial."""

    namespace: str
    trial: TrialId
    owner: PlainObject
    remains: tuple[str, ...]

    def __str__(self) -> str:
        where = f"of study {self.trial.study} in namespace {self.namespace}"
        return f"trial {self.trial.trial} attempt {self.trial.attempt} {where}: {', '.join(self.remains)}"


def cluster_leftovers(api: KubernetesApi, namespace: str) -> tuple[ClusterLeftover, ...]:
    """Trials past their expiry. Raises UsageError where this may not be looked at, TransientFailure."""
    with refusals_explained(f"namespace {namespace}"):
        owners = api.list(collection("v1", "ConfigMap", namespace), selector=OWNERS).items
        return tuple(_leftover(api, namespace, owner) for owner in owners if _expired(owner))


def remove_cluster_leftovers(api: KubernetesApi, namespace: str, clock: Clock) -> tuple[ClusterLeftover, ...]:
    """Remove all of them, and say what they were. Raises CleanupFailed, UsageError, TransientFailure."""
    found = cluster_leftovers(api, namespace)
    for one in found:
        remove(api, namespace, one.trial, one.owner, clock, within_s=TEARDOWN_S)
    return found


def _expired(owner: PlainObject) -> bool:
    """An expiry that nobody can read is none: such an object is left alone."""
    try:
        until = datetime.fromisoformat(text_at(owner, "metadata", "annotations", EXPIRY_ANNOTATION))
    except ValueError:
        return False
    return until.tzinfo is not None and until < datetime.now(UTC)


def _leftover(api: KubernetesApi, namespace: str, owner: PlainObject) -> ClusterLeftover:
    trial = TrialId(
        study=text_at(owner, "metadata", "annotations", STUDY_ANNOTATION),
        trial=int(text_at(owner, "metadata", "labels", TRIAL_LABEL)),
        attempt=int(text_at(owner, "metadata", "labels", ATTEMPT_LABEL)),
    )
    labels = {key: value for key, value in trial_labels(trial, "owner").items() if key != ROLE_LABEL}
    remains = remains_of(api, namespace, selector_of(labels))
    return ClusterLeftover(namespace=namespace, trial=trial, owner=owner, remains=tuple(remains))
