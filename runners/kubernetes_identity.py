"""Which cluster a study runs in: kept with the study at its first trial, compared before anything is written later."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

from runners.kubernetes_api import ApiRefused, KubernetesApi
from runners.kubernetes_lease import reached
from tuner.domain.errors import UsageError
from tuner.manifests.plain import text_at

KEY = "cluster"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterIdentity:
    """`uid` is that of the namespace kube-system, which lives as long as its cluster; empty: it may not be read.

    `context` is a name that everybody may choose: it is told, and never compared.
    """

    uid: str
    authority: str
    host: str
    context: str

    def __str__(self) -> str:
        return f"{self.host} (context {self.context}{f', uid {self.uid}' if self.uid else ''})"


def identity_of(api: KubernetesApi) -> ClusterIdentity:
    """As far as this caller may see it. Raises ApiRefused where the cluster does not answer."""
    try:
        uid = text_at(api.get("/api/v1/namespaces/kube-system"), "metadata", "uid")
    except ApiRefused as refused:
        if refused.status not in {401, 403, 404}:
            raise
        uid = ""
    return ClusterIdentity(uid=uid, authority=api.authority, host=api.host, context=api.context)


def same_cluster(one: ClusterIdentity, other: ClusterIdentity) -> bool:
    """By the best that both know: the uid, else who signed the server's certificate, else the address."""
    if one.uid and other.uid:
        return one.uid == other.uid
    if one.authority and other.authority:
        return one.authority == other.authority
    return one.host == other.host


def refuse_another_cluster(api: KubernetesApi, pin: Callable[[str, str], str]) -> None:
    """Raises UsageError where the study began in another cluster than this. `pin` keeps the first one's identity.

    Raises InfrastructureError where the cluster does not answer.
    """
    with reached(f"the cluster at {api.host}"):
        here = identity_of(api)
    began = ClusterIdentity(**json.loads(pin(KEY, json.dumps(asdict(here)))))
    if not same_cluster(began, here):
        raise UsageError(
            f"the study's trials ran in the cluster at {began}; this is {here}",
            hint="--context or --kubeconfig of then, or another metadata.name to start afresh here",
        )
