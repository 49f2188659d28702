"""Arrivals: as many as offered, in order, with the gaps they claim. Seeds are fixed: these tests do not flicker."""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
from array import array
from dataclasses import asdict, replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tuner.domain.arrival_kinds import (
    PRESETS,
    Arrivals,
    Diurnal,
    Gamma,
    Periodic,
    Ramp,
    Replay,
    Spike,
    Steps,
    arrivals_from,
)
from tuner.domain.arrivals import intended_starts_s, mean_share, share_at
from tuner.domain.load import LoadProfile, Payload

# Of 40 seeds tested at this level each, the chance that a true law fails even one test is below 1 in 10,000.
ERROR_RATE = 1e-4 / 40
SEEDS = range(40)


def profile(
    arrivals: Arrivals = "poisson", *, rate_rps: float = 200.0, window_s: float = 10.0, seed: int = 0
) -> LoadProfile:
    return LoadProfile(
        arrivals=arrivals,
        offered_rps=rate_rps,
        warmup_s=0.0,
        window_s=window_s,
        timeout_s=1.0,
        payload=Payload(),
        seed=seed,
    )


@given(
    arrivals=st.sampled_from(["constant", "poisson"]),
    rate_rps=st.floats(0.5, 500.0),
    window_s=st.floats(0.1, 20.0),
    seed=st.integers(0, 2**32 - 1),
)
def test_starts_ascend_within_the_duration(arrivals: Arrivals, rate_rps: float, window_s: float, seed: int):
    starts_s = intended_starts_s(profile(arrivals, rate_rps=rate_rps, window_s=window_s, seed=seed))
    assert all(early < late for early, late in pairwise(starts_s))
    assert all(0.0 <= start < window_s for start in starts_s)


@given(seed=st.integers(0, 2**32 - 1))
def test_the_same_seed_gives_the_same_arrivals_byte_for_byte(seed: int):
    def text() -> str:
        return " ".join(map(float.hex, intended_starts_s(profile(seed=seed, window_s=1.0))))

    assert text() == text()


IN_ANOTHER_PROCESS = """
from tests.property.test_arrivals import KINDS, digest_of
print(*map(digest_of, KINDS))
"""


def digest_of(arrivals: Arrivals) -> str:
    """Of the very bytes of the times."""
    return hashlib.sha256(array("d", intended_starts_s(profile(arrivals, seed=5))).tobytes()).hexdigest()


def test_another_process_computes_the_same_arrivals_byte_for_byte():
    """Workers compute their share of the schedule by themselves; hashes of text differ from process to process."""
    argv = [sys.executable, "-c", IN_ANOTHER_PROCESS]
    other = subprocess.run(argv, env=os.environ | {"PYTHONHASHSEED": "7"}, check=True, capture_output=True, text=True)
    assert other.stdout.split() == list(map(digest_of, KINDS))


def test_another_seed_gives_other_arrivals():
    assert intended_starts_s(profile(seed=1)) != intended_starts_s(profile(seed=2))


KINDS: list[Arrivals] = [
    "constant",
    "poisson",
    Gamma(burstiness=4.0),
    Ramp(begin=0.2, end=1.5),
    Steps(shares=(0.1, 1.0, 0.0)),
    Spike(),
    Diurnal(),
    Periodic(every_s=3.0, work_s=1.0),
    Replay(starts_s=(0.0, 0.5, 0.5, 2.0)),
    *PRESETS.values(),
]


@pytest.mark.parametrize("arrivals", KINDS, ids=str)
def test_all_kinds_ascend_repeat_by_seed_and_survive_json(arrivals: Arrivals):
    due_s = intended_starts_s(profile(arrivals, seed=5))
    assert all(early <= late for early, late in pairwise(due_s))
    assert all(0.0 <= start < 10.0 for start in due_s)
    plain = arrivals if isinstance(arrivals, str) else json.loads(json.dumps(asdict(arrivals)))
    again = intended_starts_s(profile(arrivals_from(plain), seed=5))
    assert list(map(float.hex, again)) == list(map(float.hex, due_s))


@pytest.mark.parametrize("arrivals", KINDS, ids=str)
def test_as_many_come_as_the_shape_says(arrivals: Arrivals):
    """Over 20 seeds; five standard errors of a count with variance up to four times its mean."""
    counts = [len(intended_starts_s(profile(arrivals, rate_rps=300.0, seed=seed))) for seed in range(20)]
    expected = 3000.0 * mean_share(arrivals, 10.0)
    assert abs(sum(counts) / 20 - expected) < 5.0 * math.sqrt(4.0 * expected / 20) + 4.0


def test_gamma_gaps_vary_as_stated():
    due_s = intended_starts_s(profile(Gamma(burstiness=4.0), rate_rps=1000.0, window_s=40.0))
    gaps = [late - early for early, late in pairwise(due_s)]
    mean = math.fsum(gaps) / len(gaps)
    assert math.fsum((gap - mean) ** 2 for gap in gaps) / len(gaps) / mean**2 == pytest.approx(4.0, rel=0.1)


