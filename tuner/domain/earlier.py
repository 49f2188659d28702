"""What earlier studies measured, as a new study may use it: chosen, judged by the new objectives, and frozen."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tuner.domain.histogram import LatencyCounts
from tuner.domain.measurement import Measurement
from tuner.domain.slo import GOODPUT, PERCENT, Slo, Tally
from tuner.domain.spec import StudySpec
from tuner.domain.trial import Failed, Infeasible, Level, Measured, Trial

MOST_STUDIES = 4
MOST_TRIALS = 100
# Facts of a deployment that latencies depend on, whatever the specification says. Of a driver, the major version.
DRIVER = "gpu_driver"
COMPARED = ("triton", "gpu", DRIVER, "gpu_mig")
NOTHING_COUNTED = LatencyCounts(counts=())


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierStudy:
    """Another study of the storage. `trials` are judged by the objectives of the study that uses them."""

    spec: StudySpec
    trials: tuple[Trial, ...]
    same_model: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmStart:
    """What a study began with, written into it once: its suggestions rest on it for good."""

    studies: tuple[EarlierStudy, ...] = ()


NOTHING_EARLIER = WarmStart()


def same_model(one: StudySpec, other: StudySpec) -> bool:
    """Whether both serve the same content by the same kind of server.

    The content is the model's digest, and for a runner without one (the simulation) its name and the runner's options.
    """
    if (one.runner.kind, one.runner.options) != (other.runner.kind, other.runner.options):
        return False
    if one.model.digest or other.model.digest:
        return one.model.digest == other.model.digest
    return one.model.name == other.model.name


def comparable(studies: Sequence[EarlierStudy], own: Sequence[Trial]) -> tuple[EarlierStudy, ...]:
    """The studies whose tests may count as this study's own, and those of other models.

    Not so where both say what served them and no server version, GPU or driver is common to both. What only one of
    them says, or this study before its first trial, excludes nothing.
    """
    here = _environment(own)
    return tuple(one for one in studies if not one.same_model or _alike(_environment(one.trials), here))


def _environment(trials: Iterable[Trial]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for trial in trials:
        if isinstance(trial.outcome, Measured):
            for name, text in trial.outcome.facts:
                found.setdefault(name, set()).add(text.split(".")[0] if name == DRIVER else text)
    return found


def _alike(one: Mapping[str, set[str]], other: Mapping[str, set[str]]) -> bool:
    return not any(name in one and name in other and one[name].isdisjoint(other[name]) for name in COMPARED)


def may_help(asked: StudySpec, stored: StudySpec) -> bool:
    """Whether the study asks to learn from this one: by name, or by `auto` because it served the same model."""
    if stored.name == asked.name:
        return False
    wanted = asked.search.warm_start
    return same_model(stored, asked) if wanted == "auto" else stored.name in wanted


def warm_start(asked: StudySpec, stored: Iterable[tuple[StudySpec, Sequence[Trial]]]) -> WarmStart:
    """What these studies, newest last, tell the one that asks; studies without a usable trial are left out."""
    studies = [
        EarlierStudy(spec=spec, trials=usable(trials, asked, spec), same_model=same_model(spec, asked))
        for spec, trials in stored
    ]
    return WarmStart(studies=tuple(study for study in studies if study.trials)[-MOST_STUDIES:])


def usable(trials: Sequence[Trial], asked: StudySpec, earlier: StudySpec) -> tuple[Trial, ...]:
    """The latest trials that say something, judged by the objectives asked for; counts are dropped after that."""
    told = [again for trial in trials if (again := _usable_trial(trial, asked, earlier)) is not None]
    return tuple(told[-MOST_TRIALS:])


def _usable_trial(trial: Trial, asked: StudySpec, earlier: StudySpec) -> Trial | None:
    match trial.outcome:
        case Failed():
            return None
        case Infeasible():
            return trial
        case Measured(levels=levels, facts=facts):
            again = [
                Level(replicas=level.replicas, measurement=judged_by(level.measurement, asked.slos)) for level in levels
            ]
            kept = tuple(level for level in again if _comparable(level.measurement, asked, earlier))
            return replace(trial, outcome=Measured(levels=kept, facts=facts)) if kept else None


def _comparable(measurement: Measurement, asked: StudySpec, earlier: StudySpec) -> bool:
    """False where answers were given up on that the new objectives would have waited for."""
    endless = any(math.isinf(tally.observed) for tally in measurement.tallies)
    return not endless or earlier.timeout_s >= asked.timeout_s


def judged_by(measurement: Measurement, slos: Sequence[Slo]) -> Measurement:
    """The same window under other objectives, from its latency counts.

    How alike neighbours are is known for the objectives of then only: the largest of those design effects stands in.
    """
    effect = max((tally.design_effect for tally in measurement.tallies), default=1.0)
    tallies = tuple(recounted(measurement.counts, slo, slos, effect=effect) for slo in slos)
    return replace(measurement, tallies=tallies, counts=NOTHING_COUNTED)


def recounted(counts: LatencyCounts, slo: Slo, slos: Sequence[Slo], *, effect: float) -> Tally:
    """The evidence on one objective that latency counts hold; how alike neighbours are they do not tell."""
    limits_ms = [other.max for other in slos if other.indicator in PERCENT]
    limit_ms = (
        slo.max if slo.indicator in PERCENT else min(limits_ms) if slo.indicator == GOODPUT and limits_ms else math.inf
    )
    late = sum(count for latency_us, count in counts.counts if latency_us / 1000.0 > limit_ms)
    bad = counts.failed + late
    percent = PERCENT.get(slo.indicator)
    observed = bad / counts.total if percent is None else counts.percentile_ms(percent)
    return Tally(slo=slo, requests=counts.total, bad=bad, observed=observed, design_effect=effect)
