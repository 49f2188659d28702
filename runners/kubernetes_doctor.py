"""What a cluster has of what a study needs, for `servetune doctor`: looks, and changes nothing.

What this identity may not look at is said to be unknown: the runner itself needs less than an administrator sees.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from runners.findings import Finding
from runners.kubernetes_api import ApiRefused, KubernetesApi
from runners.kubernetes_checks import check_access
from runners.kubernetes_nodes import check_nodes
from runners.kubernetes_pull import check_pull
from tuner.domain.cluster import ClusterOptions
from tuner.domain.spec import StudySpec
from tuner.manifests.cluster.access import RIGHTS, rights
from tuner.manifests.cluster.demands import Demand, counted, demands, shortages
from tuner.manifests.cluster.pod_security import ENFORCED_LABEL, FIRST_MINOR, beyond
from tuner.manifests.cluster.references import PLURALS, images, references
from tuner.manifests.cluster.trial_objects import trial_objects
from tuner.manifests.plain import PlainObject, object_at, objects_at, text_at
from tuner.ports import Clock

NOT_SEEN = (401, 403)


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a study asks of the cluster; `sizes` is every size of its servers."""

    options: ClusterOptions
    sizes: tuple[Demand, ...]


def needs_of(spec: StudySpec, options: ClusterOptions) -> Needs:
    """Raises UsageError for what no cluster can be asked for."""
    return Needs(options=options, sizes=tuple(demands(spec, options)))


def examine(
    api: KubernetesApi, namespace: str, needs: Needs | None = None, *, pulling: Clock | None = None
) -> Iterator[Finding]:
    """Line after line, as soon as each is known; nothing more after a cluster that does not answer.

    With a clock for `pulling` a pod is made that pulls the study's images, and removed.
    """
    reached, minor = _reached(api)
    yield reached
    if not reached.ok:
        yield Finding("everything else", ok=None, detail="the cluster has to answer first")
        return
    yield from _looked(f"namespace {namespace}", lambda: _namespace(api, namespace, needs, minor))
    asked = rights(needs.options) if needs else RIGHTS
    yield from _looked("rights", lambda: check_access(api, namespace, asked))
    if needs is not None:
        yield from _looked("nodes", lambda: check_nodes(api, needs.options, needs.sizes))
        yield from _looked("quotas", lambda: _quotas(api, namespace, needs))
        yield from _looked("GPU claims", lambda: _claims(api, needs))
        yield from _references(api, namespace, needs)
        yield from _looked("a trial's objects", lambda: _tried(api, needs))
        yield from _images(api, needs, pulling)


def _images(api: KubernetesApi, needs: Needs, pulling: Clock | None) -> Sequence[Finding]:
    images = all_images(needs)
    if pulling is not None:
        return check_pull(api, needs.options, needs.sizes[0].pod, images, pulling)
    unseen, remedy = "whether nodes can pull it is not tried", "--pull-image makes a short-lived pod that tries"
    return tuple(Finding(f"image {image}", ok=None, detail=unseen, remedy=remedy) for image in images)


def all_images(needs: Needs) -> tuple[str, ...]:
    """Every image that a trial pulls."""
    served = (image for size in needs.sizes for image in images(object_at(size.pod, "spec")))
    return tuple(dict.fromkeys((*served, needs.options.load.image)))


def _looked(what: str, look: Callable[[], Sequence[Finding]]) -> Sequence[Finding]:
    """The findings, or that they could not be seen."""
    try:
        return look()
    except ApiRefused as refused:
        return (Finding(what, ok=None, detail=f"{refused}"),)


