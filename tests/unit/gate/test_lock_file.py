"""A lock file is read strictly: what was damaged, edited, or written by a newer servetune is exit 6, and says why."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gate_runs import TODAY
from tests.studies import a_proven_study
from tuner.domain.errors import LockUnusable
from tuner.domain.histogram import LatencyCounts
from tuner.domain.recommendation import Proven
from tuner.domain.slo import Verdict, judge
from tuner.fingerprint import prices_used
from tuner.gate.histogram_text import counts_from_text, counts_to_text
from tuner.gate.lock import Lock, Waiver, lock_of
from tuner.lock_file import lock_from, lock_schema, lock_text, migrated, read_lock, write_lock


def a_lock(**changes: object) -> Lock:
    spec, trials, conclusion = a_proven_study()
    assert isinstance(conclusion, Proven)
    prices = prices_used(spec.pricing, spec.space)
    lock = lock_of(
        spec, trials, conclusion, prices, reason="a test", updated_at="2026-11-22T00:00:00+00:00", tool="0.1.0"
    )
    return replace(lock, **changes)  # type: ignore[arg-type]


def resealed(lock: Lock, key: str, value: object) -> bytes:
    """The lock file with another value, and a digest that fits."""
    from tuner.lock_file import _sealed, _text

    document = json.loads(lock_text(lock))
    version = document.pop("schema_version")
    del document["content_digest"]
    document[key] = value
    return _text(_sealed(document, version)).encode()


def test_what_is_written_is_read_again_and_fits_its_schema(tmp_path: Path):
    lock = a_lock()
    write_lock(tmp_path / "lock.json", lock)
    assert read_lock(tmp_path / "lock.json", today=TODAY) == lock
    jsonschema.validate(json.loads(lock_text(lock)), json.loads(lock_schema()))
    jsonschema.Draft202012Validator.check_schema(json.loads(lock_schema()))


def test_the_same_lock_is_the_same_bytes_and_keys_are_sorted():
    text = lock_text(a_lock())
    assert text == lock_text(lock_from(text.encode(), "a lock"))
    keys = list(json.loads(text))
    assert keys == sorted(keys)
    assert len(text) < 200_000


def test_the_stored_requests_prove_the_spec_without_the_study():
    lock = a_lock()
    assert judge(lock.tallies(lock.slos)) is Verdict.PASS
    tighter = tuple(replace(slo, max=slo.max / 100.0) for slo in lock.slos)
    assert judge(lock.tallies(tighter)) is Verdict.FAIL


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is damaged"),
        (b"\xff\xfe{}", "is damaged"),
        (b"[]", "no object"),
        (b"{}", "no schema_version"),
        (b'{"schema_version": "1"}', "no schema_version"),
        (b'{"schema_version": true}', "no schema_version"),
        (b'{"schema_version": 1, "schema_version": 1}', "occurs twice"),
        (b'{"schema_version": NaN}', "no number"),
        (b'{"schema_version": 99}', "has format 99, this servetune knows 1"),
        (b'{"schema_version": 1}', "changed by hand"),
        (b"[" * 100_000, "is damaged"),
    ],
)
def test_what_is_no_lock_file_is_refused(content, said):
    with pytest.raises(LockUnusable, match=said) as caught:
        lock_from(content, "a lock")
    assert caught.value.exit_code == 6


@pytest.mark.parametrize("number", range(0, 40, 3))
def test_a_line_edited_or_lost_is_noticed(number):
    lines = lock_text(a_lock()).splitlines(keepends=True)
    lost = "".join(lines[:number] + lines[number + 1 :])
    with pytest.raises(LockUnusable):
        lock_from(lost.encode(), "a lock")


def test_a_cost_edited_by_hand_is_noticed_and_the_way_out_named():
    text = lock_text(a_lock())
    edited = text.replace('"hourly_cost": 0.1', '"hourly_cost": 0.2')
    assert edited != text
    with pytest.raises(LockUnusable, match="changed by hand") as caught:
        lock_from(edited.encode(), "a lock")
    assert "baseline update" in caught.value.hint


@pytest.mark.parametrize(
    ("key", "value"),
    [("hourly_cost", "0.1"), ("hourly_cost", None), ("repeats", {}), ("surprise", 1), ("slos", [{"indicator": "x"}])],
)
def test_a_digest_that_fits_does_not_make_nonsense_true(key, value):
    with pytest.raises(LockUnusable, match="is damaged"):
        lock_from(resealed(a_lock(), key, value), "a lock")


def test_unknown_metrics_in_rules_and_waivers_are_no_silent_pass(tmp_path: Path):
    waiver = Waiver(metric="speed", limit=0.1, owner="ada", expires="2099-01-01", reason="")
    write_lock(tmp_path / "lock.json", a_lock(waivers=(waiver,)))
    with pytest.raises(LockUnusable, match="unknown metric 'speed'"):
        read_lock(tmp_path / "lock.json", today=TODAY)


def test_a_rule_left_out_is_no_silent_pass(tmp_path: Path):
    write_lock(tmp_path / "lock.json", a_lock(policy=a_lock().policy[1:]))
    with pytest.raises(LockUnusable, match="no rule for saturated_rps"):
        read_lock(tmp_path / "lock.json", today=TODAY)


@pytest.mark.parametrize(("expires", "fine"), [("2026-11-22", True), ("2026-11-21", False), ("soon", False)])
def test_a_waiver_ends_after_its_last_day(tmp_path: Path, expires, fine):
    waiver = Waiver(metric="latency_p99_ms", limit=0.3, owner="ada", expires=expires, reason="known")
    write_lock(tmp_path / "lock.json", a_lock(waivers=(waiver,)))
    if fine:
        assert read_lock(tmp_path / "lock.json", today=TODAY).waivers == (waiver,)
        return
    with pytest.raises(LockUnusable):
        read_lock(tmp_path / "lock.json", today=TODAY)


def test_requests_that_do_not_prove_the_spec_are_refused(tmp_path: Path):
    lock = a_lock()
    bad = tuple(replace(one, seen=tuple(replace(s, bad=one.requests) for s in one.seen)) for one in lock.repeats)
    write_lock(tmp_path / "lock.json", replace(lock, repeats=bad))
    with pytest.raises(LockUnusable, match="do not prove"):
        read_lock(tmp_path / "lock.json", today=TODAY)


def test_a_lock_file_that_is_absent_a_folder_or_huge_is_exit_6(tmp_path: Path):
    (tmp_path / "huge").write_bytes(b" " * 1_000_001)
    for name, said in (("absent", "cannot read"), (".", "cannot read"), ("huge", "larger than")):
        with pytest.raises(LockUnusable, match=said):
            read_lock(tmp_path / name, today=TODAY)


def test_documents_of_every_older_format_are_brought_up_step_by_step():
    steps = {1: lambda d: d | {"b": d["a"] + 1}, 2: lambda d: {"c": d["b"] * 10}}
    assert migrated({"a": 1}, 1, steps, 3) == {"c": 20}
    assert migrated({"b": 5}, 2, steps, 3) == {"c": 50}
    assert migrated({"c": 1}, 3, steps, 3) == {"c": 1}


def test_there_is_a_migration_for_every_step_and_none_beyond():
    from tuner.gate.lock import SCHEMA_VERSION
    from tuner.lock_file import MIGRATIONS

    assert sorted(MIGRATIONS) == list(range(1, SCHEMA_VERSION))


COUNTS = st.dictionaries(st.integers(0, 2**40), st.integers(1, 2**30), max_size=50)


@given(counts=COUNTS, failed=st.integers(0, 100))
def test_latencies_survive_as_text(counts, failed):
    before = LatencyCounts(counts=tuple(sorted(counts.items())), failed=failed)
    assert counts_from_text(counts_to_text(before), failed=failed) == before


@given(text=st.text(alphabet="ABCDEFGHabcdefgh0123456789+/=-", max_size=40))
def test_text_that_is_no_histogram_is_refused_or_is_one(text):
    try:
        counts = counts_from_text(text, failed=0)
    except ValueError:
        return
    latencies = [latency_us for latency_us, _ in counts.counts]
    assert latencies == sorted(set(latencies))
