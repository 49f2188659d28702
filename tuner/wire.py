"""Trials and study files as versioned JSON text, there and back without loss (infinity included)."""

from __future__ import annotations

import json
from functools import cache

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from tuner.domain.earlier import WarmStart
from tuner.domain.errors import UsageError
from tuner.domain.spec import StudySpec
from tuner.domain.trial import Trial

# 1: the first format.
SCHEMA_VERSION = 1


@cache
def _trial_adapter() -> TypeAdapter[Trial]:
    return TypeAdapter(Trial)


@cache
def _spec_adapter() -> TypeAdapter[StudySpec]:
    return TypeAdapter(StudySpec)


@cache
def _warm_start_adapter() -> TypeAdapter[WarmStart]:
    return TypeAdapter(WarmStart)


def trial_to_json(trial: Trial) -> str:
    return _wrap(to_json(trial, inf_nan_mode="strings"))


def trial_from_json(text: str) -> Trial:
    """Raises UsageError if the text is damaged, or written by a newer servetune."""
    try:
        return _trial_adapter().validate_json(_unwrap(text, what="trial"))
    except ValidationError as error:
        raise UsageError(f"a trial in the storage is damaged: {error.errors()[0]['msg']}") from error


def spec_to_json(spec: StudySpec) -> str:
    return _wrap(to_json(spec, inf_nan_mode="strings"))


def spec_from_json(text: str) -> StudySpec:
    """Raises UsageError if the text is damaged, or written by a newer servetune."""
    try:
        return _spec_adapter().validate_json(_unwrap(text, what="study"))
    except ValidationError as error:
        raise UsageError(f"a study in the storage is damaged: {error.errors()[0]['msg']}") from error


def warm_start_to_json(warm: WarmStart) -> str:
    return _wrap(to_json(warm, inf_nan_mode="strings"))


def warm_start_from_json(text: str) -> WarmStart:
    """Raises UsageError if the text is damaged, or written by a newer servetune."""
    try:
        return _warm_start_adapter().validate_json(_unwrap(text, what="warm start"))
    except ValidationError as error:
        raise UsageError(f"a warm start in the storage is damaged: {error.errors()[0]['msg']}") from error


def _wrap(value_json: bytes) -> str:
    return f'{{"schema_version":{SCHEMA_VERSION},"value":{value_json.decode()}}}'


def _unwrap(text: str, *, what: str) -> str:
    try:
        document = json.loads(text)
        version, value = int(document["schema_version"]), document["value"]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"a {what} in the storage is damaged: {error}") from error
    if version > SCHEMA_VERSION:
        raise UsageError(
            f"a {what} in the storage has format {version}, this servetune knows {SCHEMA_VERSION}",
            hint="use the newer servetune that wrote it",
        )
    return json.dumps(value)
