"""The schedule dealt out to workers is the schedule: nothing twice, nothing missing, in whatever way it comes back."""

from __future__ import annotations

import math
from array import array
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from load_profiles.clock_offsets import RoundTrip, offset_of
from load_profiles.dealt_latencies import DealtLatencies
from load_profiles.packed_samples import pack_samples, unpack_run
from load_profiles.parts import completed, lost, merged, share_of, together, whole_prefix
from load_profiles.pieces import Gathering, parcel_of, pieces_of
from tests.contract.load_generator_contract import a_profile
from tuner.domain.arrivals import intended_starts_s
from tuner.domain.errors import TransientFailure
from tuner.domain.load import GeneratorHealth, Samples

HEALTHY = GeneratorHealth(cpu_ratio=0.1, cpu_ms_per_request=0.2, workers_lost=0)
WORKERS = st.integers(1, 9)
ARRIVALS = st.sampled_from(["poisson", "constant"])
LENGTHS = st.integers(0, 120)


def schedule(length: int) -> tuple[float, ...]:
    return tuple(0.01 * k for k in range(length))


def answered(intended_s: tuple[float, ...]) -> Samples:
    """Every entry can be told from every other."""
    return Samples(
        intended_s=intended_s,
        sent_s=tuple(start + 0.001 for start in intended_s),
        done_s=tuple(start + 0.002 for start in intended_s),
        ok=tuple(round(start * 100) % 3 != 0 for start in intended_s),
    )


def first(samples: Samples, length: int) -> Samples:
    return Samples(
        intended_s=samples.intended_s[:length],
        sent_s=samples.sent_s[:length],
        done_s=samples.done_s[:length],
        ok=samples.ok[:length],
    )


@given(arrivals=ARRIVALS, seed=st.integers(0, 10_000), workers=WORKERS)
@settings(max_examples=40, deadline=None)
def test_the_shares_of_all_workers_are_the_schedule(arrivals: str, seed: int, workers: int):
    intended_s = intended_starts_s(replace(a_profile(arrivals), seed=seed))
    shares = [share_of(intended_s, part, workers) for part in range(workers)]
    assert sum(map(len, shares)) == len(intended_s)
    assert tuple(sorted(start for share in shares for start in share)) == intended_s
    assert merged(intended_s, [answered(share) for share in shares]) == answered(intended_s)


@given(length=LENGTHS, workers=WORKERS, data=st.data())
@settings(deadline=None)
def test_parts_that_ended_early_give_the_schedule_up_to_the_first_gap(length: int, workers: int, data: st.DataObject):
    intended_s = schedule(length)
    shares = [share_of(intended_s, part, workers) for part in range(workers)]
    lengths = [data.draw(st.integers(0, len(share))) for share in shares]
    whole = merged(intended_s, [first(answered(share), n) for share, n in zip(shares, lengths, strict=True)])
    gaps = [part + n * workers for part, n in enumerate(lengths) if n < len(shares[part])]
    assert whole == first(answered(intended_s), min(gaps, default=length))
    assert len(whole) <= whole_prefix(lengths)


@given(length=st.integers(1, 120), workers=WORKERS, data=st.data())
@settings(deadline=None)
def test_what_a_lost_worker_should_have_sent_was_never_sent(length: int, workers: int, data: st.DataObject):
    intended_s = schedule(length)
    profile = a_profile(warmup_s=0.0, window_s=length * 0.01)
    gone = data.draw(st.sets(st.integers(0, workers - 1), min_size=1))
    parts = []
    for part in range(workers):
        share = share_of(intended_s, part, workers)
        sent = data.draw(st.integers(0, len(share)))
        parts.append(
            lost(share, timeout_s=profile.timeout_s, reason=f"{part} was lost")
            if part in gone
            else (first(answered(share), sent), HEALTHY)
        )
    run = together(profile, intended_s, parts)
    assert run.samples.intended_s == intended_s
    assert run.profile == profile
    assert run.generator.workers_lost == len(gone)
    assert run.generator.first_error == f"{min(gone)} was lost"
    for k in range(length):
        known = len(parts[k % workers][0]) > k // workers and k % workers not in gone
        assert math.isfinite(run.samples.sent_s[k]) == known
        assert run.samples.done_s[k] == (answered(intended_s).done_s[k] if known else intended_s[k] + profile.timeout_s)


