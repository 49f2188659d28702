"""What a measurement depends on, field by field: from the narrowest to the widest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tuner.domain.cost import Price
from tuner.domain.errors import UsageError
from tuner.domain.slo import Slo
from tuner.domain.space import Configuration
from tuner.domain.spec import StudySpec

# Facts of a deployment by the field they belong to; a driver or a GPU is absent where there is none.
SERVER_FACTS = ("triton", "nvidia-pytriton", "server")
ENGINE_FACTS = ("onnxruntime", "tensorrt", "numpy")
DRIVER_FACTS = ("gpu_driver",)
GPU_FACTS = ("gpu", "gpu_mig", "gpu_power_limit_w")
MACHINE_FACTS = ("machine", "node", "cpu_enforcement", "runner")
BY_FACTS = {
    "engine": ENGINE_FACTS,
    "server": SERVER_FACTS,
    "driver": DRIVER_FACTS,
    "gpu": GPU_FACTS,
    "machine": MACHINE_FACTS,
}
# Narrowest first: the first one that differs is named when something got worse.
FIELDS = ("configuration", "model", "runner", *BY_FACTS, "load", "slos", "prices", "tool")
MEASURED_ON = ("local", "simulated")
ASKED = ("load", "slos")
SERVED_BY = tuple(BY_FACTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """A value for each of FIELDS; empty where nobody could say."""

    configuration: str
    model: str
    runner: str
    engine: str
    server: str
    driver: str
    gpu: str
    machine: str
    load: str
    slos: str
    prices: str
    tool: str

    def value(self, field: str) -> str:
        return str(getattr(self, field))


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One field in which two fingerprints differ."""

    field: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.field}: {self.before or 'unknown'} -> {self.after or 'unknown'}"


def fingerprint_of(
    spec: StudySpec,
    configuration: Configuration,
    facts: Sequence[tuple[str, str]],
    prices: Sequence[Price],
    *,
    tool: str,
) -> Fingerprint:
    """Of one configuration of a study, as a deployment with these facts served it."""
    return Fingerprint(
        configuration=str(configuration),
        model=model_identity(spec),
        runner=runner_text(spec),
        load=load_digest(spec),
        slos=slo_text(spec.slos),
        prices=price_digest(prices),
        tool=tool,
        **facts_by_field(facts),
    )


def facts_by_field(facts: Sequence[tuple[str, str]]) -> dict[str, str]:
    """What a deployment says of what served it, gathered by field."""
    told = dict(facts)
    return {
        field: "; ".join(f"{name} {told[name]}" for name in names if name in told) for field, names in BY_FACTS.items()
    }


def model_identity(spec: StudySpec) -> str:
    """The model by its content; in a simulation, which has none, by what describes it."""
    if spec.model.digest:
        return f"{spec.model.name} {spec.model.digest}"
    return f"{spec.model.name} simulated {_digest([list(option) for option in spec.runner.options])}"


def runner_text(spec: StudySpec) -> str:
    """What serves beside the knobs: the runner's own options, and what one replica occupies."""
    footprint = spec.pricing.footprint
    options = f"options {_digest([list(option) for option in spec.runner.options])}, " if spec.runner.options else ""
    gpu = f", {footprint.gpu_memory_share:g} of a {footprint.gpu_type}" if footprint.gpu_type else ""
    return f"{options}{footprint.cpu_cores:g} cores, {footprint.memory_gib:g} GiB{gpu}"


def refuse_unknown_place(spec: StudySpec) -> None:
    """Raises UsageError on a cluster: no field of the fingerprint says which image and node settings served there."""
    if spec.runner.kind not in MEASURED_ON:
        raise UsageError(
            f"the gate cannot tell two deployments of runner {spec.runner.kind} apart",
            hint="it measures with the runners local and simulated only",
        )


def load_digest(spec: StudySpec) -> str:
    """How requests come and what they hold, and on which kind of runner; not how many, nor for how long."""
    load = asdict(spec.load)
    kept = {key: load[key] for key in ("arrivals", "protocol", "payload")}
    return f"{spec.runner.kind} {_digest(kept)}"


def slo_text(slos: Sequence[Slo]) -> str:
    return "; ".join(str(slo) for slo in slos)


def price_digest(prices: Sequence[Price]) -> str:
    return _digest([[p.resource, p.sku, p.term, p.price_per_hour] for p in prices])


def differences(before: Fingerprint, after: Fingerprint, fields: Sequence[str] = FIELDS) -> tuple[Difference, ...]:
    """Where two differ, narrowest first. What one of them does not know, differs from what the other does."""
    pairs = ((field, before.value(field), after.value(field)) for field in fields)
    return tuple(Difference(field=field, before=one, after=other) for field, one, other in pairs if one != other)


def configuration_difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """The knobs that differ, in words; empty where none does."""
    names = sorted(before.keys() | after.keys())
    return ", ".join(
        f"{name} {before.get(name, 'not set')} -> {after.get(name, 'not set')}"
        for name in names
        if before.get(name) != after.get(name)
    )


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()[:16]}"
