"""What an identity may do in a cluster, asked of the cluster itself: a line for each right that the runner needs."""

from __future__ import annotations

from dataclasses import dataclass

from runners.kubernetes_api import KubernetesApi
from runners.kubernetes_trial import refusals_explained
from tuner.manifests.cluster.access import NODE_RIGHT, RIGHTS, ROOM_RIGHT, Right


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessCheck:
    """One right: what is missing of it is named verb by verb."""

    what: str
    ok: bool
    needed: bool
    detail: str


def check_access(api: KubernetesApi, namespace: str) -> tuple[AccessCheck, ...]:
    """Raises UsageError, TransientFailure where the cluster cannot be asked."""
    with refusals_explained(f"the cluster at {api.host}"):
        needed = tuple(_check(api, namespace, right, needed=True) for right in RIGHTS)
        optional = tuple(_check(api, "", right, needed=False) for right in (NODE_RIGHT, ROOM_RIGHT))
        return (*needed, *optional)


def _check(api: KubernetesApi, namespace: str, right: Right, *, needed: bool) -> AccessCheck:
    missing = [
        verb
        for verb in right.verbs
        if not api.may(namespace=namespace, group=right.group, resource=right.resource, verb=verb)
    ]
    where = f"in namespace {namespace}" if namespace else "in the whole cluster"
    told = f"may not {', '.join(missing)} {where}" if missing else f"{', '.join(right.verbs)} {where}"
    return AccessCheck(what=f"{right.resource} ({right.reason})", ok=not missing, needed=needed, detail=told)
