"""Everything a page shows, as plain frozen values: raw numbers with their text beside them.

A page can be rebuilt from the study file and the history alone; the template only loops and chooses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports.alternatives import Alternative, Cheaper, cheaper_than, next_dearer, objective_text, percentile_name
from reports.answer import Answer, answer_of
from reports.explained import Explained, explained, warm_text
from reports.numbers import Quantity, Rounding, count, duration, rate, rounding_for, share, shortened
from reports.trial_rows import TrialRow, main_objective, time_spent, trial_rows
from tuner.domain.earlier import NOTHING_EARLIER, WarmStart
from tuner.domain.explanation import Explanation
from tuner.domain.recommendation import Conclusion
from tuner.domain.slo import CONFIDENCE, PERCENT, Slo
from tuner.domain.space import Configuration
from tuner.domain.spec import StudySpec
from tuner.domain.trial import Measured, Search, Trial, studied_s

NAME_LENGTH = 120
COMMAND_LENGTH = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What the study cannot say of itself: the command that makes this page again, and what it ran under."""

    command: str
    versions: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Fact:
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class PriceRow:
    resource: str
    per_hour: str
    term: str
    as_of: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """What the figures need beside the rows: the judged percentile, its limit, and the load one replica gets."""

    percentile: str
    limit: Quantity | None
    currency: str
    recommended_rps: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyReport:
    """One study, ready to be shown."""

    study: str
    subtitle: str
    answer: Answer
    cheaper: Cheaper
    dearer: tuple[Alternative, ...]
    explained: Explained | None
    knobs: tuple[str, ...]
    trials: tuple[TrialRow, ...]
    tally: str
    axes: Axes
    method: tuple[Fact, ...]
    provenance: tuple[Fact, ...]
    prices: tuple[PriceRow, ...]
    versions: tuple[Fact, ...]
    command: str


def study_report(
    spec: StudySpec,
    trials: Sequence[Trial],
    conclusion: Conclusion | None,
    provenance: Provenance,
    *,
    explanation: Explanation | None = None,
    warm: WarmStart = NOTHING_EARLIER,
) -> StudyReport:
    """The report of a study at any point of its life; `conclusion` is None while it runs."""
    main = main_objective(spec.slos)
    rounding = _rounding(spec, trials)
    answer = answer_of(spec, trials, conclusion, rounding)
    candidate = answer.candidate
    bought = None if candidate is None or answer.state == "nothing" else candidate
    marked = None if candidate is None else (candidate.configuration, candidate.replicas)
    return StudyReport(
        study=shortened(spec.name, NAME_LENGTH),
        subtitle=_subtitle(spec),
        answer=answer,
        cheaper=cheaper_than(spec, trials, bought, rounding),
        dearer=() if bought is None else next_dearer(trials, bought, rounding, main),
        explained=None if bought is None or explanation is None else explained(explanation, bought, rounding),
        knobs=_moving_knobs(spec, trials),
        trials=trial_rows(spec, trials, rounding, bought=marked),
        tally=_tally(trials),
        axes=_axes(spec, main, rounding, None if candidate is None else candidate.replicas),
        method=_method(spec, warm),
        provenance=_provenance(spec, trials, marked),
        prices=_prices(spec),
        versions=tuple(Fact(shortened(name, 60), shortened(text, NAME_LENGTH)) for name, text in provenance.versions),
        command=shortened(provenance.command, COMMAND_LENGTH),
    )


def _rounding(spec: StudySpec, trials: Sequence[Trial]) -> Rounding:
    return rounding_for(
        currency=shortened(spec.pricing.book.currency, 12),
        limits_ms=[slo.max for slo in spec.slos if slo.indicator in PERCENT],
        costs_per_hour=[trial.unit_cost_per_hour for trial in trials],
    )


def _subtitle(spec: StudySpec) -> str:
    objectives = " and ".join(objective_text(slo) for slo in spec.slos)
    kind = spec.load.arrivals if isinstance(spec.load.arrivals, str) else spec.load.arrivals.kind
    arrivals = f"{'Poisson' if kind == 'poisson' else kind} arrivals"
    model = shortened(spec.model.name, NAME_LENGTH)
    return f"{model}, {rate(spec.load.target_rps).text} requests per second, {arrivals}, {objectives}"


def _moving_knobs(spec: StudySpec, trials: Sequence[Trial]) -> tuple[str, ...]:
    """Knobs with a choice; the others are the same in every row and told once, under method."""
    moving = {knob.name for knob in spec.space.knobs if len(knob.values) > 1}
    seen = {name for trial in trials for name, _ in trial.configuration.settings}
    return tuple(shortened(name, 60) for name in sorted(moving & seen))


