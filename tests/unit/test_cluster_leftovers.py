"""Whose trials `clean` may take: never those of a coordinator who lives, even if he seemed gone a moment ago."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from runners.kubernetes_api import Listed
from runners.kubernetes_leftovers import remove_cluster_leftovers
from tuner.clock import SystemClock
from tuner.manifests.cluster.naming import HOLDER_ANNOTATION, TOKEN_ANNOTATION, TrialId, metadata_of
from tuner.manifests.cluster.trial_objects import study_lease
from tuner.manifests.plain import PlainObject

STUDY = "cards"


def a_lease(*, renewed_s_ago: float, token: int = 3) -> PlainObject:
    renewed = (datetime.now(UTC) - timedelta(seconds=renewed_s_ago)).isoformat()
    at = {"renewed_at": renewed, "acquired_at": renewed}
    made = study_lease(namespace="ns", study=STUDY, holder="mine", duration_s=15, token=token, **at)
    made["metadata"] |= {"annotations": {"servetune/study-name": STUDY}, "uid": "lease"}  # type: ignore[operator]
    return made


def an_owner(number: int, *, token: int) -> PlainObject:
    trial = TrialId(study=STUDY, trial=number, attempt=1)
    metadata: Any = metadata_of(trial, "owner", namespace="ns", expires_at="2999-01-01T00:00:00Z")
    metadata["annotations"] |= {HOLDER_ANNOTATION: "mine", TOKEN_ANNOTATION: str(token)}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {**metadata, "uid": f"uid-{number}"}}


@dataclass
class Cluster:
    """What a cluster answers: the leases change from one look to the next."""

    owners: tuple[PlainObject, ...]
    leases: list[PlainObject]
    removed: list[str] = field(default_factory=list)
    host: str = "https://here"

    def list(self, path: str, **_query: object) -> Listed:
        if path.endswith("/leases"):
            found = self.leases.pop(0) if len(self.leases) > 1 else self.leases[0]
            return Listed(items=(found,), version="1")
        owners = self.owners if path.endswith("/configmaps") and not self.removed else ()
        return Listed(items=owners, version="1")

    def delete(self, path: str, *, uid: str = "", **_how: object) -> None:
        self.removed.append(uid or path)


def test_who_renewed_while_clean_looked_keeps_his_trials():
    cluster: Any = Cluster(owners=(an_owner(4, token=3),), leases=[a_lease(renewed_s_ago=60), a_lease(renewed_s_ago=0)])
    assert remove_cluster_leftovers(cluster, "ns", SystemClock()) == ()
    assert cluster.removed == []


def test_what_somebody_before_him_left_goes():
    cluster: Any = Cluster(owners=(an_owner(4, token=2),), leases=[a_lease(renewed_s_ago=0)])
    remove_cluster_leftovers(cluster, "ns", SystemClock())
    assert cluster.removed == ["uid-4"]