@pytest.mark.parametrize(
    ("name", "peak", "mean"), [("low_average", 0.1, 0.06), ("peak_valley", 0.65, 0.2), ("short_spike", 0.8, 0.3)]
)
def test_presets_have_the_peaks_and_means_of_their_patterns(name: str, peak: float, mean: float):
    shape = PRESETS[name]
    assert max(share_at(shape, k / 100.0, 10.0) for k in range(1001)) == pytest.approx(peak, abs=0.001)
    assert mean_share(shape, 10.0) == pytest.approx(mean, abs=0.005)


@pytest.mark.parametrize(
    ("name", "mean", "busiest"),
    [("low_average", 0.06, 0.1), ("peak_valley", 0.2, 0.65), ("short_spike", 0.3, 0.8), ("periodic_work", 0.2, 1.0)],
)
def test_presets_really_send_what_their_patterns_say(name: str, mean: float, busiest: float):
    """An hour for a capacity of 40 requests/s, counted minute by minute: mean and busiest minute, in four errors."""
    due_s = intended_starts_s(profile(PRESETS[name], rate_rps=40.0, window_s=3600.0, seed=1))
    per_minute = [0] * 60
    for start_s in due_s:
        per_minute[int(start_s // 60.0)] += 1
    assert len(due_s) / (40.0 * 3600.0) == pytest.approx(mean, rel=0.03)
    most = busiest * 40.0 * 60.0
    assert abs(max(per_minute) - most) < 4.0 * math.sqrt(most)


def test_the_periodic_preset_works_a_few_minutes_every_quarter_of_an_hour():
    assert mean_share(PRESETS["periodic_work"], 3600.0) == pytest.approx(0.2, abs=0.01)


def test_a_shape_begins_when_the_warm_up_ends():
    run = replace(profile(Steps(shares=(0.0, 1.0)), rate_rps=500.0), warmup_s=5.0)
    due_s = intended_starts_s(run)
    assert 10.0 <= due_s[0] < 10.2
    assert len(due_s) == pytest.approx(2500, rel=0.1)


@pytest.mark.parametrize("rate_rps", [2.0, 20.0])
def test_a_recording_keeps_its_pattern_at_any_rate(rate_rps: float):
    recorded = Replay(starts_s=(0.0, 0.1, 0.2, 5.0, 8.0))
    due_s = intended_starts_s(profile(recorded, rate_rps=rate_rps, window_s=10.0))
    assert len(due_s) / 10.0 == pytest.approx(rate_rps, rel=0.05)
    stretch = recorded.mean_rps / rate_rps
    assert due_s[:5] == pytest.approx([start * stretch for start in recorded.starts_s])


@given(rate_rps=st.floats(0.5, 500.0), window_s=st.floats(0.1, 20.0))
def test_constant_arrivals_offer_the_rate(rate_rps: float, window_s: float):
    starts_s = intended_starts_s(profile("constant", rate_rps=rate_rps, window_s=window_s))
    assert abs(len(starts_s) - rate_rps * window_s) < 1.0 + 1e-6
    assert all(math.isclose(start, k / rate_rps) for k, start in enumerate(starts_s))


@pytest.mark.parametrize(("rate_rps", "window_s", "count"), [(100.0, 0.29, 29), (10.0, 0.95, 10), (250.0, 6.0, 1500)])
def test_constant_arrivals_fill_the_whole_duration(rate_rps: float, window_s: float, count: int):
    assert len(intended_starts_s(profile("constant", rate_rps=rate_rps, window_s=window_s))) == count


def test_poisson_counts_have_the_mean_and_the_variance_of_poisson():
    """Counts in windows of 10 s at 20 rps: mean 200, and a variance-to-mean ratio of 1 (chi-squared test)."""
    counts = [len(intended_starts_s(profile(rate_rps=20.0, seed=seed))) for seed in range(400)]
    mean = sum(counts) / len(counts)
    assert abs(mean - 200.0) < 4.5 * math.sqrt(200.0 / len(counts)), "4.5 standard errors: 1 in 100,000"
    dispersion = sum((count - mean) ** 2 for count in counts) / mean
    low, high = stats.chi2.ppf([5e-6, 1.0 - 5e-6], len(counts) - 1)
    assert low < dispersion < high


@pytest.mark.parametrize("seed", SEEDS)
def test_poisson_gaps_are_exponential(seed: int):
    starts_s = (0.0, *intended_starts_s(profile(seed=seed)))
    gaps_s = [late - early for early, late in pairwise(starts_s)]
    assert stats.kstest(gaps_s, "expon", args=(0.0, 1.0 / 200.0)).pvalue > ERROR_RATE


@pytest.mark.parametrize("seed", SEEDS)
def test_poisson_gaps_do_not_depend_on_each_other(seed: int):
    starts_s = intended_starts_s(profile(seed=seed))
    gaps_s = [late - early for early, late in pairwise(starts_s)]
    assert stats.pearsonr(gaps_s[:-1], gaps_s[1:]).pvalue > ERROR_RATE
