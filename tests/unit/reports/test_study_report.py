from dataclasses import replace

import pytest

from reports.alternatives import Ruling
from reports.study_report import study_report
from reports.trial_rows import Standing
from tests.builders import P99_100_MS, a_level, a_trial
from tests.studies import (
    PROVENANCE,
    SLOS,
    a_proven_report,
    a_proven_study,
    a_told_spec,
    conclusion_of,
    proof_trials,
    search_trials,
)
from tuner.domain.deployment import Telemetry
from tuner.domain.recommendation import NothingFeasible, NoVerdict, Unproven, candidates, evidence_for
from tuner.domain.trial import Confirmation, Failed, Infeasible, Level, Measured

MINUS = "\N{MINUS SIGN}"


def test_a_proven_study_says_what_to_buy_and_what_that_rests_on():
    answer = a_proven_report().answer
    assert (answer.state, answer.headline) == (
        "proven",
        "1 replica carries 90 requests per second for 0.1000 USD an hour",
    )
    assert answer.purchase is not None
    assert (answer.purchase.replicas, answer.purchase.cost_per_month.text) == (1, "73.00")
    assert (answer.purchase.wanted_rps.raw, answer.purchase.tested_rps.raw) == (90.0, 100.0)
    assert answer.rests_on == "3 fresh deployments, 6,000 requests at 100 rps on each replica"
    assert [(row.objective, row.requests, row.verdict) for row in answer.objectives] == [
        ("p99 ≤ 100 ms", 6000, "pass"),
        ("failed requests ≤ 1 %", 6000, "pass"),
    ]


def test_percentiles_on_the_card_are_those_of_the_pooled_counts():
    spec, trials, conclusion = a_proven_study()
    gauges = {gauge.name: gauge for gauge in study_report(spec, trials, conclusion, PROVENANCE).answer.gauges}
    counts = evidence_for(candidates(trials)[0], trials).counts
    assert {name: gauge.value.raw for name, gauge in gauges.items()} == {
        "p50": counts.percentile_ms(50),
        "p95": counts.percentile_ms(95),
        "p99": counts.percentile_ms(99),
    }
    assert gauges["p99"].limit_at == pytest.approx(0.8)
    assert gauges["p50"].limit is None


def test_every_cheaper_candidate_has_its_reason_nearest_in_cost_first():
    cheaper = a_proven_report().cheaper
    assert [(one.trial, one.ruling, one.difference) for one in cheaper.tried] == [
        (0, Ruling.TOO_SLOW, f"{MINUS}50 %"),
        (1, Ruling.CANNOT_SERVE, f"{MINUS}50 %"),
    ]
    assert cheaper.tried[0].line == "cpu_cores 1 · max_batch_size 1"
    assert cheaper.tried[0].why.startswith("p99 no answer at 100 rps, 1,000 late, 100 failed of 1,000")
    assert cheaper.tried[1].why == "out of memory"
    assert cheaper.untried == 0


def test_a_cheaper_candidate_that_its_proof_refuted_is_told_as_refuted():
    spec = a_told_spec()
    slow = Measured(levels=(a_level(1, median_ms=300.0, slos=SLOS),))
    refuted = a_trial(
        5, purpose=Confirmation(replicas=1, repeat=0), configuration={"cpu_cores": 2, "max_batch_size": 8}, outcome=slow
    )
    dearer = tuple(
        a_trial(
            6 + repeat,
            purpose=Confirmation(replicas=1, repeat=repeat),
            configuration={"cpu_cores": 4, "max_batch_size": 8},
            outcome=Measured(levels=(a_level(1, slos=SLOS, requests=2000, seed=repeat),)),
        )
        for repeat in range(3)
    )
    trials = (*search_trials(), refuted, *dearer)
    report = study_report(spec, trials, conclusion_of(spec, trials), PROVENANCE)
    assert report.answer.purchase is not None
    assert report.answer.purchase.cost_per_hour.raw == pytest.approx(0.2)
    told = {one.trial: one for one in report.cheaper.tried}
    assert report.cheaper.tried[0].trial == 3, "what reached its proof comes first"
    assert (told[3].ruling, told[2].ruling) == (Ruling.REFUTED, Ruling.UNKNOWN)
    assert told[3].why.startswith("over 1 fresh deployment: 1,000 late of 1,000, worst p99 ")


