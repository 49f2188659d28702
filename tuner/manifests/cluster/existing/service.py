"""An existing Deployment as the base of a study: its template as written, and what its server gets today."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from tuner.domain.cluster import Pairs
from tuner.domain.errors import UsageError
from tuner.manifests.cluster.existing.as_written import selected_labels, template_as_written
from tuner.manifests.cluster.existing.gpu import PresentGpu, gpu_type_keys, present_gpu
from tuner.manifests.cluster.existing.plain_secrets import plain_secrets
from tuner.manifests.cluster.existing.serving import ServingContainer, serving_container
from tuner.manifests.cluster.placement import AKS_SPOT, GKE_SPOT, KARPENTER_CAPACITY
from tuner.manifests.cluster.quantities import parse_quantity
from tuner.manifests.plain import Plain, PlainObject, number_at, object_at, objects_at, text_at, value_at

_SPOT_LABELS = {
    KARPENTER_CAPACITY: "spot",
    GKE_SPOT: "true",
    AKS_SPOT: "spot",
    "eks.amazonaws.com/capacityType": "SPOT",
    "node.kubernetes.io/lifecycle": "spot",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadObjects:
    """What was read of a cluster, as it answered. `node` is one that a pod runs on; empty where it may not be read."""

    deployment: PlainObject
    pods: Sequence[PlainObject] = ()
    services: Sequence[PlainObject] = ()
    node: PlainObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """Cores or bytes, as the template says them; `requested`: it asks for so much, else it is the limit."""

    number: Fraction
    text: str
    requested: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ExistingService:
    """`template` is what a study patches: the image pinned, node labels that knobs and price term stand for left out.

    `notes` are what a reader of the study should know of it, a sentence each.
    """

    name: str
    namespace: str
    replicas: int
    template: PlainObject
    serving: ServingContainer
    cpu: Amount | None
    memory: Amount | None
    gpu: PresentGpu | None
    spot: Pairs
    notes: tuple[str, ...]

    @property
    def served(self) -> PlainObject:
        """The container that serves, as the template has it."""
        containers = objects_at(self.template, "spec", "containers")
        return next(one for one in containers if text_at(one, "name") == self.serving.name)


def existing_service(
    read: ReadObjects, *, container: str = "", not_secret: Collection[str] = (), gpu_label: str = ""
) -> ExistingService:
    """What a study starts from. `not_secret` names environment variables and flags that may be written down.

    Raises UsageError: no container serves, or several might; plain-text secrets; a GPU that a study cannot ask for.
    """
    whole = object_at(read.deployment, "spec", "template")
    dropped = selected_labels(read.deployment, read.services)
    template = template_as_written(whole, without_labels=dropped)
    _refuse_secrets(template, not_secret)
    serving = serving_container(template, container)
    gpu = present_gpu(template, serving.name, read.node, gpu_label)
    selector = object_at(template, "spec", "nodeSelector")
    spot = tuple((key, str(value)) for key, value in selector.items() if _SPOT_LABELS.get(key) == value)
    moved = {*(key for key, _ in spot), *(gpu_type_keys() if gpu else ())}
    image = _pinned_image(serving, read.pods)
    template = _with_image(_without_node_labels(template, moved), serving.name, image)
    served = next(one for one in objects_at(template, "spec", "containers") if text_at(one, "name") == serving.name)
    notes = (
        *_image_notes(serving, image),
        *_label_notes(dropped),
        *_moved_notes(selector, moved),
        *_pod_notes(object_at(template, "spec"), served),
    )
    return ExistingService(
        name=text_at(read.deployment, "metadata", "name"),
        namespace=text_at(read.deployment, "metadata", "namespace"),
        replicas=number_at(read.deployment, "spec", "replicas"),
        template=template,
        serving=serving,
        cpu=_amount(served, "cpu"),
        memory=_amount(served, "memory"),
        gpu=gpu,
        spot=spot,
        notes=notes,
    )


def _refuse_secrets(template: PlainObject, not_secret: Collection[str]) -> None:
    found = [place for place in plain_secrets(template) if place.rsplit(" ", 1)[-1].lstrip("-") not in not_secret]
    if found:
        raise UsageError(
            f"the Deployment holds what looks like secrets as plain text, and they would go into files: "
            f"{'; '.join(found)}",
            hint="put them into a Secret and refer to it by secretKeyRef; --not-secret NAME for what is none",
        )


def _pinned_image(serving: ServingContainer, pods: Sequence[PlainObject]) -> str:
    """By the digest that every pod of today's template runs; else as it is written."""
    if "@sha256:" in serving.image:
        return serving.image
    digests = {digest for pod in pods for digest in _digests(pod, serving)}
    if len(digests) != 1:
        return serving.image
    folder, _, name = serving.image.rpartition("/")
    plain_name = name.split(":", 1)[0]
    return f"{folder}/{plain_name}@{digests.pop()}" if folder else f"{plain_name}@{digests.pop()}"


