"""What a study cannot know of where its answer goes, and what each file says of where it comes from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tuner.domain.cost import Price
from tuner.domain.deployable import Deployable
from tuner.domain.deployment import ModelRef
from tuner.domain.errors import UsageError
from tuner.domain.space import shown

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
MOST_CHARACTERS = 52
"""Of a name, so that what is added to it still fits into 63."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportPlace:
    """Names and addresses by the user; empty: not stated. Bounds of a scaler: None where they are not stated."""

    name: str = ""
    namespace: str = ""
    image: str = ""
    container: str = ""
    repository: str = ""
    model_format: str = ""
    prometheus: str = ""
    rate_metric: str = "nv_inference_request_success"
    least: int | None = None
    most: int | None = None
    predictor: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """The content of one file. `notes`: what nobody measured or stated, and is not in it, and what to heed."""

    content: str | bytes
    notes: tuple[str, ...] = ()


def needed(value: str, option: str, what: str) -> str:
    """The value. Raises UsageError where it was not stated: a guess would be somebody else's name."""
    if not value:
        raise UsageError(f"nothing says {what}", hint=f"add {option}")
    return value


def object_name(place: ExportPlace, model: ModelRef) -> str:
    """The stated name, else the model's as far as it may be one. Raises UsageError for what Kubernetes would refuse."""
    if not place.name:
        plain = re.sub(r"[^a-z0-9]+", "-", model.name.lower()).strip("-")
        return plain[:MOST_CHARACTERS].strip("-") or "model"
    if not _LABEL.fullmatch(place.name) or len(place.name) > MOST_CHARACTERS:
        raise UsageError(
            f"{place.name!r} cannot name a Deployment",
            hint=f"lower-case letters, digits and '-', at most {MOST_CHARACTERS}",
        )
    return place.name


def provenance(of: Deployable, prices: tuple[Price, ...]) -> tuple[str, ...]:
    """Where a file comes from, a line each: the first says whether it is proven."""
    settings = ", ".join(f"{name}={shown(value)}" for name, value in of.configuration.settings)
    where = " in simulation, on no real server" if of.simulated else ""
    measured = f", last measured {of.as_of}" if of.as_of else ""
    first = (
        f"NOT PROVEN{where}: {of.unproven}" if of.unproven else f"proven on {of.deployments} fresh deployments{where}"
    )
    book = of.pricing.book
    dates = sorted({price.as_of for price in prices})
    dated = f"prices of {dates[0]}" if len(dates) == 1 else f"prices of {dates[0]} to {dates[-1]}"
    return (
        f"study {of.study}: {first}{measured}",
        f"{settings}; {of.replicas} replica{'s' if of.replicas > 1 else ''}"
        f" for {of.target_rps:g} rps with {of.headroom:.0%} headroom",
        f"{of.cost_per_hour:.4f} {book.currency} per hour, {of.cost_per_month:.2f} per month"
        f" ({book.term.replace('_', ' ')}, {dated})",
    )


def unknowns(of: Deployable) -> Iterator[str]:
    """What no file can say, because the study does not."""
    if of.simulated:
        yield "everything was measured in simulation: no real server was ever seen"
    elif of.runner == "local":
        yield "everything was measured on the study's own machine, not in a cluster"
    if not of.configuration.number("memory_gib", of.pricing.footprint.memory_gib):
        yield "memory was neither tuned nor stated"
    if of.cold_start_s is None:
        yield "the cold start was not measured"
    if of.capacity.high_rps is None:
        yield "no load was tried that one replica certainly does not carry"


def commented(lines: tuple[str, ...], notes: tuple[str, ...]) -> str:
    """The head of a text file whose comments begin with #."""
    told = [*lines, *(["notes:"] if notes else []), *(f"- {note}" for note in notes)]
    return "".join(f"# {' '.join(line.split())}\n" for line in told)