def _tally(trials: Sequence[Trial]) -> str:
    """`12 search trials and 3 proofs in 4 min 10 s: ...`."""
    search = sum(isinstance(trial.purpose, Search) for trial in trials)
    proofs = len(trials) - search
    parts = [count(search, "search trial")] + ([count(proofs, "proof deployment")] if proofs else [])
    spent = time_spent([trial.phases for trial in trials])
    total = duration(studied_s(trials))
    where = ", ".join(f"{text} {name}" for name, text in spent)
    summed = " (several at once; added up" if any(trial.began_s is not None for trial in trials) else ""
    told = f"{summed}: {where})" if summed else f": {where}"
    return f"{' and '.join(parts)} in {total}{told}" if trials else "no trial yet"


def _axes(spec: StudySpec, main: Slo | None, rounding: Rounding, replicas: int | None) -> Axes:
    return Axes(
        percentile="p99" if main is None else percentile_name(main),
        limit=None if main is None else Quantity(main.max, f"{main.max:g}"),
        currency=rounding.currency,
        recommended_rps=None if replicas is None else spec.required_rps / replicas,
    )


def _method(spec: StudySpec, warm: WarmStart) -> tuple[Fact, ...]:
    load, confirm = spec.load, spec.confirm
    fixed = [knob for knob in spec.space.knobs if len(knob.values) == 1]
    facts = [
        Fact("Objectives", ", ".join(objective_text(slo) for slo in spec.slos)),
        Fact(
            "Load",
            f"open loop, {load.arrivals} arrivals, {rate(load.target_rps).text} rps wanted; "
            f"with {share(spec.headroom)} headroom {rate(spec.required_rps).text} rps offered to all replicas together",
        ),
        Fact(
            "Search trial",
            f"{load.warmup_s:g} s warm-up, {load.window_s:g} s window; "
            f"answers later than {spec.timeout_s:g} s count as failed",
        ),
        Fact(
            "Proof", f"{count(confirm.repeats, 'fresh deployment')}, {confirm.window_s:g} s window each, counts pooled"
        ),
        Fact(
            "Latency",
            "from the moment a request was due, not from when it was sent; nearest-rank percentiles; "
            "a failed request is infinitely late; percentiles are never averaged",
        ),
        Fact(
            "Verdict",
            f"exact binomial bound at {CONFIDENCE * 100:g} % confidence on counts divided by the design effect, which "
            "allows for neighbouring requests being alike; a search trial only screens: certain miss, or plausible",
        ),
        Fact("Cost", "whole replicas at the dated prices below; a month has 730 hours"),
        Fact(
            "Search space",
            f"{count(len(spec.space), 'configuration')}, up to {count(spec.max_replicas, 'replica')}; "
            f"budget {count(spec.budget.trials, 'trial')} or {duration(spec.budget.wall_time_s)}",
        ),
        Fact("Optimizer", f"{spec.search.optimizer}, seed {spec.search.seed}"),
    ]
    if warm.studies:
        facts.append(Fact("Learned from", warm_text(warm)))
    if fixed:
        facts.append(Fact("Fixed", ", ".join(shortened(f"{knob.name} {knob.values[0]}", 200) for knob in fixed)))
    return tuple(facts)


def _provenance(spec: StudySpec, trials: Sequence[Trial], marked: tuple[Configuration, int] | None) -> tuple[Fact, ...]:
    model = spec.model
    facts = [
        Fact("Model", shortened(model.name, NAME_LENGTH)),
        Fact("Model content", shortened(model.digest, NAME_LENGTH)),
        Fact("Runner", spec.runner.kind),
        Fact("Study fingerprint", shortened(spec.fingerprint, NAME_LENGTH)),
    ]
    if trials:
        facts.append(Fact("First trial", shortened(trials[0].started_at, NAME_LENGTH)))
        facts.append(Fact("Last trial", shortened(trials[-1].started_at, NAME_LENGTH)))
    server = _server_facts(trials, marked)
    return tuple(fact for fact in facts if fact.text) + server


def _server_facts(trials: Sequence[Trial], marked: tuple[Configuration, int] | None) -> tuple[Fact, ...]:
    """What the runner reported of the deployment the page is about, else of the last one that served."""
    served = [(trial.configuration, trial.outcome.facts) for trial in trials if isinstance(trial.outcome, Measured)]
    own = [facts for configuration, facts in served if facts and marked is not None and configuration == marked[0]]
    chosen = own or [facts for _, facts in served] or [()]
    return tuple(Fact(shortened(name, 60), shortened(text, NAME_LENGTH)) for name, text in chosen[-1])


def _prices(spec: StudySpec) -> tuple[PriceRow, ...]:
    """The rows of the price book that this study buys under; the newest of each resource counts."""
    book = spec.pricing.book
    wanted = {(price.resource, price.sku) for price in book.prices if price.term == book.term}
    newest = [book.price(resource, sku) for resource, sku in sorted(wanted)]
    names = {"cpu_core": "CPU core", "memory_gib": "GiB of memory", "gpu": "GPU"}
    return tuple(
        PriceRow(
            resource=shortened(f"{names[price.resource]} {price.sku}", 60),
            per_hour=f"{price.price_per_hour:g}",
            term=price.term.replace("_", " "),
            as_of=shortened(price.as_of, 30),
            source=shortened(price.source, 200),
        )
        for price in newest
    )
