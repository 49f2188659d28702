"""What `servetune load` prints: the rate asked for, what was due, sent, answered; and the loads a capacity rests on."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from tests.benchmarks.capacity_search import deterministic, found
from tests.unit.test_measurement import P99, PROFILE, a_run, measured
from tuner.domain.capacity import LOOK_CONFIDENCE
from tuner.domain.measurement import Measurement
from tuner.domain.slo import Verdict
from tuner.load_command import LoadResult, load_document, load_text

POISSON = replace(PROFILE, arrivals="poisson")


def result_of(measurement: Measurement, verdict: str | None = "PASS") -> LoadResult:
    return LoadResult(
        measurement=measurement, tallies=measurement.tallies, verdict=verdict, rate_rps=POISSON.offered_rps, seed=0
    )


def test_the_rate_asked_for_and_what_random_arrivals_made_of_it_stand_side_by_side():
    document = json.loads(load_document(result_of(measured(a_run(profile=POISSON)))))
    assert document["rate_rps"] == 200.0
    assert document["offered_rps"] == pytest.approx(200.0, rel=0.1)
    assert document["offered_rps"] != 200.0
    assert document["offered_rps"] == document["achieved_rps"] == document["sent"] / 10.0


def test_what_never_left_was_due_but_not_sent():
    run = a_run()
    lost = [k >= 1800 for k in range(len(run.samples))]
    samples = replace(
        run.samples,
        sent_s=tuple(math.inf if gone else s for gone, s in zip(lost, run.samples.sent_s, strict=True)),
        ok=tuple(not gone for gone in lost),
    )
    document = json.loads(load_document(result_of(measured(replace(run, samples=samples)), "INVALID")))
    assert (document["offered_rps"], document["achieved_rps"], document["sent"]) == (200.0, 160.0, 1600)
    assert document["errors"] == 400
    assert "not_sent" in document["doubts"]


def test_a_server_that_answers_everything_too_late_carries_less_than_it_achieves():
    """Each request waits a tenth longer than the one before: all are answered, most of them after the window."""
    run = a_run(lambda due_s: 0.8 * due_s, profile=replace(PROFILE, timeout_s=20.0))
    document = json.loads(load_document(result_of(measured(run), "FAIL")))
    assert document["achieved_rps"] == 200.0
    assert document["answered_rps"] < 130.0


def test_rates_of_tens_of_thousands_are_written_out_for_people():
    seen = replace(measured(a_run()), offered_rps=12_345.6, achieved_rps=123_456.7)
    text = load_text(result_of(seen))
    assert "12,346 requests/s offered" in text
    assert "123,457 answered well" in text


def test_a_capacity_comes_with_its_interval_and_every_load_it_rests_on():
    search = found(deterministic(0.005, 0.025), 3)
    result = LoadResult(
        measurement=search.best.measurement,
        tallies=search.best.tallies,
        confidence=LOOK_CONFIDENCE,
        verdict="PASS",
        rate_rps=search.best.offered_rps,
        seed=3,
        found=search,
    )
    document, text = json.loads(load_document(result)), load_text(result)
    assert document["capacity_rps"] == document["capacity_interval_rps"][0] == document["rate_rps"]
    assert [slo["verdict"] for slo in document["slos"]] == ["PASS"]
    assert document["confidence"] == pytest.approx(0.995)
    assert len(document["probes"]) == len(search.levels)
    assert document["load_s"] >= math.fsum(probe["load_s"] for probe in document["probes"])
    assert text.count("requests/s:") == len(search.levels)
    assert f"capacity: {document['capacity_rps']:.4g} requests/s certainly pass" in text


def test_where_the_windows_were_too_short_for_any_pass_the_text_says_what_it_takes():
    search = found(deterministic(0.005, 0.025), 3, 4.0)
    assert (search.best.verdict, search.capacity.low_rps) == (Verdict.UNDECIDED, 0.0)
    result = replace(result_of(search.best.measurement, "UNDECIDED"), tallies=search.best.tallies, found=search)
    assert "a PASS takes 528 requests or more" in load_text(result)


def test_the_slo_is_judged_on_all_windows_at_that_load_together():
    search = found(deterministic(0.005, 0.025), 3)
    best = search.best
    assert best.tallies[0].requests > best.measurement.requests
    assert best.tallies[0].slo.indicator == P99.indicator


def test_people_see_each_objective_and_how_many_requests_a_pass_takes():
    run = a_run(profile=replace(PROFILE, window_s=1.0))
    text = load_text(result_of(measured(run), "UNDECIDED"))
    assert f"SLO {P99}: undecided at 99.0% (0 of 200 late); a PASS takes 459 requests or more" in text
    assert "doubt: few requests" in text
    assert "a PASS takes" not in load_text(result_of(measured(a_run())))
