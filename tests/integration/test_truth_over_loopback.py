"""The engine beside servers that keep their own record: tests/benchmarks/truth_over_loopback.py in short.

What is compared happened in the same run on both sides, so a slow machine changes truth and measurement alike. Only a
run in which the engine or the server was late itself shows nothing: it is repeated, a stated number of times.
"""

from __future__ import annotations

import json
import math
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
    closed_loop,
    drive,
    profile,
    undisturbed,
    waiting_quantile,
)
from tests.servers.exact import ExactSettings, serving_exactly
from tuner.domain.histogram import nearest_rank

MOST_RUNS = 3
LATE_MS = 20.0
"""A worker that was this late has, with the queue behind it, requests of 100 ms to answer for."""
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
    _, record = closed_loop(STALLS, users=4, seconds=4.0)
    # As the server meant to answer, whatever this machine made of it.
    planned_s = sorted(due - arrived for arrived, due in zip(record.arrived_s, record.due_s, strict=True))
    assert 1000.0 * nearest_rank(planned_s, 90.0) < rows["p90"].truth_ms / 3.0


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


def capacity_found() -> tuple[dict, float]:
    """What the command says of a worker that takes 2 ms, and by how much that worker was late at its worst, in ms."""
    with serving_exactly(replace(QUEUE, law="constant 2 ms")) as server:
        argv = [sys.executable, "-m", "tuner", "load", "--target", f"http://127.0.0.1:{server.port}", "--rate", "300"]
        argv += ["--model", "identity", "--slo", "latency_p99_ms<=100", "--duration", "2s", "--warmup", "0.3s"]
        done = subprocess.run(
            [*argv, "--find-capacity", "--json"], capture_output=True, text=True, check=False, timeout=600
        )
        assert done.stdout, done.stderr
        record = server.record()
    # Whoever asked may have given up on the last ones: they never left.
    late_s = max(left - due for due, left in zip(record.due_s, record.left_s, strict=True) if math.isfinite(left))
    return json.loads(done.stdout), 1000.0 * late_s


def test_the_load_command_finds_the_capacity_of_a_queue():
    """One worker that takes 2 ms: what holds a p99 of 100 ms is 99 % of 500 requests/s, and beyond that nothing can.

    A PASS beyond it would be a lie on any machine; a certain FAIL at half of it is true only of a server that itself
    was late.
    """
    truth_rps = next(
        rate for rate in range(500, 300, -1) if 2.0 * (1.0 + waiting_quantile(rate / 500.0 - 1e-3, 0.99)) <= 100.0
    )
    for _ in range(MOST_RUNS):
        document, late_ms = capacity_found()
        low_rps, high_rps = document["capacity_interval_rps"]
        if high_rps is None or high_rps >= truth_rps / 2.0 or late_ms < LATE_MS:
            break
    else:
        pytest.skip(f"the server itself was late in all {MOST_RUNS} runs, by {late_ms:.0f} ms in the last one")
    assert document["capacity_rps"] == low_rps <= truth_rps, document
    assert high_rps is None or high_rps >= truth_rps / 2.0, document
    assert document["load_s"] >= sum(probe["load_s"] for probe in document["probes"])
    assert {probe["verdict"] for probe in document["probes"]} <= {"PASS", "FAIL", "UNDECIDED", "INVALID"}
    assert document["rate_rps"] in {probe["offered_rps"] for probe in document["probes"]}
