"""Where the API keeps what kind of object. Source: the Kubernetes API reference."""

from __future__ import annotations

from tuner.domain.errors import UsageError
from tuner.manifests.plain import PlainObject, text_at

_PLURALS = {
    "ConfigMap": "configmaps",
    "Service": "services",
    "Pod": "pods",
    "Event": "events",
    "Node": "nodes",
    "Deployment": "deployments",
    "Job": "jobs",
    "Lease": "leases",
    "ResourceQuota": "resourcequotas",
    "NetworkPolicy": "networkpolicies",
    "ResourceClaimTemplate": "resourceclaimtemplates",
}


def path_of(manifest: PlainObject, *, named: bool = True) -> str:
    """The path of the object itself, or of all its kind. Raises UsageError for a kind that the runner never makes."""
    kind = text_at(manifest, "kind")
    if kind not in _PLURALS:
        raise UsageError(f"the Kubernetes runner makes no {kind or 'object without a kind'}")
    folder = collection(text_at(manifest, "apiVersion"), kind, text_at(manifest, "metadata", "namespace"))
    return f"{folder}/{text_at(manifest, 'metadata', 'name')}" if named else folder


def collection(api_version: str, kind: str, namespace: str) -> str:
    """The path of all objects of a kind; without a namespace, of the whole cluster."""
    root = f"/api/{api_version}" if "/" not in api_version else f"/apis/{api_version}"
    inside = f"/namespaces/{namespace}" if namespace else ""
    return f"{root}{inside}/{_PLURALS[kind]}"
