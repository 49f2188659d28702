"""What the child process is told, as one line of JSON."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from tuner.domain.arrival_kinds import arrivals_from
from tuner.domain.deployment import Protocol, TensorSpec
from tuner.domain.load import LoadProfile, Payload
from tuner.domain.slo import Slo

START_UP_S = 60.0
GRACE_S = 15.0
COUNTING_S = 1e-5


def longest_s(profile: LoadProfile) -> float:
    """How long a run may take from its beginning on, before it is hopeless.

    At high rates locust's events wait for the end of the load, and take a few microseconds each.
    """
    counting_s = COUNTING_S * profile.offered_rps * profile.duration_s
    return profile.duration_s + profile.timeout_s + counting_s + GRACE_S


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """One run of load: where to, what, when, on which cores, and into which open file the samples go.

    Of `parts` workers this one sends every `parts`-th request of the schedule, from the `part`-th (from 0) on.
    """

    endpoint: str
    host: str
    protocol: Protocol
    model_name: str
    inputs: tuple[TensorSpec, ...]
    batched: bool
    profile: LoadProfile
    cpus: tuple[int, ...]
    result_descriptor: int
    part: int = 0
    parts: int = 1

    def to_json(self) -> str:
        """One line, without a line end."""
        return json.dumps(dataclasses.asdict(self))

    @staticmethod
    def from_json(text: str) -> LoadPlan:
        """The inverse of `to_json`. Raises ValueError, KeyError or TypeError on anything else."""
        fields = json.loads(text)
        inputs = (TensorSpec(**(tensor | {"shape": tuple(tensor["shape"])})) for tensor in fields["inputs"])
        profile = fields["profile"]
        payload = {key: _tuples(value) for key, value in profile["payload"].items()}
        slos = tuple(Slo(**slo) for slo in profile["slos"])
        arrivals = arrivals_from(profile["arrivals"])
        profile = LoadProfile(**(profile | {"payload": Payload(**payload), "arrivals": arrivals, "slos": slos}))
        return LoadPlan(**(fields | {"inputs": tuple(inputs), "profile": profile, "cpus": tuple(fields["cpus"])}))


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
