"""What the gate compares: the lock file's spec, and the candidate; and what it refuses to compare."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.studies import a_told_spec
from tests.unit.gate.test_lock_file import a_lock
from tuner import __version__
from tuner.domain.errors import LockUnusable, UsageError
from tuner.domain.spec import RunnerSpec, StudySpec
from tuner.gate.check import check
from tuner.gate.fingerprint import fingerprint_of, refuse_unknown_place
from tuner.gate.lock import Lock, prices_for
from tuner.gate_cache import cache_key
from tuner.gate_order import GateOrder
from tuner.gate_sides import sides_of

ORDER = GateOrder(study="study.yaml", lock=Path("lock.json"), mode="verify", storage="sqlite:///none.db")


def today(lock: Lock, spec: StudySpec) -> Lock:
    """The lock file as this servetune writes it."""
    prices = prices_for(spec.pricing, lock.configuration)
    fingerprint = fingerprint_of(spec, lock.configuration, (), prices, tool=__version__)
    return replace(lock, fingerprint=fingerprint)


def larger(spec: StudySpec) -> StudySpec:
    footprint = replace(spec.pricing.footprint, memory_gib=8.0)
    return replace(spec, pricing=replace(spec.pricing, footprint=footprint))


def with_option(spec: StudySpec) -> StudySpec:
    return replace(spec, runner=replace(spec.runner, options=(("grpc", True),)))


@pytest.mark.parametrize("kind", ["kubernetes", "container", "replay"])
def test_a_runner_whose_image_no_fingerprint_holds_is_refused(kind):
    spec = replace(a_told_spec(), runner=RunnerSpec(kind=kind))
    with pytest.raises(UsageError, match="cannot tell") as refused:
        refuse_unknown_place(spec)
    assert "local and simulated" in str(refused.value.hint)


@pytest.mark.parametrize("change", [larger, with_option])
def test_another_footprint_or_runner_option_needs_the_deployed_revision(change):
    spec = a_told_spec()
    lock = today(a_lock(), spec)
    assert sides_of(ORDER, lock, spec, ()).deployed == spec
    with pytest.raises(LockUnusable) as refused:
        sides_of(ORDER, lock, change(spec), ())
    assert "--deployed" in str(refused.value.hint)


def test_the_check_of_another_footprint_is_refused_and_names_it():
    spec = a_told_spec()
    lock = today(a_lock(), spec)
    check(lock, spec, tool=__version__, reproduce="", on_inconclusive="fail")
    other = replace(spec.pricing, footprint=replace(spec.pricing.footprint, cpu_cores=7.0))
    with pytest.raises(LockUnusable, match="runner: .*7 cores"):
        check(lock, replace(spec, pricing=other), tool=__version__, reproduce="", on_inconclusive="fail")


def test_pairs_of_another_footprint_option_or_time_limit_are_not_used_again():
    spec = a_told_spec()
    lock = today(a_lock(), spec)
    patient = replace(spec, load=replace(spec.load, timeout_s=77.0))
    others = (spec, larger(spec), with_option(spec), patient)
    # Prices are no part of the question here: the larger footprint has no price in this book.
    sides = [(one, spec) for one in others] + [(spec, one) for one in (with_option(spec), patient)]
    keys = [cache_key(lock, deployed, candidate, lock.configuration, 1) for deployed, candidate in sides]
    assert len(set(keys)) == len(keys)