def test_more_replicas_of_a_cheap_configuration_are_ruled_out_by_what_one_carried():
    spec = a_told_spec()
    tiny = a_trial(
        0,
        configuration={"cpu_cores": 1, "max_batch_size": 1},
        unit_cost_per_hour=0.02,
        outcome=Measured(levels=(a_level(1, median_ms=400.0, failed=950, slos=SLOS),)),
    )
    trials = (tiny, *search_trials()[1:], *proof_trials())
    report = study_report(spec, trials, conclusion_of(spec, trials), PROVENANCE)
    why = next(one.why for one in report.cheaper.tried if one.trial == 0)
    assert "so 21 would be needed, which cost more" in why


def test_a_cheap_configuration_that_more_replicas_might_have_saved_is_told_as_untried():
    spec = a_told_spec()
    small = a_trial(
        0,
        configuration={"cpu_cores": 1, "max_batch_size": 1},
        unit_cost_per_hour=0.02,
        outcome=Measured(levels=(a_level(1, median_ms=120.0, slos=SLOS),)),
    )
    trials = (small, *search_trials()[1:], *proof_trials())
    report = study_report(spec, trials, conclusion_of(spec, trials), PROVENANCE)
    why = next(one.why for one in report.cheaper.tried if one.trial == 0)
    assert why.endswith("; 3 replicas would cost less too and were not measured")


def test_the_next_dearer_candidates_are_told_with_what_they_add():
    report = a_proven_report()
    assert [(one.trial, one.line, one.difference, one.ruling) for one in report.dearer] == [
        (4, "cpu_cores 4", "+100 %", Ruling.PLAUSIBLE)
    ]


def test_untried_configurations_are_counted_only_where_cheaper():
    spec, trials, conclusion = a_proven_study()
    report = study_report(spec, trials[2:], conclusion, PROVENANCE)
    assert report.cheaper.untried == 2


def test_rows_say_what_came_of_each_trial():
    report = a_proven_report()
    assert [row.standing for row in report.trials] == [
        Standing.TOO_SLOW,
        Standing.CANNOT_SERVE,
        Standing.FAILED,
        Standing.PLAUSIBLE,
        Standing.PLAUSIBLE,
        Standing.PASSED,
        Standing.PASSED,
        Standing.PASSED,
    ]
    assert [row.recommended for row in report.trials] == [False, False, False, True, False, True, True, True]
    assert [row.best_so_far.raw if row.best_so_far else None for row in report.trials] == [None] * 3 + [0.1] * 5
    assert [row.role for row in report.trials][-1] == "proof 3 of 3"


def test_a_row_counts_late_and_failed_requests():
    shown = a_proven_report().trials[0].shown
    assert shown is not None
    assert (shown.late, shown.failed, shown.requests) == (1000, 100, 1000)


def test_what_limits_the_recommended_configuration_is_told_on_the_first_screen_where_the_server_tells_it():
    assert a_proven_report().answer.bottleneck == "", "these servers tell nothing"
    told = a_level(1, telemetry=Telemetry(periods=100, throttled_periods=40))
    free = a_level(1, telemetry=Telemetry(cpu_s=2.0, cpu_limit_cores=4.0, at_s=11.0))

    def bottleneck(level: Level) -> str:
        trials = (a_trial(0, outcome=Measured(levels=(level,))),)
        return study_report(a_told_spec(), trials, None, PROVENANCE).answer.bottleneck

    assert bottleneck(told) == "Bottleneck at this load: CPU-bound, throttled in 40 % of periods."
    assert bottleneck(free) == "Of the server at this load nothing that was seen is used up: 5 % of 4 cores busy."


def test_doubts_and_held_back_cpu_are_told():
    level = a_level(1, requests=50, telemetry=Telemetry(periods=100, throttled_periods=40))
    trial = a_trial(0, outcome=Measured(levels=(level,)))
    report = study_report(a_told_spec(), (trial,), None, PROVENANCE)
    assert report.trials[0].notes == ("CPU-bound: throttled in 40 % of periods", "few requests for this percentile")


