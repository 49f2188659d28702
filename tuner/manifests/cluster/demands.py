"""What the trials of a study ask of a cluster: every size of pod once, and what a quota counts of a trial."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from tuner.domain.cluster import ClusterOptions
from tuner.domain.space import SearchSpace
from tuner.domain.spec import StudySpec
from tuner.manifests.cluster.gpu_sharing import GpuPatch
from tuner.manifests.cluster.placement import Placement
from tuner.manifests.cluster.quantities import exact, parse_quantity
from tuner.manifests.cluster.scheduling import pod_requests
from tuner.manifests.cluster.server_pod import server_template
from tuner.manifests.cluster.trial import ServedTrial, gpu_patch, placement, served_trial
from tuner.manifests.plain import PlainObject, object_at

SIZES = ("cpu_cores", "memory_gib", "gpu_type", "gpu_memory_share", "variant")
NO_SUCH_TRIAL = 999_999


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """One size of server: the trial, its pod, and how it asks for its GPU and its nodes."""

    trial: ServedTrial
    pod: PlainObject
    patch: GpuPatch | None
    placement: Placement


@dataclass(frozen=True, slots=True)
class Shortage:
    """What of a quota does not suffice: of its whole (`hard`), or of what is left of it now."""

    name: str
    asked: Fraction
    hard: Fraction
    used: Fraction


def demands(spec: StudySpec, options: ClusterOptions) -> Iterator[Demand]:
    """Every combination of the knobs that matter to a scheduler, once. Raises UsageError."""
    for configuration in SearchSpace(knobs=tuple(knob for knob in spec.space.knobs if knob.name in SIZES)):
        trial = served_trial(spec, configuration, trial=NO_SUCH_TRIAL, expires_at="2000-01-01T00:00:00Z")
        patch = gpu_patch(options, trial)
        pod = server_template(options, trial)
        yield Demand(trial=trial, pod=pod, patch=patch, placement=placement(options, trial, patch))


def counted(demand: Demand, options: ClusterOptions) -> dict[str, Fraction]:
    """A trial's server and load together, by the names that quotas count under."""
    load, pods = options.load, options.load.workers + 1
    asked = pod_requests(demand.pod)
    asked["cpu"] = asked.get("cpu", Fraction(0)) + pods * exact(load.cpu_cores)
    asked["memory"] = asked.get("memory", Fraction(0)) + pods * exact(load.memory_gib) * 2**30
    names: dict[str, Fraction] = {"pods": Fraction(pods + 1)}
    for resource, amount in asked.items():
        names[f"requests.{resource}"] = amount
        # Limits are requests, everywhere; only those two may be counted by their bare names.
        if resource in {"cpu", "memory"}:
            names |= {resource: amount, f"limits.{resource}": amount}
    return names | {"count/deployments.apps": Fraction(1), "count/jobs.batch": Fraction(2)}


def shortages(quota: PlainObject, asked: dict[str, Fraction]) -> tuple[Shortage, ...]:
    """What of the quota one trial needs and does not find, worst first."""
    hard, used = (object_at(quota, "status", part) for part in ("hard", "used"))
    found = []
    for name, amount in asked.items():
        limit = parse_quantity(str(hard[name])) if name in hard else None
        if limit is not None and amount > limit - (in_use := parse_quantity(str(used.get(name, "0"))) or Fraction(0)):
            found.append(Shortage(name=name, asked=amount, hard=limit, used=in_use))
    return tuple(sorted(found, key=lambda one: one.asked <= one.hard))
