"""What an identity may do in a cluster, asked of the cluster itself: a line for each right that the runner needs."""

from __future__ import annotations

from collections.abc import Sequence

from runners.findings import Finding
from runners.kubernetes_api import KubernetesApi
from runners.kubernetes_trial import refusals_explained
from tuner.manifests.cluster.access import APPLY_ROLE, NODE_RIGHT, RIGHTS, ROOM_RIGHT, Right


def check_access(api: KubernetesApi, namespace: str, rights: Sequence[Right] = RIGHTS) -> tuple[Finding, ...]:
    """Raises UsageError, TransientFailure where the cluster cannot be asked."""
    with refusals_explained(f"the cluster at {api.host}"):
        needed = tuple(_check(api, namespace, right, needed=True) for right in rights)
        optional = tuple(_check(api, "", right, needed=False) for right in (NODE_RIGHT, ROOM_RIGHT))
        return (*needed, *optional)


def _check(api: KubernetesApi, namespace: str, right: Right, *, needed: bool) -> Finding:
    missing = [
        verb
        for verb in right.verbs
        if not api.may(namespace=namespace, group=right.group, resource=right.resource, verb=verb)
    ]
    where = f"in namespace {namespace}" if namespace else "in the whole cluster"
    told = f"may not {', '.join(missing)} {where}" if missing else f"{', '.join(right.verbs)} {where}"
    remedy = (APPLY_ROLE if needed else "optional") if missing else ""
    return Finding(f"{right.resource} ({right.reason})", ok=not missing, needed=needed, detail=told, remedy=remedy)
