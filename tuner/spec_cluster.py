"""The `kubernetes` section as a frozen value, and what must hold between its keys and the study's others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tuner.domain.cluster import (
    BasePod,
    ClusterGpu,
    ClusterOptions,
    EngineBuild,
    GpuSharing,
    LoadPods,
    ModelBucket,
    ModelClaim,
    ModelImage,
    ModelSource,
    PhaseDeadlines,
)
from tuner.domain.errors import UsageError
from tuner.manifests.cluster.base_pod import base_pod
from tuner.manifests.cluster.gpu_sharing import ShareAsk, ask_for_share
from tuner.manifests.cluster.placement import gpu_nodes, term_nodes
from tuner.manifests.cluster.quantities import cpu_quantity, exact, memory_quantity
from tuner.manifests.cluster.trial import CLUSTER_KNOBS, CLUSTER_PREFIXES, SERVER
from tuner.manifests.plain import Plain, PlainObject, object_at
from tuner.spec_cluster_model import BaseSection, ClusterModelSection, KubernetesSection
from tuner.spec_model import StudyDraft
from tuner.spec_problems import Finding
from tuner.spec_problems import Path as KeyPath
from tuner.yaml_text import parse_yaml, plain, read_text

SECTION: KeyPath = ("runner", "kubernetes")


def cluster_options(
    section: KubernetesSection, *, load_s: float, base: BasePod | None, image: str = ""
) -> ClusterOptions:
    """The section as the runner takes it.

    `load_s` is the study's ready_timeout_s, `base` what the file named holds, `image` the study's model where that is
    an image.
    """
    engine, load, sharing, deadlines = section.engine, section.load, section.sharing, section.deadlines
    return ClusterOptions(
        namespace=section.namespace,
        load=LoadPods(
            image=load.image,
            workers=load.workers,
            cpu_cores=load.cpu_cores,
            memory_gib=load.memory_gib,
            service_account=load.service_account or "",
            node_labels=tuple(sorted(load.node_labels.items())),
            sent_from=load.sent_from,
        ),
        image=section.image or image,
        base=base,
        model=_model_source(section.model) if section.model else None,
        engine=EngineBuild(**{**engine.model_dump(), "command": tuple(engine.command)}) if engine else None,
        network=section.network,
        host_address=section.host_address,
        run_as_user=section.run_as_user,
        shared_memory_mib=section.shared_memory_mib,
        gpu_labels=section.gpu_labels,
        gpu_label_key=section.gpu_label_key or "",
        gpus=_gpus(section),
        sharing=GpuSharing(
            scheme=sharing.scheme,
            replicas=sharing.replicas,
            queue=sharing.queue or "",
            resource=sharing.resource or "",
            neighbours=sharing.neighbours,
        ),
        capacity_labels=tuple(
            sorted((term, tuple(sorted(labels.items()))) for term, labels in section.capacity_labels.items())
        ),
        pull_secrets=tuple(section.pull_secrets),
        service_account=section.service_account or "",
        autoscaled=section.autoscaled,
        deadlines=PhaseDeadlines(**deadlines.model_dump(), load_s=load_s),
    )


def _gpus(section: KubernetesSection) -> tuple[ClusterGpu, ...]:
    return tuple(
        ClusterGpu(
            name=name,
            labels=tuple(gpu.labels),
            memory_mib=gpu.memory_mib,
            slices=tuple(sorted(gpu.slices.items())),
        )
        for name, gpu in sorted(section.gpus.items())
    )


def _model_source(section: ClusterModelSection) -> ModelSource:
    """Of a section that `check_cluster` found nothing wrong with."""
    if section.url is not None:
        return ModelBucket(
            url=section.url,
            image=section.image or "",
            command=tuple(section.command or ()),
            secret=section.secret or "",
        )
    if section.image is not None:
        return ModelImage(image=section.image, path=section.path or "/", way=section.way or "volume")
    return ModelClaim(claim=section.claim or "", path=section.path or "")


def read_base(section: BaseSection, folder: Path) -> BasePod | Finding:
    """The template in a file under the study file's folder, or what is wrong with it."""
    path = (folder / section.file).resolve()
    place = (*SECTION, "base", "file")
    if not path.is_relative_to(folder.resolve()):
        return Finding(place, "the path leaves the study file's folder", "copy the template there")
    try:
        document = parse_yaml(read_text(path), section.file)
    except UsageError as error:
        return Finding(place, error.message.replace(str(path), section.file), error.hint)
    if document.problems or document.root is None:
        return Finding(place, f"the template cannot be read: {document.problems[0]}")
    manifest = plain(document.root)
    if not isinstance(manifest, dict):
        return Finding(place, f"{section.file} holds no manifest", "one Deployment, Pod or PodTemplate")
    try:
        return base_pod(_unlabelled(manifest), section.container or "", section.repository or "")
    except UsageError as error:
        return Finding((*SECTION, "base"), error.message, error.hint, at_key=True)


