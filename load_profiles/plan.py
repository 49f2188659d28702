"""What the child process is told, as one line of JSON."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from tuner.domain.deployment import TensorSpec
from tuner.domain.load import LoadProfile, Payload


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """One run of load: where to, what, when, on which cores, and into which open file the samples go."""

    endpoint: str
    model_name: str
    inputs: tuple[TensorSpec, ...]
    batched: bool
    profile: LoadProfile
    cpus: tuple[int, ...]
    result_descriptor: int

    def to_json(self) -> str:
        """One line, without a line end."""
        return json.dumps(dataclasses.asdict(self))

    @staticmethod
    def from_json(text: str) -> LoadPlan:
        """The inverse of `to_json`. Raises ValueError, KeyError or TypeError on anything else."""
        fields = json.loads(text)
        inputs = (TensorSpec(**(tensor | {"shape": tuple(tensor["shape"])})) for tensor in fields["inputs"])
        payload = fields["profile"]["payload"]
        shape = None if payload["shape"] is None else tuple(payload["shape"])
        profile = LoadProfile(**(fields["profile"] | {"payload": Payload(**(payload | {"shape": shape}))}))
        return LoadPlan(**(fields | {"inputs": tuple(inputs), "profile": profile, "cpus": tuple(fields["cpus"])}))
