"""What is deployed for one attempt at a trial, before it is written as Kubernetes objects."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tuner.domain.cluster import ClusterOptions, ModelBucket
from tuner.domain.cost import Footprint, Term
from tuner.domain.deployment import ModelRef
from tuner.domain.errors import UsageError
from tuner.domain.space import Configuration, SearchSpace
from tuner.domain.spec import StudySpec
from tuner.manifests.cluster.gpu_sharing import GpuPatch, ShareAsk, ask_for_share
from tuner.manifests.cluster.naming import Coordinator, TrialId
from tuner.manifests.cluster.placement import Placement, gpu_nodes, term_nodes
from tuner.manifests.cluster.quantities import cpu_quantity, exact, memory_quantity
from tuner.manifests.config_pbtxt import BATCHING_KNOBS

CLUSTER_KNOBS = (
    "cpu_cores",
    "memory_gib",
    "gpu_type",
    "gpu_memory_share",
    "variant",
    "intra_op_threads",
    *BATCHING_KNOBS,
)
CLUSTER_PREFIXES = ("env.", "arg.")
SERVER = "server"
"""The serving container's name where the user has no template."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedTrial:
    """`config_pbtxt` is the rendered text; empty: the model's own stands. `expires_at` is RFC 3339.

    `http_port`, and the two after it (gRPC, metrics), are the server's; on the host's network each trial has its own.
    `beside_others`: other trials may run at the same time, of this study or of another.
    `coordinator` holds the study's lease; None for objects that somebody applies by hand.
    """

    id: TrialId
    configuration: Configuration
    footprint: Footprint
    term: Term
    model: ModelRef
    expires_at: str
    config_pbtxt: str = ""
    http_port: int = 8000
    beside_others: bool = False
    coordinator: Coordinator | None = None

    def __post_init__(self) -> None:
        refuse_unknown_knobs(name for name, _ in self.configuration.settings)

    @property
    def gpu_type(self) -> str:
        """Empty: no GPU."""
        return self.configuration.text("gpu_type", self.footprint.gpu_type)

    @property
    def gpu_share(self) -> float:
        return self.configuration.number("gpu_memory_share", self.footprint.gpu_memory_share)

    @property
    def variant(self) -> str:
        return self.configuration.text("variant", "")


def served_trial(
    spec: StudySpec,
    configuration: Configuration,
    *,
    trial: int,
    expires_at: str,
    attempt: int = 1,
    config_pbtxt: str = "",
    http_port: int = 8000,
    coordinator: Coordinator | None = None,
) -> ServedTrial:
    """One attempt at a study's configuration. Raises UsageError for a knob that no cluster can set."""
    return ServedTrial(
        id=TrialId(study=spec.name, trial=trial, attempt=attempt),
        configuration=configuration,
        footprint=spec.pricing.footprint,
        term=spec.pricing.book.term,
        model=spec.model,
        expires_at=expires_at,
        config_pbtxt=config_pbtxt,
        http_port=http_port,
        # One at a time is not alone: another study may run in the same namespace.
        beside_others=True,
        coordinator=coordinator,
    )


def refuse_unknown_knobs(names: Iterable[str]) -> None:
    """Raises UsageError: a knob that turns nothing would be a silent fallback."""
    unknown = [name for name in names if name not in CLUSTER_KNOBS and not name.startswith(CLUSTER_PREFIXES)]
    if unknown:
        known = ", ".join((*CLUSTER_KNOBS, *(f"{prefix}NAME" for prefix in CLUSTER_PREFIXES)))
        raise UsageError(f"the Kubernetes runner cannot set {', '.join(unknown)}", hint=f"it sets {known}")