def _reached(api: KubernetesApi) -> tuple[Finding, int]:
    """And the minor version; 0 where it is not told."""
    what = f"cluster {api.host} (context {api.context})"
    try:
        version = api.get("/version")
        api.may(namespace="default", group="", resource="pods", verb="list")
    except ApiRefused as refused:
        if refused.status == 401:
            return Finding(what, ok=False, detail=f"it does not know who asks: {refused}", remedy="log in again"), 0
        detail = f"no answer that could be used: {refused}"
        return Finding(what, ok=False, detail=detail, remedy="is the address right, and the cluster up?"), 0
    found = re.match(r"\d+", text_at(version, "minor"))
    return Finding(what, ok=True, detail=f"Kubernetes {text_at(version, 'gitVersion')}"), int(found[0]) if found else 0


def _namespace(api: KubernetesApi, namespace: str, needs: Needs | None, minor: int) -> tuple[Finding, ...]:
    what = f"namespace {namespace}"
    try:
        found = api.find(f"/api/v1/namespaces/{namespace}")
    except ApiRefused as refused:
        if refused.status not in NOT_SEEN:
            raise
        unseen = "this identity may not look at it"
        show = f"kubectl get namespace {namespace} --show-labels, asked by who may"
        return (
            _namespace_by_trial(api, namespace),
            *((Finding("pod security", ok=None, detail=unseen, remedy=show),) if needs else ()),
        )
    if found is None:
        return (Finding(what, ok=False, detail="there is none", remedy=f"kubectl create namespace {namespace}"),)
    if text_at(found, "status", "phase") == "Terminating":
        return (Finding(what, ok=False, detail="it is being removed", remedy="wait for its end, or take another"),)
    level = text_at(found, "metadata", "labels", ENFORCED_LABEL)
    return (Finding(what, ok=True, detail="it is there"), *(_security(level, needs, minor) if needs else ()))


def _namespace_by_trial(api: KubernetesApi, namespace: str) -> Finding:
    """A namespace that may not be read still says whether it would take something."""
    probe: PlainObject = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "servetune-doctor", "namespace": namespace},
    }
    what = f"namespace {namespace}"
    try:
        api.create(probe, dry_run=True)
    except ApiRefused as refused:
        if refused.status == 404:
            return Finding(what, ok=False, detail="there is none", remedy=f"kubectl create namespace {namespace}")
        if refused.status == 409:
            return Finding(what, ok=True, detail="it is there")
        return Finding(what, ok=None, detail=f"{refused}")
    return Finding(what, ok=True, detail="it is there")


def _security(level: str, needs: Needs, minor: int) -> tuple[Finding, ...]:
    what = "pod security"
    if minor and minor < FIRST_MINOR:
        return (Finding(what, ok=True, detail=f"Kubernetes 1.{minor} does not enforce its levels"),)
    if not level:
        return (Finding(what, ok=True, detail="the namespace's labels enforce no level"),)
    faults = dict.fromkeys(fault for one in needs.sizes for fault in beyond(level, object_at(one.pod, "spec")))
    if not faults:
        return (Finding(what, ok=True, detail=f"the level {level} admits the study's pods"),)
    detail = f"the level {level} does not admit them: {', '.join(faults)}"
    return (Finding(what, ok=False, detail=detail, remedy=f"mend the template, or label it {ENFORCED_LABEL}=..."),)


def _quotas(api: KubernetesApi, namespace: str, needs: Needs) -> tuple[Finding, ...]:
    """Of the study's sizes, each amount's largest: a quota that holds them holds every trial."""
    quotas = api.list(f"/api/v1/namespaces/{namespace}/resourcequotas").items
    if not quotas:
        return (Finding("quotas", ok=True, detail="the namespace has none"),)
    largest: dict[str, Fraction] = {}
    for size in needs.sizes:
        for name, amount in counted(size, needs.options).items():
            largest[name] = max(amount, largest.get(name, amount))
    return tuple(finding for quota in quotas for finding in _quota(quota, largest))


