"""What makes two studies' trials comparable, as a hash; and the first thing in which two studies differ."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any

from tuner.domain.cost import Price, Pricing
from tuner.domain.space import SearchSpace
from tuner.domain.spec import StudySpec


def fingerprint(spec: StudySpec) -> str:
    """SHA-256 (64 hex digits) over everything but the study's name, its budget, how many trials run at once, and where
    its files lie.
    """
    text = json.dumps(_comparable(spec), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def differing_part(one: StudySpec, other: StudySpec) -> str:
    """The top-level key of the study file whose change made the trials incomparable; empty if they are comparable."""
    left, right = _comparable(one), _comparable(other)
    return next((key for key in left if left[key] != right[key]), "")


def prices_used(pricing: Pricing, space: SearchSpace) -> tuple[Price, ...]:
    """The prices that the cost of this space's configurations rests on. Raises UsageError if one is missing."""
    knobs = {knob.name: knob.values for knob in space.knobs}
    gpu_types = [str(value) for value in knobs.get("gpu_type", (pricing.footprint.gpu_type,)) if value]
    used = [pricing.book.price("cpu_core")]
    if "memory_gib" in knobs or pricing.footprint.memory_gib:
        used.append(pricing.book.price("memory_gib"))
    return (*used, *(pricing.book.price("gpu", sku) for sku in gpu_types))


def _comparable(spec: StudySpec) -> dict[str, Any]:
    """Plain JSON values by top-level key of the study file."""
    prices = [[p.resource, p.sku, p.price_per_hour] for p in prices_used(spec.pricing, spec.space)]
    return {
        "model": {"name": spec.model.name, "digest": spec.model.digest},
        # Without what the runner does not have: older studies know nothing of it. Trials that run at once do not
        # disturb each other, so that they are worth as much as others.
        "runner": {
            key: value for key, value in asdict(spec.runner).items() if value is not None and key != "parallel_trials"
        },
        "knobs": [[knob.name, list(knob.values)] for knob in spec.space.knobs],
        "load": asdict(spec.load),
        "slos": [asdict(slo) for slo in spec.slos],
        "footprint": asdict(spec.pricing.footprint),
        "prices": {"currency": spec.pricing.book.currency, "term": spec.pricing.book.term, "prices": prices},
        "headroom": spec.headroom,
        "replicas": spec.max_replicas,
        "confirm": asdict(spec.confirm),
        # What a study began with is frozen in it, and its trials stay what they are: warm_start is not compared.
        "search": {"optimizer": spec.search.optimizer, "seed": spec.search.seed},
    }
