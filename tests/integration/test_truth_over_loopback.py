"""The engine beside servers that keep their own record: tests/benchmarks/truth_over_loopback.py in short.

What is compared happened in the same run on both sides, so a slow machine changes truth and measurement alike. Only a
run in which the engine or the server was late itself shows nothing: it is repeated, a stated number of times.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from load_profiles.locust_generator import LocustLoadGenerator
from tests.benchmarks.truth_over_loopback import (
    STALLS,
    Cores,
    Seen,
    Tally,
    against_own_queue,
    against_record,
    against_stalls,
    closed_loop_ms,
    drive,
    profile,
    undisturbed,
    waiting_quantile,
)
from tests.servers.exact import ExactSettings, serving_exactly
from tuner.domain.histogram import nearest_rank

MOST_RUNS = 3
QUEUE = ExactSettings(law="constant 10 ms", one_at_a_time=True)


@pytest.fixture(scope="module")
def generator() -> Iterator[LocustLoadGenerator]:
    with LocustLoadGenerator() as generator:
        yield generator


def calm(generator: LocustLoadGenerator, settings: ExactSettings, rate_rps: float, window_s: float) -> Seen:
    """Skips where the machine was too busy in every run."""
    tally = Tally()
    seen = undisturbed(generator, settings, profile(rate_rps, window_s, 1), Cores(), tally, most_runs=MOST_RUNS)
    if seen is None:
        pytest.skip(f"disturbed in all {MOST_RUNS} runs: {tally.discarded}")
    return seen


@pytest.mark.parametrize("law", ["constant 0.3 ms", "bimodal 1 ms or 300 ms", "heavy tail (Pareto 1.5) 1 ms to 3 s"])
def test_percentiles_are_what_the_server_recorded_itself(generator: LocustLoadGenerator, law: str):
    seen = calm(generator, ExactSettings(law=law), 200.0, 1.5)
    assert [str(row) for row in against_record(law, seen) if not row.within] == []


def test_a_queue_is_measured_as_its_recursion_on_the_same_arrivals_says(generator: LocustLoadGenerator):
    seen = calm(generator, QUEUE, 60.0, 3.0)
    assert [str(row) for row in against_own_queue("M/D/1 at 60%", seen) if not row.within] == []


def test_stalls_are_measured_as_computed_where_a_closed_loop_hardly_sees_them(generator: LocustLoadGenerator):
    seen = calm(generator, STALLS, 100.0, 6.0)
    rows = {row.figure: row for row in against_stalls(seen)}
    assert rows["p90"].within, str(rows["p90"])
    assert nearest_rank(closed_loop_ms(STALLS, users=4, seconds=2.0), 90.0) < rows["p90"].truth_ms / 3.0


@pytest.mark.parametrize("law", ["constant 13 ms", "bimodal 1 ms or 300 ms"])
def test_however_busy_the_machine_is_no_answer_seems_earlier_than_the_server_gave_it(
    generator: LocustLoadGenerator, law: str
):
    """Every run counts here: what the engine adds to the server's record is never negative, and nothing is lost."""
    seen = drive(generator, ExactSettings(law=law), profile(200.0, 1.0, 2), Cores())
    own_s = seen.record.latencies_s(0)
    assert seen.measurement.requests == len(own_s) - seen.warm_up
    assert seen.measurement.errors == 0
    for percent in (50.0, 90.0, 99.0):
        assert (
            seen.measurement.counts.percentile_ms(percent)
            >= 1000.0 * nearest_rank(seen.record.latencies_s(seen.warm_up), percent) * 0.98 - 0.5
        )


def test_the_load_command_finds_the_capacity_of_a_queue():
    """One worker that takes 2 ms: what holds a p99 of 100 ms is 99 % of 500 requests/s, and beyond that nothing can.

    The limit is wide, so that a busy machine is no reason for a certain FAIL at half the truth; a PASS beyond it would
    be a lie on any machine.
    """
    truth_rps = next(
        rate for rate in range(500, 300, -1) if 2.0 * (1.0 + waiting_quantile(rate / 500.0 - 1e-3, 0.99)) <= 100.0
    )
    with serving_exactly(replace(QUEUE, law="constant 2 ms")) as server:
        argv = [sys.executable, "-m", "tuner", "load", "--target", f"http://127.0.0.1:{server.port}", "--rate", "300"]
        argv += ["--model", "identity", "--slo", "latency_p99_ms<=100", "--duration", "2s", "--warmup", "0.3s"]
        done = subprocess.run(
            [*argv, "--find-capacity", "--json"], capture_output=True, text=True, check=False, timeout=200
        )
    assert done.stdout, done.stderr
    document = json.loads(done.stdout)
    low_rps, high_rps = document["capacity_interval_rps"]
    assert document["capacity_rps"] == low_rps <= truth_rps, document
    assert high_rps is None or high_rps >= truth_rps / 2.0, document
    assert document["load_s"] >= sum(probe["load_s"] for probe in document["probes"])
    assert {probe["verdict"] for probe in document["probes"]} <= {"PASS", "FAIL", "UNDECIDED", "INVALID"}
    assert document["rate_rps"] in {probe["offered_rps"] for probe in document["probes"]}