def test_a_running_study_shows_the_leading_candidate():
    answer = study_report(a_told_spec(), search_trials(), None, PROVENANCE).answer
    assert (answer.state, answer.badge) == ("running", "Still running")
    assert answer.headline == "Leading: 1 replica for 90 requests per second at 0.1000 USD an hour"
    assert answer.rests_on == "one screening trial, no proof, 1,000 requests at 100 rps on each replica"


def test_a_study_that_has_just_begun_has_no_candidate():
    answer = study_report(a_told_spec(), search_trials()[:2], None, PROVENANCE).answer
    assert (answer.headline, answer.purchase) == ("No candidate so far", None)


def test_an_unproven_study_says_why():
    spec, trials = a_told_spec(), search_trials()
    conclusion = Unproven(evidence=evidence_for(candidates(trials)[0], trials), reason="the time was up")
    answer = study_report(spec, trials, conclusion, PROVENANCE).answer
    assert (answer.badge, answer.explanation) == ("Not proven", "The time was up.")
    assert answer.headline.startswith("1 replica may carry")


def test_where_nothing_is_feasible_the_closest_miss_is_shown_and_not_sold():
    trials = search_trials()[:2]
    spec = a_told_spec()
    spec = replace(spec, budget=replace(spec.budget, trials=2))
    conclusion = conclusion_of(spec, trials)
    assert isinstance(conclusion, NothingFeasible)
    report = study_report(spec, trials, conclusion, PROVENANCE)
    assert (report.answer.state, report.answer.marked) == ("nothing", "closest miss")
    assert "the closest miss, trial 0" in report.answer.explanation
    assert {one.ruling for one in report.cheaper.tried} == {Ruling.TOO_SLOW, Ruling.CANNOT_SERVE}
    assert report.dearer == ()


def test_no_verdict_says_so():
    answer = study_report(a_told_spec(), (), NoVerdict(reason="no trial was measured"), PROVENANCE).answer
    assert (answer.badge, answer.explanation) == ("No verdict", "No trial was measured.")


def test_prices_have_their_date_and_source():
    row = a_proven_report().prices[0]
    assert (row.resource, row.per_hour, row.term, row.as_of, row.source) == (
        "CPU core",
        "0.05",
        "on demand",
        "2026-11-01",
        "made up for tests",
    )


def test_method_and_provenance_name_the_seed_the_fingerprint_and_the_server():
    report = a_proven_report()
    facts = {fact.name: fact.text for fact in (*report.method, *report.provenance)}
    assert facts["Optimizer"] == "grid, seed 7"
    assert facts["Study fingerprint"] == "f" * 64
    assert facts["server"] == "a server 1.0"
    assert "100 rps offered" in facts["Load"]


def test_a_study_without_a_latency_objective_has_no_limit_to_draw():
    spec = a_told_spec()
    only_errors = replace(spec, slos=(SLOS[1],))
    trial = a_trial(0, outcome=Measured(levels=(a_level(1, slos=only_errors.slos),)))
    report = study_report(only_errors, (trial,), None, PROVENANCE)
    assert (report.axes.percentile, report.axes.limit) == ("p99", None)
    assert report.trials[0].shown is not None
    assert report.trials[0].shown.late is None


def test_all_failed_and_all_infeasible_have_no_purchase():
    spec = a_told_spec()
    for outcome in (Failed(error="no"), Infeasible(reason="no")):
        report = study_report(spec, tuple(a_trial(k, outcome=outcome) for k in range(3)), None, PROVENANCE)
        assert report.answer.purchase is None
        assert len(report.cheaper.tried) == 1


def test_the_judged_percentile_is_the_highest_that_has_a_limit():
    p50 = replace(P99_100_MS, indicator="latency_p50_ms", max=30.0)
    spec = replace(a_told_spec(), slos=(p50, replace(P99_100_MS, indicator="latency_p95_ms")))
    trial = a_trial(0, outcome=Measured(levels=(a_level(1, slos=spec.slos),)))
    report = study_report(spec, (trial,), None, PROVENANCE)
    assert report.axes.percentile == "p95"
    assert report.trials[0].shown is not None
    assert report.trials[0].shown.judged == report.trials[0].shown.p95
