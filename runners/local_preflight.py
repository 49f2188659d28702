"""What the local runner can know before anything starts: that every configuration of a study can be deployed here."""

from __future__ import annotations

import os

from runners.cgroup_files import plan_cgroups
from runners.cpu_placement import place
from runners.local_knobs import refuse_unknown_knobs
from runners.local_runner import limits_of, refuse_what_affinity_cannot_do
from tuner.domain.cost import Footprint
from tuner.domain.space import Configuration, KnobValue, SearchSpace


def refuse_impossible(space: SearchSpace, footprint: Footprint) -> None:
    """Raises UsageError for a knob nobody turns, more cores than there are, and limits that cannot be enforced."""
    refuse_unknown_knobs(knob.name for knob in space.knobs)
    available = sorted(os.sched_getaffinity(0))
    for configuration in _that_differ_in_limits(space):
        limits = limits_of(configuration, footprint)
        place(limits.cpu_cores, available)
        if plan_cgroups("servetune-preflight", limits) is None:
            refuse_what_affinity_cannot_do(limits)


def _that_differ_in_limits(space: SearchSpace) -> tuple[Configuration, ...]:
    """One configuration per value of each knob that limits apply to; the rest does not matter here."""
    first = {knob.name: knob.values[0] for knob in space.knobs}
    varied: list[dict[str, KnobValue]] = [
        {**first, knob.name: value}
        for knob in space.knobs
        if knob.name in ("cpu_cores", "memory_gib")
        for value in knob.values
    ]
    return tuple(Configuration.of(settings) for settings in [first, *varied])
