"""Whole studies for the reports' tests: small histories in which every kind of outcome occurs."""

from __future__ import annotations

from dataclasses import replace

from reports.study_report import Provenance, StudyReport, study_report
from tests.builders import P99_100_MS, a_level, a_trial
from tests.specs import a_spec
from tuner.domain.agenda import Finish, next_step
from tuner.domain.recommendation import Conclusion
from tuner.domain.slo import Slo
from tuner.domain.spec import StudySpec
from tuner.domain.trial import Confirmation, Failed, Infeasible, Measured, Search, Trial

NO_FAILURES = Slo(indicator="error_ratio", max=0.01)
SLOS = (P99_100_MS, NO_FAILURES)
PROVENANCE = Provenance(command="servetune report a-study -o report.html", versions=(("servetune", "0.1.0"),))


def a_told_spec(**changes: object) -> StudySpec:
    """Five search trials and up to three replicas; the grid of `a_spec`."""
    spec = a_spec(slos=SLOS, max_replicas=3, **changes)
    return replace(spec, budget=replace(spec.budget, trials=5))


def search_trials() -> tuple[Trial, ...]:
    """Too slow at 0.05, cannot serve at 0.05, failed at 0.10, plausible at 0.10 and at 0.20."""
    late = a_level(1, median_ms=400.0, failed=100, slos=SLOS)
    return (
        a_trial(0, configuration={"cpu_cores": 1, "max_batch_size": 1}, outcome=Measured(levels=(late,))),
        a_trial(1, configuration={"cpu_cores": 1, "max_batch_size": 8}, outcome=Infeasible(reason="out of memory")),
        a_trial(2, configuration={"cpu_cores": 2, "max_batch_size": 1}, outcome=Failed(error="port was taken")),
        a_trial(3, configuration={"cpu_cores": 2, "max_batch_size": 8}, outcome=_held(1)),
        a_trial(4, configuration={"cpu_cores": 4, "max_batch_size": 8}, outcome=_held(1)),
    )


def _held(replicas: int) -> Measured:
    return Measured(levels=(a_level(replicas, slos=SLOS),), facts=(("server", "a server 1.0"),))


def proof_trials() -> tuple[Trial, ...]:
    """Three fresh deployments of trial 3's configuration that pass."""
    return tuple(
        a_trial(
            5 + repeat,
            purpose=Confirmation(replicas=1, repeat=repeat),
            configuration={"cpu_cores": 2, "max_batch_size": 8},
            outcome=Measured(levels=(a_level(1, slos=SLOS, requests=2000, seed=10 + repeat),)),
        )
        for repeat in range(3)
    )


def conclusion_of(spec: StudySpec, trials: tuple[Trial, ...]) -> Conclusion:
    """What the loop itself would conclude from this history."""
    step = next_step(spec, trials)
    assert isinstance(step, Finish), step
    return step.conclusion


def a_proven_study() -> tuple[StudySpec, tuple[Trial, ...], Conclusion]:
    spec, trials = a_told_spec(), (*search_trials(), *proof_trials())
    return spec, trials, conclusion_of(spec, trials)


def a_proven_report() -> StudyReport:
    return study_report(*a_proven_study(), PROVENANCE)


def a_long_history(count: int) -> tuple[Trial, ...]:
    """Search trials of all kinds in turn, with facts and doubts."""
    kinds = search_trials()
    return tuple(
        replace(kinds[number % len(kinds)], number=number, purpose=Search(), unit_cost_per_hour=0.05 + number / 1000)
        for number in range(count)
    )