def _unlabelled(manifest: PlainObject) -> PlainObject:
    """A bare pod or pod template without its labels: by any of them a service may find it, and send it traffic."""
    match manifest.get("kind"):
        case "PodTemplate":
            template = object_at(manifest, "template")
            return {**manifest, "template": {**template, "metadata": _less_labels(template)}}
        case "Pod" | None:
            return {**manifest, "metadata": _less_labels(manifest)}
    return manifest


def _less_labels(one: PlainObject) -> dict[str, Plain]:
    return {key: value for key, value in object_at(one, "metadata").items() if key != "labels"}


def check_cluster(draft: StudyDraft) -> Iterator[Finding]:
    """What is wrong between the runner's section and the rest, as far as both are right by themselves."""
    if draft.runner is None:
        return
    section = draft.runner.kubernetes
    if draft.runner.kind != "kubernetes":
        if section is not None:
            yield Finding(SECTION, f"the runner '{draft.runner.kind}' uses no cluster", "delete it", at_key=True)
        return
    if section is None:
        hint = "it holds namespace, load, image or base, model, gpus, sharing, ..."
        yield Finding(SECTION, "missing key 'kubernetes'", hint)
        return
    if draft.runner.parallel_trials != 1 and section.load.sent_from == "controller":
        message = "loads that are sent from one place at once would disturb each other"
        yield Finding(("runner", "parallel_trials"), message, "delete it, or kubernetes.load.sent_from")
    yield from _server(draft, section)
    yield from _source(section)
    yield from _sharing(section)
    yield from _knobs(draft)
    yield from _amounts(draft)
    yield from _nodes(draft, section)


def _server(draft: StudyDraft, section: KubernetesSection) -> Iterator[Finding]:
    named = {
        (*SECTION, "base"): section.base,
        (*SECTION, "image"): section.image,
        ("model", "image"): draft.model.image if draft.model else None,
    }
    given = [place for place, value in named.items() if value is not None]
    for place in given[1:]:
        message = f"{given[0][-1]} says already which image serves"
        yield Finding(place, message, "delete one of the two", at_key=True)
    if not given:
        yield Finding(SECTION, "nothing says which image serves", "add image, or base with a pod template", at_key=True)
    if section.engine is not None and section.model is None:
        yield Finding((*SECTION, "engine"), "there is nothing to build it from", "add model", at_key=True)
    if section.gpu_labels == "own" and section.gpu_label_key is None:
        hint = "add gpu_label_key"
        yield Finding((*SECTION, "gpu_labels"), "nothing says which label holds the GPU type", hint)


_SOURCES: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "url": (frozenset({"url", "image", "command"}), frozenset({"secret"})),
    "claim": (frozenset({"claim", "path"}), frozenset()),
    "image": (frozenset({"image", "path"}), frozenset({"way"})),
}
"""Source -> the keys it needs, and those it may have."""


def _source(section: KubernetesSection) -> Iterator[Finding]:
    if section.model is None:
        return
    place, given = (*SECTION, "model"), section.model.model_fields_set
    kind = next((kind for kind in _SOURCES if kind in given), None)
    if kind is None:
        yield Finding(place, "nothing says where the model is", "add claim, image or url", at_key=True)
        return
    needed, allowed = _SOURCES[kind]
    for key in sorted(needed - given):
        yield Finding(place, f"a model by {kind} needs '{key}'", "add it", at_key=True)
    for key in sorted(given - needed - allowed):
        hint = f"it has {', '.join(sorted(needed | allowed))}"
        yield Finding((*place, key), f"a model by {kind} has no '{key}'", hint, at_key=True)


