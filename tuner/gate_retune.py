"""`gate --retune`: the whole study anew, taught by what is in the storage; it may propose another lock file."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from tuner import __version__
from tuner.answer import Answer
from tuner.baseline_command import keeping_settings, locked_answer
from tuner.commands import tune_study
from tuner.domain.cost import required_rps
from tuner.domain.errors import BudgetRefused
from tuner.domain.recommendation import Evidence, Proven, Unproven
from tuner.domain.spec import StudySpec
from tuner.fingerprint import fingerprint
from tuner.gate.check import cost_metric, cost_of_load, slo_verdicts
from tuner.gate.cost import Bought, CostSplit, completed, split_cost
from tuner.gate.fingerprint import differences, fingerprint_of
from tuner.gate.lock import Lock, facts_of, prices_for
from tuner.gate.result import GateResult, MetricVerdict, Outcome, outcome_of
from tuner.gate.words import spec_diff, summary_of
from tuner.gate_order import GateOrder
from tuner.lock_file import write_lock

ENDINGS = {0: Outcome.PASSED, 4: Outcome.INCONCLUSIVE, 5: Outcome.NOTHING_FEASIBLE, 8: Outcome.BUDGET}


def retune(order: GateOrder, lock: Lock, spec: StudySpec, console: Console, *, quiet: bool) -> GateResult:
    """A study of today, by its date: one that was interrupted today goes on. Writes the proposed lock file.

    Raises BudgetRefused, InfrastructureError, UsageError, SpecError.
    """
    completed(lock.pricing, spec.pricing)
    refuse_budget(order, spec)
    anew = study_of_today(order, spec)
    answer = tune_study(anew, order.storage, console, access=order.access, quiet=quiet, verbose=False)
    proposed = _propose(order, lock, answer)
    conclusion = answer.conclusion
    evidence = conclusion.evidence if isinstance(conclusion, Proven | Unproven) else None
    outcome = ENDINGS[answer.exit_code]
    cost = None if evidence is None else _cost(lock, spec, evidence)
    metrics = () if cost is None else _metrics(lock, spec, cost)
    slos = slo_verdicts(evidence.tallies, evidence.counts) if evidence and evidence.runs else ()
    if outcome is Outcome.PASSED:
        outcome = outcome_of(metrics, slos)
    configuration = lock.configuration if evidence is None else evidence.candidate.configuration
    replicas = lock.spec.replicas if evidence is None else evidence.candidate.replicas
    facts = () if evidence is None else facts_of(evidence, answer.history)
    now = fingerprint_of(spec, configuration, facts, prices_for(spec.pricing, configuration), tool=__version__)
    reason = "" if isinstance(conclusion, Proven) else conclusion.reason
    return GateResult(
        mode="retune",
        study=lock.study,
        outcome=outcome,
        summary=reason or summary_of(outcome, metrics, slos),
        metrics=metrics,
        slos=slos,
        cost=cost,
        deployed=lock.fingerprint,
        candidate=now,
        differences=differences(lock.fingerprint, now),
        spec_change=spec_diff(lock, configuration, replicas),
        runs=(),
        notes=tuple([f"proposed another lock file: {proposed}"] if proposed else []),
        reproduce=order.reproduce,
        on_inconclusive=order.on_inconclusive,
    )


def _metrics(lock: Lock, spec: StudySpec, cost: CostSplit) -> tuple[MetricVerdict, ...]:
    """The cost; a higher load's part of it is no release's fault."""
    metric = cost_metric(lock, cost, by_load=cost_of_load(lock, spec.required_rps))
    return () if metric.level == "off" else (metric,)


def refuse_budget(order: GateOrder, spec: StudySpec) -> None:
    """Raises BudgetRefused where the study's own limit is above what the gate may take."""
    dearest = max(spec.pricing.unit_cost_per_hour(configuration) for configuration in spec.space)
    longest_s = min(order.max_duration_s, spec.budget.wall_time_s)
    cost = dearest * longest_s / 3600.0
    if order.max_cost is not None and cost > order.max_cost:
        raise BudgetRefused(
            f"{longest_s:g} s of the dearest configuration cost {cost:.4f}, more than {order.max_cost:g}",
            hint="raise --max-cost, or lower --max-duration",
        )


def study_of_today(order: GateOrder, spec: StudySpec) -> StudySpec:
    """The same study under another name, within the gate's time: the storage keeps what it was and what it is now."""
    wall_time_s = min(spec.budget.wall_time_s, order.max_duration_s)
    name = f"{spec.name[:40]}-retune-{datetime.now(UTC):%Y%m%d}"
    anew = replace(spec, name=name, budget=replace(spec.budget, wall_time_s=wall_time_s))
    return replace(anew, fingerprint=fingerprint(anew))


def _propose(order: GateOrder, lock: Lock, answer: Answer) -> Path | None:
    """The new lock file, where the answer is proven; it replaces nothing by itself."""
    proposed = locked_answer(answer.spec, answer.history, f"retune of {answer.spec.name}")
    if isinstance(proposed, tuple):
        return None
    path = order.propose or order.lock.with_name(f"{order.lock.name}.proposed")
    write_lock(path, replace(keeping_settings(proposed, lock), study=lock.study))
    return path


def _cost(lock: Lock, spec: StudySpec, evidence: Evidence) -> CostSplit:
    """Loads of the proofs stand in for capacities: each spec was proven at its own."""
    candidate = evidence.candidate
    then_rps = required_rps(lock.load.target_rps, lock.load.headroom)
    before = Bought(
        configuration=lock.configuration,
        footprint=lock.spec.footprint,
        replicas=lock.spec.replicas,
        required_rps=then_rps,
        carried_rps=then_rps / lock.spec.replicas,
    )
    after = Bought(
        configuration=candidate.configuration,
        footprint=spec.pricing.footprint,
        replicas=candidate.replicas,
        required_rps=spec.required_rps,
        carried_rps=spec.required_rps / candidate.replicas,
    )
    return split_cost(before, after, old=lock.pricing, new=spec.pricing)
