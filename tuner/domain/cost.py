"""Money: what one replica of a configuration costs per hour under a dated price book."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from tuner.domain.errors import UsageError
from tuner.domain.space import Configuration

Term = Literal["on_demand", "spot", "reserved", "owned"]
Resource = Literal["cpu_core", "memory_gib", "gpu"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """One row: money per hour for one unit of a resource. `sku` names the GPU type, and is empty otherwise."""

    resource: Resource
    sku: str
    term: Term
    price_per_hour: float
    as_of: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceBook:
    """Prices in one currency (already converted), and the term a study buys under."""

    currency: str
    term: Term
    prices: tuple[Price, ...]

    def price(self, resource: Resource, sku: str = "") -> Price:
        """The newest price of a resource under this term. Raises UsageError: an unknown price is never 0."""
        found = [p for p in self.prices if (p.resource, p.sku, p.term) == (resource, sku, self.term)]
        if not found:
            name = f"{resource} {sku}".strip()
            raise UsageError(
                f"the price book has no {self.term} price for {name}", hint="add a row, or change the term"
            )
        return max(found, key=lambda p: p.as_of)


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What one replica occupies, where a knob does not say so: the study's fixed amounts."""

    cpu_cores: float = 1.0
    memory_gib: float = 0.0
    gpu_type: str = ""
    gpu_memory_share: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pricing:
    """Cost as a known function of the configuration."""

    book: PriceBook
    footprint: Footprint

    def unit_cost_per_hour(self, configuration: Configuration) -> float:
        """Money per hour for one replica: cores, memory, and the share of one GPU. Raises UsageError."""
        cores = configuration.number("cpu_cores", self.footprint.cpu_cores)
        memory_gib = configuration.number("memory_gib", self.footprint.memory_gib)
        gpu_type = configuration.text("gpu_type", self.footprint.gpu_type)
        share = configuration.number("gpu_memory_share", self.footprint.gpu_memory_share)
        cost = cores * self.book.price("cpu_core").price_per_hour
        if memory_gib:
            cost += memory_gib * self.book.price("memory_gib").price_per_hour
        if gpu_type:
            cost += share * self.book.price("gpu", gpu_type).price_per_hour
        return cost


def required_rps(target_rps: float, headroom: float) -> float:
    """The load the replicas together must carry so that a share `headroom` of it stays unused at the target."""
    return target_rps / (1.0 - headroom)


def replicas_at_least(required: float, carried_rps: float) -> int:
    """Whole replicas below which the required load certainly does not fit, given what one was seen to carry."""
    return max(1, math.ceil(required / carried_rps - 1e-9)) if carried_rps > 0 else 1
