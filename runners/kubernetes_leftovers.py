"""What crashed studies left in a namespace: trials and leases that belong to no living coordinator.

A trial bears the name of who made it. It is left over once the study's lease is gone, over or another's; what a
running study owns is never touched, whatever its expiry. Trials that somebody applied by hand bear no name: those only
count as left over past their expiry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from runners.kubernetes_api import KubernetesApi
from runners.kubernetes_lease import ClusterLease, coordinator_of, holding, lease_is_over
from runners.kubernetes_paths import collection
from runners.kubernetes_trial import refusals_explained, remains_of, remove
from tuner.coordination import LEASE_S, HeldByAnother, told_nobody
from tuner.manifests.cluster.naming import (
    ATTEMPT_LABEL,
    EXPIRY_ANNOTATION,
    HOLDER_ANNOTATION,
    MANAGED_BY,
    MANAGER,
    ROLE_LABEL,
    STUDY_ANNOTATION,
    TOKEN_ANNOTATION,
    TRIAL_LABEL,
    Coordinator,
    TrialId,
    selector_of,
    study_labels,
    trial_labels,
)
from tuner.manifests.plain import PlainObject, text_at
from tuner.ports import Clock

OURS = f"{MANAGED_BY}={MANAGER}"
OWNERS = f"{OURS},{ROLE_LABEL}=owner"
TEARDOWN_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialLeft:
    """One trial's owner, which nobody uses any more, and what still is there of the trial."""

    namespace: str
    trial: TrialId
    owner: PlainObject
    remains: tuple[str, ...]

    def __str__(self) -> str:
        where = f"of study {self.trial.study} in namespace {self.namespace}"
        return f"trial {self.trial.trial} attempt {self.trial.attempt} {where}: {', '.join(self.remains)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseLeft:
    """The lease of a coordinator that is gone."""

    namespace: str
    study: str
    lease: PlainObject

    def __str__(self) -> str:
        who, since = (text_at(self.lease, "spec", key) for key in ("holderIdentity", "renewTime"))
        return f"lease of study {self.study} in namespace {self.namespace}: {who} renewed it last at {since}"


ClusterLeftover = TrialLeft | LeaseLeft


def cluster_leftovers(api: KubernetesApi, namespace: str) -> tuple[ClusterLeftover, ...]:
    """By this machine's clock. Raises UsageError where this may not be looked at, TransientFailure."""
    now = datetime.now(UTC)
    with refusals_explained(f"namespace {namespace}"):
        # In this order: whoever made an owner had the lease before.
        owners = api.list(collection("v1", "ConfigMap", namespace), selector=OWNERS).items
        leases = api.list(collection("coordination.k8s.io/v1", "Lease", namespace), selector=OURS).items
        over = [one for one in leases if lease_is_over(one, now)]
        live = {_study(one): coordinator_of(one) for one in leases if one not in over}
        trials = [_trial_left(api, namespace, one) for one in owners if _is_left(one, live, now)]
    return (*trials, *(LeaseLeft(namespace=namespace, study=_study(one), lease=one) for one in over))


def remove_cluster_leftovers(
    api: KubernetesApi, namespace: str, clock: Clock, *, lease_s: float = LEASE_S
) -> tuple[ClusterLeftover, ...]:
    """Remove all of them, and say what they were.

    A study without a living coordinator is held while that is done, so that none may start meanwhile; one that turns
    out to be alive is left alone. Raises CleanupFailed, UsageError, TransientFailure.
    """
    removed: list[ClusterLeftover] = []
    found = cluster_leftovers(api, namespace)
    for study in dict.fromkeys(one.study if isinstance(one, LeaseLeft) else one.trial.study for one in found):
        mine = [one for one in found if study == (one.study if isinstance(one, LeaseLeft) else one.trial.study)]
        with suppress(HeldByAnother):
            removed += _remove_of_study(api, namespace, study, mine, clock, lease_s=lease_s)
    return tuple(removed)


def _remove_of_study(
    api: KubernetesApi, namespace: str, study: str, found: Sequence[ClusterLeftover], clock: Clock, *, lease_s: float
) -> Sequence[ClusterLeftover]:
    """What was removed."""
    trials = [one for one in found if isinstance(one, TrialLeft)]
    live = _living(api, namespace, study)
    if live:
        # Of a holder before the one who lives. One who seemed gone when we looked may have renewed since.
        left = [one for one in trials if _maker(one.owner) not in live]
        _remove_trials(api, left, clock)
        return left
    with holding(api, namespace=namespace, study=study, lease_s=lease_s, clock=clock, tell=told_nobody, who="clean-"):
        _remove_trials(api, trials, clock)
    return found


def remove_earlier_trials(api: KubernetesApi, namespace: str, study: str, lease: ClusterLease, clock: Clock) -> None:
    """What earlier coordinators of the study left, for the one who holds it now.

    Raises CleanupFailed, UsageError, TransientFailure.
    """
    with refusals_explained(f"namespace {namespace}"):
        mine = selector_of({**study_labels(study), ROLE_LABEL: "owner"})
        owners = api.list(collection("v1", "ConfigMap", namespace), selector=mine).items
        earlier = [one for one in owners if _maker(one) not in {None, lease.coordinator}]
        left = [_trial_left(api, namespace, one) for one in earlier]
    _remove_trials(api, left, clock)


def _remove_trials(api: KubernetesApi, trials: Sequence[TrialLeft], clock: Clock) -> None:
    for one in trials:
        uid = text_at(one.owner, "metadata", "uid")
        remove(api, one.namespace, one.trial, one.owner, clock, within_s=TEARDOWN_S, uid=uid)


def _living(api: KubernetesApi, namespace: str, study: str) -> tuple[Coordinator, ...]:
    selector = selector_of(study_labels(study))
    with refusals_explained(f"namespace {namespace}"):
        leases = api.list(collection("coordination.k8s.io/v1", "Lease", namespace), selector=selector).items
    return tuple(coordinator_of(one) for one in leases if not lease_is_over(one, datetime.now(UTC)))


def _is_left(owner: PlainObject, live: Mapping[str, Coordinator], now: datetime) -> bool:
    maker = _maker(owner)
    return _expired(owner, now) if maker is None else live.get(_study(owner)) != maker


def _maker(owner: PlainObject) -> Coordinator | None:
    """None: somebody applied it by hand."""
    holder, token = (text_at(owner, "metadata", "annotations", key) for key in (HOLDER_ANNOTATION, TOKEN_ANNOTATION))
    return Coordinator(holder=holder, token=int(token)) if holder and token.isdecimal() else None


def _study(one: PlainObject) -> str:
    return text_at(one, "metadata", "annotations", STUDY_ANNOTATION)


def _expired(owner: PlainObject, now: datetime) -> bool:
    """An expiry that nobody can read is none: such an object is left alone."""
    try:
        until = datetime.fromisoformat(text_at(owner, "metadata", "annotations", EXPIRY_ANNOTATION))
    except ValueError:
        return False
    return until.tzinfo is not None and until < now


def _trial_left(api: KubernetesApi, namespace: str, owner: PlainObject) -> TrialLeft:
    trial = TrialId(
        study=_study(owner),
        trial=int(text_at(owner, "metadata", "labels", TRIAL_LABEL)),
        attempt=int(text_at(owner, "metadata", "labels", ATTEMPT_LABEL)),
    )
    labels = {key: value for key, value in trial_labels(trial, "owner").items() if key != ROLE_LABEL}
    remains = remains_of(api, namespace, selector_of(labels))
    return TrialLeft(namespace=namespace, trial=trial, owner=owner, remains=tuple(remains))