@given(seed=st.integers(0, 10_000), cut=st.integers(0, 40))
@settings(max_examples=40, deadline=None)
def test_a_packed_run_comes_back_as_it_was_and_no_damage_goes_unnoticed(seed: int, cut: int):
    profile = replace(a_profile(), seed=seed)
    intended_s = intended_starts_s(profile)
    samples = first(answered(intended_s), len(intended_s) - min(cut, len(intended_s) - 1))
    packed = pack_samples(samples, HEALTHY)
    run = unpack_run(packed, profile)
    assert (run.samples, run.generator) == (samples, HEALTHY)
    assert run.profile.duration_s <= profile.duration_s
    with pytest.raises(TransientFailure):
        unpack_run(packed[:-1], profile)
    flipped = bytearray(packed)
    flipped[-1 - seed % (16 * len(samples))] ^= 1
    with pytest.raises(TransientFailure, match="damaged"):
        unpack_run(bytes(flipped), profile)


@given(content=st.binary(min_size=1, max_size=200), piece_bytes=st.integers(1, 50), data=st.data())
def test_a_result_in_pieces_is_whole_only_when_every_piece_came(content: bytes, piece_bytes: int, data: st.DataObject):
    parcel, pieces = parcel_of(content, piece_bytes=piece_bytes), pieces_of(content, piece_bytes=piece_bytes)
    order = data.draw(st.permutations(range(len(pieces))))
    gathering = Gathering(parcel)
    for number in order[:-1]:
        gathering.add(number, pieces[number])
        gathering.add(number, pieces[number])
    assert not gathering.complete
    with pytest.raises(TransientFailure, match="bytes of a load worker's result arrived"):
        gathering.content()
    gathering.add(order[-1], pieces[order[-1]])
    assert gathering.complete
    assert gathering.content() == content
    gathering.add(0, bytes([pieces[0][0] ^ 1]) + pieces[0][1:])
    with pytest.raises(TransientFailure, match="damaged"):
        gathering.content()
    with pytest.raises(TransientFailure, match="piece"):
        gathering.add(len(pieces), b"")


@given(length=LENGTHS, workers=WORKERS, warmup=st.integers(0, 130), data=st.data())
@settings(deadline=None)
def test_latencies_told_in_parts_are_looked_at_in_the_order_of_the_schedule(
    length: int, workers: int, warmup: int, data: st.DataObject
):
    intended_s = schedule(length)
    dealt = DealtLatencies(intended_s, warmup_s=warmup * 0.01 - 0.005, parts=workers)
    whole = array("d", range(min(warmup, length), length))
    told = [[float(k) for k in range(part, length, workers) if k >= warmup] for part in range(workers)]
    looks = rounds = 0
    while any(told):
        part = data.draw(st.sampled_from([part for part in range(workers) if told[part]]))
        some = data.draw(st.integers(1, len(told[part])))
        looks += dealt.add(part, told[part][:some])
        rounds += part == 0
        told[part] = told[part][some:]
        assert dealt.values == whole[: len(dealt.values)]
    assert dealt.values == whole
    assert looks <= max(rounds, 0)


@given(there=st.floats(0.0, 0.2), back=st.floats(0.0, 0.2), offset=st.floats(-1e6, 1e6), asked=st.floats(0.0, 1e6))
def test_the_error_of_a_clock_offset_bounds_it_however_uneven_the_two_ways_are(
    there: float, back: float, offset: float, asked: float
):
    trip = RoundTrip(asked_s=asked, theirs_s=asked + there + offset, answered_s=asked + there + back)
    found = offset_of([trip])
    assert abs(found.offset_s - offset) <= found.error_s + 1e-8
    longer = replace(trip, answered_s=trip.answered_s + 1.0)
    assert offset_of([longer, trip, longer]) == found


def test_a_completed_part_keeps_what_was_done():
    share = schedule(5)
    part = completed(first(answered(share), 2), share, timeout_s=1.0)
    assert first(part, 2) == first(answered(share), 2)
    assert part.sent_s[2:] == (math.inf,) * 3