def _digests(pod: PlainObject, serving: ServingContainer) -> list[str]:
    """A runtime that pulled the image by a name says the digest with it; a bare one is of no registry."""
    asked = {text_at(one, "name"): text_at(one, "image") for one in objects_at(pod, "spec", "containers")}
    if asked.get(serving.name) != serving.image:
        return []
    statuses = objects_at(pod, "status", "containerStatuses")
    ids = [text_at(one, "imageID") for one in statuses if text_at(one, "name") == serving.name]
    return [f"sha256:{one.rpartition('@sha256:')[2]}" for one in ids if "@sha256:" in one]


def _with_image(template: PlainObject, container: str, image: str) -> dict[str, Plain]:
    containers = objects_at(template, "spec", "containers")
    pinned: list[Plain] = [{**one, "image": image} if text_at(one, "name") == container else one for one in containers]
    return {**template, "spec": {**object_at(template, "spec"), "containers": pinned}}


def _without_node_labels(template: PlainObject, moved: Collection[str]) -> dict[str, Plain]:
    spec = dict(object_at(template, "spec"))
    kept = {key: value for key, value in object_at(spec, "nodeSelector").items() if key not in moved}
    spec.pop("nodeSelector", None)
    return {**template, "spec": {**spec, "nodeSelector": kept} if kept else spec}


def _amount(container: PlainObject, resource: str) -> Amount | None:
    for kind in ("requests", "limits"):
        stated = value_at(container, "resources", kind, resource)
        number = None if stated is None else parse_quantity(str(stated))
        if number is not None and number > 0:
            return Amount(number=number, text=str(stated), requested=kind == "requests")
    return None


def _image_notes(serving: ServingContainer, image: str) -> list[str]:
    if "@sha256:" not in image:
        return [f"No running pod says which digest {image} is: the tag may move while the study runs."]
    return (
        []
        if image == serving.image
        else [f"The image is what the pods run today; the Deployment says {serving.image}."]
    )


def _label_notes(dropped: Sequence[str]) -> list[str]:
    listed = ", ".join(dropped)
    return [f"Without its labels {listed}: by them the service's own traffic would find trials."] if dropped else []


def _moved_notes(selector: PlainObject, moved: Collection[str]) -> list[str]:
    gone = [f"{key}={value}" for key, value in selector.items() if key in moved]
    return [f"Without its nodeSelector {', '.join(gone)}: the study's knobs and prices say that now."] if gone else []


def _pod_notes(spec: PlainObject, served: PlainObject) -> list[str]:
    """What trials beside the service may stumble over, and what they do otherwise than it."""
    notes: list[str] = []
    claims = [
        text_at(one, "persistentVolumeClaim", "claimName")
        for one in objects_at(spec, "volumes")
        if isinstance(one.get("persistentVolumeClaim"), Mapping)
    ]
    if claims:
        listed = ", ".join(claims)
        notes.append(f"Trials mount the claim {listed} as the service does: ReadWriteOnce holds them to its node.")
    if any(number_at(port, "hostPort") for one in objects_at(spec, "containers") for port in objects_at(one, "ports")):
        notes.append("It has a hostPort: a trial finds no place on a node where the service runs.")
    if spec.get("hostNetwork") is True:
        notes.append("It is on the host's network: a trial finds its ports taken on a node where the service runs.")
    if "livenessProbe" in served:
        notes.append("Trials run without its livenessProbe: a restart would spoil a measurement, and is seen anyway.")
    contexts = [object_at(one, "securityContext") for one in (spec, served)]
    if not any("runAsUser" in one or "runAsNonRoot" in one for one in contexts):
        notes.append(
            "It does not say as whom it runs: trials run as runner.kubernetes.run_as_user. If it must be root, write "
            "securityContext: {runAsUser: 0} into the template's spec."
        )
    return notes