def _sharing(section: KubernetesSection) -> Iterator[Finding]:
    sharing, place = section.sharing, (*SECTION, "sharing")
    divided = sharing.scheme in {"time_slicing", "mps"}
    if divided and sharing.replicas is None:
        yield Finding(
            place, f"'{sharing.scheme}' needs 'replicas'", "into how many the nodes divide a GPU", at_key=True
        )
    if not divided and sharing.replicas is not None:
        yield Finding((*place, "replicas"), f"'{sharing.scheme}' has no replicas", "delete it", at_key=True)
    if sharing.scheme == "kai" and sharing.queue is None:
        yield Finding(place, "'kai' needs 'queue'", "the queue that trials wait in", at_key=True)
    if sharing.scheme != "kai" and sharing.queue is not None:
        yield Finding((*place, "queue"), f"'{sharing.scheme}' has no queue", "delete it", at_key=True)


def _knobs(draft: StudyDraft) -> Iterator[Finding]:
    for name in draft.knobs.values() if draft.knobs else ():
        if name not in CLUSTER_KNOBS and not name.startswith(CLUSTER_PREFIXES):
            yield Finding(("knobs", name), "the runner 'kubernetes' cannot set it", "delete it", at_key=True)


def _amounts(draft: StudyDraft) -> Iterator[Finding]:
    """Amounts that Kubernetes cannot write down."""
    for name, quantity in (("cpu_cores", cpu_quantity), ("memory_gib", memory_quantity)):
        for position, value in enumerate((getattr(draft.knobs, name) if draft.knobs else None) or ()):
            try:
                quantity(value)
            except UsageError as error:
                yield Finding(("knobs", name, position), error.message, error.hint)


def _nodes(draft: StudyDraft, section: KubernetesSection) -> Iterator[Finding]:
    """Shares that the scheme cannot express, and nodes that no label tells apart; each cause once."""
    options = cluster_options(section, load_s=1.0, base=None)
    if draft.prices is not None:
        try:
            term_nodes(options, draft.prices.term)
        except UsageError as error:
            yield Finding(("prices", "term"), error.message, error.hint)
    seen: set[str] = set()
    for (type_path, gpu_type), (share_path, share) in _gpu_settings(draft):
        gpu = options.gpu(gpu_type)
        if gpu is None:
            finding = Finding(type_path, f"gpus says nothing of {gpu_type}", _listed(section))
        else:
            try:
                ask = ShareAsk(gpu=gpu, share=exact(share), sharing=options.sharing, container=SERVER)
                gpu_nodes(options, gpu, ask_for_share(ask))
                continue
            except UsageError as error:
                finding = Finding(share_path, error.message, error.hint)
        if finding.message not in seen:
            seen.add(finding.message)
            yield finding


def _listed(section: KubernetesSection) -> str:
    return "add gpus below kubernetes" if not section.gpus else f"it has {', '.join(sorted(section.gpus))}"


def _gpu_settings(draft: StudyDraft) -> Iterator[tuple[tuple[KeyPath, str], tuple[KeyPath, float]]]:
    """Every pair of GPU type and share, each with its place in the file."""
    knobs, footprint = draft.knobs, draft.footprint
    types: list[tuple[KeyPath, str]] = [
        (("knobs", "gpu_type", position), name) for position, name in enumerate((knobs and knobs.gpu_type) or ())
    ]
    if not types and footprint is not None and footprint.gpu_type is not None:
        types = [(("footprint", "gpu_type"), footprint.gpu_type)]
    shares: list[tuple[KeyPath, float]] = [
        (("knobs", "gpu_memory_share", position), share)
        for position, share in enumerate((knobs and knobs.gpu_memory_share) or ())
    ]
    if not shares:
        stated = None if footprint is None else footprint.gpu_memory_share
        shares = [((*SECTION, "sharing"), 1.0) if stated is None else (("footprint", "gpu_memory_share"), stated)]
    for one in types:
        for share in shares:
            yield one, share