def _quota(quota: PlainObject, largest: dict[str, Fraction]) -> Iterator[Finding]:
    name = f"quota {text_at(quota, 'metadata', 'name')}"
    found = shortages(quota, largest)
    if not found:
        yield Finding(name, ok=True, detail="it holds the largest trial, beside what is there now")
    for one in found:
        asked, hard, used = (f"{float(amount):g}" for amount in (one.asked, one.hard, one.used))
        if one.asked > one.hard:
            detail = f"the largest trial asks for {one.name} {asked}, and the whole quota is {hard}"
            yield Finding(name, ok=False, detail=detail, remedy="raise it, or take the largest values out of knobs")
        else:
            detail = f"the largest trial asks for {one.name} {asked}, and of {hard} {used} are in use now"
            yield Finding(name, ok=False, needed=False, detail=detail, remedy="such trials wait until it is free")


def _claims(api: KubernetesApi, needs: Needs) -> tuple[Finding, ...]:
    """Dynamic resource allocation, where the study's sharing asks for it."""
    claims = [size.patch.claim for size in needs.sizes if size.patch and size.patch.claim]
    if not claims:
        return ()
    if api.find("/apis/resource.k8s.io/v1") is None:
        remedy = "Kubernetes 1.34 and later serve it; or take another sharing.scheme"
        return (Finding("GPU claims", ok=False, detail="the cluster has no API resource.k8s.io/v1", remedy=remedy),)
    asked = {text_at(one, "exactly", "deviceClassName") for claim in claims for one in objects_at(claim, *_REQUESTS)}
    there = [_there(api, f"/apis/resource.k8s.io/v1/deviceclasses/{name}", "DeviceClass", name) for name in asked]
    return (Finding("GPU claims", ok=True, detail="the cluster has the API resource.k8s.io/v1"), *there)


_REQUESTS = ("devices", "requests")


def _references(api: KubernetesApi, namespace: str, needs: Needs) -> Iterator[Finding]:
    """What pods name and do not bring."""
    load = needs.options.load.service_account
    named = [("ServiceAccount", load)] if load else []
    for size in needs.sizes:
        named += references(object_at(size.pod, "spec"))
    for kind, name in dict.fromkeys(named):
        yield _there(api, f"/api/v1/namespaces/{namespace}/{PLURALS[kind]}/{name}", kind, name)


def _there(api: KubernetesApi, path: str, kind: str, name: str) -> Finding:
    what = f"{kind} {name}"
    try:
        found = api.find(path)
    except ApiRefused as refused:
        if refused.status not in NOT_SEEN:
            return Finding(what, ok=None, detail=f"{refused}")
        return Finding(what, ok=None, detail="this identity may not look at it", remedy=f"kubectl get {kind} {name}")
    if found is None:
        return Finding(what, ok=False, detail="there is none", remedy="make it: the study's pods name it")
    if kind != "PersistentVolumeClaim":
        return Finding(what, ok=True, detail="it is there")
    phase = text_at(found, "status", "phase")
    if phase == "Lost":
        return Finding(what, ok=False, detail="its volume is lost", remedy="make it anew, with the model on it")
    waits = phase == "Pending"
    return Finding(what, ok=True, detail="bound when a pod first needs it" if waits else f"it is {phase or 'there'}")


def _tried(api: KubernetesApi, needs: Needs) -> tuple[Finding, ...]:
    """The objects of a trial, shown to the API and its admission without being made."""
    size = needs.sizes[0]
    refused_kinds = []
    objects = trial_objects(needs.options, size.trial).all
    for manifest in objects:
        try:
            api.create(manifest, dry_run=True)
        except ApiRefused as refused:
            refused_kinds.append(f"{text_at(manifest, 'kind')}: {refused}")
    kinds = ", ".join(text_at(one, "kind") for one in objects)
    if refused_kinds:
        remedy = "shown for the study's first size, and not made"
        return (Finding("a trial's objects", ok=False, detail="; ".join(refused_kinds), remedy=remedy),)
    return (Finding("a trial's objects", ok=True, detail=f"the cluster would take them: {kinds}"),)
