"""Reading a Deployment that is already there, and what says how its pods run today. Nothing is written."""

from __future__ import annotations

from contextlib import suppress

from runners.kubernetes_api import ApiRefused, KubernetesApi
from runners.kubernetes_paths import collection
from tuner.domain.errors import TransientFailure, UsageError
from tuner.manifests.cluster.existing.service import ReadObjects
from tuner.manifests.cluster.naming import selector_of
from tuner.manifests.plain import ABSENT, PlainObject, object_at, text_at

_SAY_SO = 'kubectl auth can-i {verb} {resource} --namespace {namespace} says "no"; ask who may for a Role with it'


def read_deployment(api: KubernetesApi, namespace: str, name: str) -> ReadObjects:
    """The Deployment, and as far as they may be read: its pods, the Services of its namespace, a node of a pod.

    Raises UsageError where there is no such Deployment or it may not be read, TransientFailure where nobody answers.
    """
    folder = collection("apps/v1", "Deployment", namespace)
    try:
        deployment = api.find(f"{folder}/{name}")
    except ApiRefused as refused:
        raise _explained(refused, api, "get", "deployments.apps", namespace) from refused
    if deployment is None:
        raise _absent(api, namespace, name)
    labels = {key: str(value) for key, value in object_at(deployment, "spec", "selector", "matchLabels").items()}
    pods = _listed(api, collection("v1", "Pod", namespace), selector_of(labels)) if labels else ()
    services = _listed(api, collection("v1", "Service", namespace))
    running = [text_at(pod, "spec", "nodeName") for pod in pods if text_at(pod, "status", "phase") == "Running"]
    node = next((one for one in running if one), "")
    return ReadObjects(deployment=deployment, pods=pods, services=services, node=_node(api, node))


def _listed(api: KubernetesApi, path: str, selector: str = "") -> tuple[PlainObject, ...]:
    """Nothing where it may not be read: what it would tell is then not told."""
    with suppress(ApiRefused):
        return api.list(path, selector=selector).items
    return ()


def _node(api: KubernetesApi, name: str) -> PlainObject:
    if name:
        with suppress(ApiRefused):
            return api.find(f"/api/v1/nodes/{name}") or ABSENT
    return ABSENT


def _absent(api: KubernetesApi, namespace: str, name: str) -> UsageError:
    there = _listed(api, collection("apps/v1", "Deployment", namespace))
    names = sorted(text_at(one, "metadata", "name") for one in there)
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return UsageError(
        f"namespace {namespace} of the cluster at {api.host} has no Deployment {name}",
        hint=f"it has {', '.join(names[:20])}{more}" if names else "it has none that may be listed; --namespace?",
    )


def _explained(
    refused: ApiRefused, api: KubernetesApi, verb: str, resource: str, namespace: str
) -> UsageError | TransientFailure:
    if refused.status in {401, 403}:
        why = "the cluster does not know who asks" if refused.status == 401 else f"you may not {verb} {resource} there"
        return UsageError(
            f"namespace {namespace} of the cluster at {api.host}: {why}: {refused}",
            hint=_SAY_SO.format(verb=verb, resource=resource, namespace=namespace),
        )
    return TransientFailure(f"the cluster at {api.host} does not answer: {refused}")
