"""What the gate compares: the lock file's spec, and the candidate; and what it refuses to compare."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.specs import a_price, space_of
from tests.studies import a_proven_study, a_told_spec, conclusion_of, search_trials
from tests.unit.gate.test_lock_file import a_lock
from tuner import __version__
from tuner.domain.errors import LockUnusable, UsageError
from tuner.domain.recommendation import NothingFeasible
from tuner.domain.spec import RunnerSpec, StudySpec
from tuner.gate.check import check
from tuner.gate.fingerprint import fingerprint_of, refuse_unknown_place
from tuner.gate.lock import Lock, prices_for
from tuner.gate.result import Outcome
from tuner.gate_cache import cache_key
from tuner.gate_order import GateOrder
from tuner.gate_sides import UNPROVEN, Sides, sides_of
from tuner.gate_verify import verify

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
    assert isinstance(found := sides_of(ORDER, lock, spec, ()), Sides)
    assert found.deployed == spec
    with pytest.raises(LockUnusable) as refused:
        sides_of(ORDER, lock, change(spec), ())
    assert "--deployed" in str(refused.value.hint)


def test_the_check_of_another_footprint_is_refused_and_names_it():
    spec = a_told_spec()
    lock = today(a_lock(), spec)
    check(lock, spec, tool=__version__, reproduce="", on_inconclusive="fail")
    other = replace(spec.pricing, footprint=replace(spec.pricing.footprint, cpu_cores=7.0))
    with pytest.raises(LockUnusable, match=r"runner: .*7 cores"):
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


def test_a_study_that_found_nothing_feasible_ends_the_gate_as_that():
    spec, history = replace(a_told_spec(), budget=replace(a_told_spec().budget, trials=2)), search_trials()[:2]
    assert isinstance(conclusion_of(spec, history), NothingFeasible)
    result = verify(ORDER, today(a_lock(), spec), spec, history, lambda _: None)
    assert (result.outcome, result.exit_code) == (Outcome.NOTHING_FEASIBLE, 5)


def test_without_a_proven_answer_the_locked_spec_is_judged_and_that_is_said():
    spec, history, _ = a_proven_study()
    lock = today(a_lock(), spec)
    assert isinstance(proven := sides_of(ORDER, lock, spec, history), Sides)
    assert isinstance(locked := sides_of(ORDER, lock, spec, ()), Sides)
    assert (proven.notes, locked.notes) == ((), (UNPROVEN,))
    assert locked.configuration == lock.configuration


def test_a_locked_configuration_that_the_study_does_not_have_is_refused():
    spec = a_told_spec()
    lock = today(a_lock(), spec)
    with pytest.raises(UsageError, match="none of its configurations") as refused:
        sides_of(ORDER, lock, replace(spec, space=space_of(cpu_cores=(1,), max_batch_size=(1,))), ())
    assert "tune first" in str(refused.value.hint)


def test_a_missing_price_is_named_before_anything_is_measured():
    spec = a_told_spec()
    lock = today(a_lock(), spec)
    footprint = replace(spec.pricing.footprint, gpu_type="l4")
    candidate = replace(spec, pricing=replace(spec.pricing, footprint=footprint))
    order = replace(ORDER, accepted=("runner",))
    with pytest.raises(UsageError, match="price for gpu l4"):
        sides_of(order, lock, candidate, ())
    book = replace(spec.pricing.book, prices=(*spec.pricing.book.prices, a_price("gpu", 0.7, "l4")))
    priced = replace(candidate, pricing=replace(candidate.pricing, book=book))
    assert isinstance(found := sides_of(order, lock, priced, ()), Sides)
    assert "gpu l4" in found.notes[-1]