def refuse_unrendered(trial: ServedTrial) -> None:
    """Raises UsageError where knobs of config.pbtxt are tuned, and nobody rendered one."""
    lost = [name for name, _ in trial.configuration.settings if name in (*BATCHING_KNOBS, "intra_op_threads")]
    if lost and not trial.config_pbtxt:
        raise UsageError(
            f"{', '.join(lost)} would change nothing: there is no config.pbtxt to write them into",
            hint="the study needs the model's file or repository, or leave them out of the knobs",
        )


def gpu_patch(options: ClusterOptions, trial: ServedTrial) -> GpuPatch | None:
    """What the pod says to get its share of a GPU; None where it needs none. Raises UsageError."""
    if not trial.gpu_type:
        return None
    gpu = options.gpu(trial.gpu_type)
    if gpu is None:
        listed = ", ".join(one.name for one in options.gpus) or "none is listed"
        raise UsageError(
            f"the cluster's section says nothing of the GPU type {trial.gpu_type}",
            hint=f"write gpus.{trial.gpu_type}; there: {listed}",
        )
    container = options.base.container if options.base else SERVER
    return ask_for_share(ShareAsk(gpu=gpu, share=exact(trial.gpu_share), sharing=options.sharing, container=container))


def placement(options: ClusterOptions, trial: ServedTrial, patch: GpuPatch | None) -> Placement:
    """The nodes that have what the trial is priced for. Raises UsageError."""
    nodes = term_nodes(options, trial.term)
    gpu = options.gpu(trial.gpu_type)
    return nodes if patch is None or gpu is None else gpu_nodes(options, gpu, patch) + nodes


def model_path(options: ClusterOptions, trial: ServedTrial) -> str:
    """Where in its source the model's version lies. Raises UsageError where a variant would not be heeded."""
    if options.model is None:
        return _unvaried("", options, trial)
    path = options.model.url if isinstance(options.model, ModelBucket) else options.model.path
    if "{variant}" not in path:
        return _unvaried(path, options, trial)
    if not trial.variant:
        raise UsageError("the model's path has {variant}, and no knob of that name", hint="add variant to knobs")
    return path.replace("{variant}", trial.variant)


def _unvaried(path: str, options: ClusterOptions, trial: ServedTrial) -> str:
    if trial.variant and options.engine is None:
        raise UsageError("the knob variant changes nothing", hint="write {variant} into the model's path")
    return path


def resources(options: ClusterOptions, trial: ServedTrial, patch: GpuPatch | None) -> dict[str, str]:
    """The limits of the serving container, which are its requests as well. Raises UsageError."""
    limits = {"cpu": cpu_quantity(trial.configuration.number("cpu_cores", trial.footprint.cpu_cores))}
    memory_gib = trial.configuration.number("memory_gib", trial.footprint.memory_gib)
    if memory_gib:
        if exact(memory_gib) * 1024 <= options.shared_memory_mib and options.base is None:
            raise UsageError(
                f"memory_gib {memory_gib:g} leaves nothing beside {options.shared_memory_mib} MiB of shared memory",
                hint="lower shared_memory_mib",
            )
        limits["memory"] = memory_quantity(memory_gib)
    return limits | dict(patch.limits if patch else ())


def refuse_impossible(options: ClusterOptions, space: SearchSpace, footprint: Footprint, term: Term) -> None:
    """Raises UsageError for the first amount or share of the space that the cluster cannot be asked for.

    Looks at each combination of the knobs that matter here once, so it is fast for large spaces.
    """
    refuse_unknown_knobs(knob.name for knob in space.knobs)
    asked = ("cpu_cores", "memory_gib", "gpu_type", "gpu_memory_share", "variant")
    few = SearchSpace(knobs=tuple(knob for knob in space.knobs if knob.name in asked))
    for configuration in few:
        trial = ServedTrial(
            id=TrialId(study="", trial=0),
            configuration=configuration,
            footprint=footprint,
            term=term,
            model=ModelRef(name=""),
            expires_at="",
        )
        patch = gpu_patch(options, trial)
        placement(options, trial, patch)
        resources(options, trial, patch)
        model_path(options, trial)
