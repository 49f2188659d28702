"""The history in Optuna's own storage: one Optuna trial per trial, its full value in one versioned JSON attribute.

The door to optuna's storages. `optuna-dashboard` opens what is written here.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import assert_never

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy import Connection, event
from sqlalchemy.exc import SQLAlchemyError

from tuner.database import UnknownOutcome, engine_options, one_at_a_time, patiently, refuse_unreadable, storage_errors
from tuner.domain.earlier import WarmStart, may_help, warm_start
from tuner.domain.errors import UsageError
from tuner.domain.space import Knob, SearchSpace
from tuner.domain.spec import StudySpec
from tuner.domain.trial import Failed, Infeasible, Measured, Trial
from tuner.fingerprint import differing_part
from tuner.postgres_lease import Fence
from tuner.storage_url import shown, with_driver
from tuner.wire import (
    spec_from_json,
    spec_to_json,
    trial_from_json,
    trial_to_json,
    warm_start_from_json,
    warm_start_to_json,
)

TRIAL_ATTRIBUTE = "servetune:trial"
SPEC_ATTRIBUTE = "servetune:study"
WARM_ATTRIBUTE = "servetune:warm_start"
PIN_PREFIX = "servetune:pinned:"
NUMBER_ATTRIBUTE = "servetune:number"
"""A trial's own number, where trials beside it ended earlier and so have the storage's."""

optuna.logging.set_verbosity(optuna.logging.ERROR)


class OptunaHistory:
    """The trials of one study. Implements the History port.

    Where the study is fenced, an append that found the database away is made as soon as it answers again.
    """

    def __init__(self, study: optuna.Study, space: SearchSpace, storage_url: str, guard: _Guard | None = None) -> None:
        self._study, self._url, self._guard = study, storage_url, guard
        self._distributions = {knob.name: _distribution(knob) for knob in space.knobs}
        self._appending = threading.Lock()

    def append(self, trial: Trial) -> None:
        """One transaction: the trial is on disk with everything it holds, or not at all.

        Raises UsageError; InfrastructureError where another coordinator has taken the study over.
        """
        tries = itertools.count()
        with self._appending, _storage_errors(self._url):
            patiently(self._url, lambda: self._append(trial, first=next(tries) == 0))

    def trials(self) -> tuple[Trial, ...]:
        with _storage_errors(self._url):
            return patiently(self._url, lambda: _read_trials(self._study))

    def pinned(self, key: str, value: str) -> str:
        """What the study keeps under a key: the value of the first who asked. Raises UsageError."""
        with _storage_errors(self._url):
            return patiently(self._url, lambda: self._pinned(PIN_PREFIX + key, value))

    def _pinned(self, key: str, value: str) -> str:
        if key not in self._study.user_attrs:
            self._study.set_user_attr(key, value)
        return str(self._study.user_attrs[key])

    def _append(self, trial: Trial, *, first: bool) -> None:
        known = {_number(frozen): frozen for frozen in self._study.get_trials(deepcopy=False)}
        frozen = self._frozen(trial, alike=trial.number == len(known))
        if trial.number in known:
            text = frozen.user_attrs[TRIAL_ATTRIBUTE]
            if not first and known[trial.number].user_attrs.get(TRIAL_ATTRIBUTE) == text:
                # The connection broke after the commit.
                return
            raise UsageError(
                f"trial {trial.number} is already in the history of study {self._study.study_name}",
                hint="another process tunes the same study; wait for it to end",
            )
        with nullcontext() if self._guard is None else self._guard.one_transaction():
            self._study.add_trial(frozen)

    def _frozen(self, trial: Trial, *, alike: bool) -> optuna.trial.FrozenTrial:
        """`alike`: the storage gives it the same number."""
        state, value = _state_and_value(trial)
        return optuna.trial.create_trial(
            state=state,
            value=value,
            params=trial.configuration.as_dict(),
            distributions=self._distributions,
            user_attrs={
                "purpose": trial.purpose.kind,
                "outcome": _in_words(trial),
                TRIAL_ATTRIBUTE: trial_to_json(trial),
                **({} if alike else {NUMBER_ATTRIBUTE: trial.number}),
            },
        )


class _Guard:
    """Every transaction of a storage begins behind the fence; where asked, there is only one of them.

    Optuna repeats a transaction that failed. One whose commit was not answered may have been carried out, and would be
    carried out twice.
    """

    def __init__(self, storage: RDBStorage, fence: Fence) -> None:
        self._fence = fence
        self._here = threading.local()
        event.listen(storage.scoped_session, "after_begin", self._begin)

    @contextmanager
    def one_transaction(self) -> Iterator[None]:
        self._here.left = 1
        try:
            yield
        finally:
            self._here.left = None

    def _begin(self, _session: object, _transaction: object, connection: Connection) -> None:
        left: int | None = getattr(self._here, "left", None)
        if left == 0:
            raise UnknownOutcome("the transaction failed, or its commit was not answered")
        self._here.left = None if left is None else left - 1
        self._fence.hold(connection)


def open_history(storage_url: str, spec: StudySpec, fence: Fence | None = None) -> OptunaHistory:
    """The history of a study, made if absent; written behind the fence where there is one.

    Raises UsageError if the storage cannot be used, or holds a study of this name with another content.
    """
    with _storage_errors(storage_url):
        storage = _storage(storage_url)
        guard = None if fence is None else _Guard(storage, fence)
        study = optuna.create_study(storage=storage, study_name=spec.name, direction="minimize", load_if_exists=True)
        _refuse_another(study, spec)
        study.set_user_attr(SPEC_ATTRIBUTE, spec_to_json(spec))
        # Asked for once, so that an append is the only transaction of an append.
        study.directions  # noqa: B018
    return OptunaHistory(study, spec.space, storage_url, guard)


def read_study(storage_url: str, name: str) -> tuple[StudySpec, tuple[Trial, ...]]:
    """A study by name, with its trials. Raises UsageError if there is none."""
    with _storage_errors(storage_url):
        known = study_names(storage_url)
        if name not in known:
            raise UsageError(
                f"no study named {name!r} in {shown(storage_url)}", hint=f"it holds: {', '.join(known) or 'none'}"
            )
        study = optuna.load_study(storage=_storage(storage_url), study_name=name)
        text = study.user_attrs.get(SPEC_ATTRIBUTE)
        if text is None:
            raise UsageError(f"study {name!r} was not written by servetune")
        return spec_from_json(text), _read_trials(study)


def read_trials(storage_url: str, spec: StudySpec) -> tuple[Trial, ...]:
    """The trials of the study that a file describes, none where it was never tuned; nothing is written.

    Raises UsageError as `open_history` does.
    """
    with _storage_errors(storage_url):
        if spec.name not in study_names(storage_url):
            return ()
        study = optuna.load_study(storage=_storage(storage_url), study_name=spec.name)
        _refuse_another(study, spec)
        return _read_trials(study)


def begin_warm(storage_url: str, spec: StudySpec) -> WarmStart:
    """What a study that is open begins with: chosen from the storage before its first trial, and the same ever after.

    Raises UsageError if a study that it names is not in the storage.
    """
    with _storage_errors(storage_url):
        study = optuna.load_study(storage=_storage(storage_url), study_name=spec.name)
        if WARM_ATTRIBUTE not in study.user_attrs:
            fresh = not study.get_trials(deepcopy=False)
            warm = _chosen(storage_url, spec) if fresh else WarmStart()
            study.set_user_attr(WARM_ATTRIBUTE, warm_start_to_json(warm))
    return read_warm(storage_url, spec.name)


def read_warm(storage_url: str, name: str) -> WarmStart:
    """What a study began with; nothing for one that was never tuned. Raises UsageError."""
    with _storage_errors(storage_url):
        if name not in study_names(storage_url):
            return WarmStart()
        study = optuna.load_study(storage=_storage(storage_url), study_name=name)
        text = study.user_attrs.get(WARM_ATTRIBUTE)
        return WarmStart() if text is None else warm_start_from_json(text)


def _chosen(storage_url: str, spec: StudySpec) -> WarmStart:
    names = study_names(storage_url)
    asked = spec.search.warm_start
    missing = [name for name in asked if name not in names] if isinstance(asked, tuple) else []
    if missing:
        raise UsageError(
            f"search.warm_start names a study {missing[0]!r} that is not in {shown(storage_url)}",
            hint=f"it holds: {', '.join(names)}",
        )
    return warm_start(spec, _helpful(storage_url, spec, names))


def _helpful(storage_url: str, asked: StudySpec, names: Sequence[str]) -> Iterator[tuple[StudySpec, tuple[Trial, ...]]]:
    """In the order in which they were made."""
    storage = _storage(storage_url)
    for name in names:
        study = optuna.load_study(storage=storage, study_name=name)
        text = study.user_attrs.get(SPEC_ATTRIBUTE)
        if text is not None and may_help(asked, earlier := spec_from_json(text)):
            yield earlier, _read_trials(study)


def study_names(storage_url: str) -> tuple[str, ...]:
    with _storage_errors(storage_url):
        return tuple(optuna.get_all_study_names(storage=_storage(storage_url)))


def _read_trials(study: optuna.Study) -> tuple[Trial, ...]:
    """In order of their numbers, in whatever order they ended."""
    texts = [frozen.user_attrs.get(TRIAL_ATTRIBUTE) for frozen in study.get_trials(deepcopy=False)]
    found = (trial_from_json(text) for text in texts if text is not None)
    return tuple(sorted(found, key=lambda trial: trial.number))


def _number(frozen: optuna.trial.FrozenTrial) -> int:
    return int(frozen.user_attrs.get(NUMBER_ATTRIBUTE, frozen.number))


def _refuse_another(study: optuna.Study, asked: StudySpec) -> None:
    known = study.user_attrs.get(SPEC_ATTRIBUTE)
    if known is None:
        _refuse_foreign(study)
    else:
        _refuse_other_content(spec_from_json(known), asked)


def _refuse_foreign(study: optuna.Study) -> None:
    if study.get_trials(deepcopy=False):
        raise UsageError(
            f"the storage holds a study {study.study_name!r} that servetune did not write",
            hint="change metadata.name, or name another --storage",
        )


def _refuse_other_content(known: StudySpec, asked: StudySpec) -> None:
    if known.fingerprint != asked.fingerprint:
        part = differing_part(known, asked)
        raise UsageError(
            f"study {asked.name!r} is in the storage with other content ({part} differs): its trials do not answer "
            "this file",
            hint="change metadata.name to start afresh, or go back to the file of then",
        )


def _storage(storage_url: str) -> RDBStorage:
    refuse_unreadable(storage_url)
    with one_at_a_time(storage_url):
        return RDBStorage(with_driver(storage_url), engine_kwargs=engine_options(storage_url))


@contextmanager
def _storage_errors(storage_url: str) -> Iterator[None]:
    with storage_errors(storage_url):
        try:
            yield
        except optuna.exceptions.StorageInternalError as error:
            if isinstance(error.__cause__, SQLAlchemyError):
                raise error.__cause__ from None
            raise UsageError(f"the storage cannot be used: {error}", hint="check --storage and the disk") from error


def _distribution(knob: Knob) -> BaseDistribution:
    if not knob.ordered:
        return CategoricalDistribution(choices=knob.values)
    numbers = [value for value in knob.values if not isinstance(value, str)]
    if all(isinstance(value, int) for value in numbers):
        return IntDistribution(low=int(min(numbers)), high=int(max(numbers)))
    return FloatDistribution(low=float(min(numbers)), high=float(max(numbers)))


def _state_and_value(trial: Trial) -> tuple[TrialState, float | None]:
    """The objective shown is money per hour; a trial that met no load level shows what it would have cost anyway."""
    match trial.outcome:
        case Measured(levels=levels):
            return TrialState.COMPLETE, trial.total_cost_per_hour or trial.unit_cost_per_hour * levels[-1].replicas
        case Infeasible():
            return TrialState.PRUNED, None
        case Failed():
            return TrialState.FAIL, None
        case _ as unreachable:
            assert_never(unreachable)


def _in_words(trial: Trial) -> str:
    match trial.outcome:
        case Measured(levels=levels):
            return "; ".join(f"{level.replicas} replicas: {level.verdict}" for level in levels)
        case Infeasible(reason=reason):
            return f"infeasible: {reason}"
        case Failed(error=error):
            return f"failed: {error}"
        case _ as unreachable:
            assert_never(unreachable)
