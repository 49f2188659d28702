"""Somebody whom the cluster knows, and who may do nothing: a service account without any role."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.rest import Rest

NAME = "stranger"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stranger:
    """The kubeconfig to act as it, and what a role binding calls it."""

    kubeconfig: Path
    subject: dict[str, str]


def a_stranger(admin: Rest, namespace: str, file: Path) -> Stranger:
    """One of this namespace, for an hour."""
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    admin.post(accounts, {"metadata": {"name": NAME}})
    asked = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": {"expirationSeconds": 3600}}
    token = admin.post(f"{accounts}/{NAME}/token", asked)["status"]["token"]
    authority = {"certificate-authority": str(admin.authority)} if admin.authority else {}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": NAME,
        "clusters": [{"name": NAME, "cluster": {"server": admin.host, **authority}}],
        "users": [{"name": NAME, "user": {"token": token}}],
        "contexts": [{"name": NAME, "context": {"cluster": NAME, "user": NAME}}],
    }
    file.write_text(json.dumps(config))
    subject = {"kind": "ServiceAccount", "name": NAME, "namespace": namespace}
    return Stranger(kubeconfig=file, subject=subject)
