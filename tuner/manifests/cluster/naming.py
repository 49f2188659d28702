"""Names and labels of what a trial makes: the same for the same trial, so that making it twice makes it once."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Literal

from tuner.manifests.plain import Plain, PlainObject, canonical_json, merged

Role = Literal["owner", "server", "config", "load", "load-master", "load-worker", "network", "gpu", "controller"]

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "servetune"
STUDY_LABEL = "servetune/study"
TRIAL_LABEL = "servetune/trial"
ATTEMPT_LABEL = "servetune/attempt"
ROLE_LABEL = "servetune/role"
RUN_LABEL = "servetune/run"
STUDY_ANNOTATION = "servetune/study-name"
EXPIRY_ANNOTATION = "servetune/expires-at"
CONTENT_ANNOTATION = "servetune/content-sha256"

HOLDER_ANNOTATION = "servetune/lease-holder"
TOKEN_ANNOTATION = "servetune/lease-token"  # noqa: S105 - a number, no secret
CONTROLLER: Role = "controller"

MOST_CHARACTERS = 63
_HASH_DIGITS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialId:
    """Which attempt at which trial of which study; trials and attempts count from 0 and 1."""

    study: str
    trial: int
    attempt: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Coordinator:
    """Who holds a study's lease: `token` is the lease's count of holders, by which a later one is known."""

    holder: str
    token: int

    @property
    def annotations(self) -> dict[str, Plain]:
        """What a trial's owner says of who made it."""
        return {HOLDER_ANNOTATION: self.holder, TOKEN_ANNOTATION: str(self.token)}


def object_name(trial: TrialId, role: Role, *, run: int = 0) -> str:
    """A DNS label (RFC 1035, at most 63 characters), unique to the trial's attempt, the role and the run of load.

    The study's name is in it as far as it may be; a hash of the whole identity tells apart what that cannot.
    """
    digits = _digits(f"{trial.study}\0{trial.trial}\0{trial.attempt}")
    tail = f"-{trial.trial}-{trial.attempt}-{digits}-{role}" + (f"-{run}" if run else "")
    return f"st-{_slug(trial.study, MOST_CHARACTERS - len('st-') - len(tail))}{tail}"


def study_object_name(study: str, role: str) -> str:
    """A DNS label for what belongs to the whole study."""
    tail = f"-{_digits(study)}-{role}"
    return f"st-{_slug(study, MOST_CHARACTERS - len('st-') - len(tail))}{tail}"


def label_value(text: str) -> str:
    """The text where it is a label value, else as much of it as may be one, and a hash."""
    if re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", text):
        return text
    return f"{_slug(text, MOST_CHARACTERS - _HASH_DIGITS - 1)}-{_digits(text)}"


def study_labels(study: str) -> dict[str, str]:
    """What everything of a study is found by."""
    return {MANAGED_BY: MANAGER, STUDY_LABEL: label_value(study)}


def trial_labels(trial: TrialId, role: Role) -> dict[str, str]:
    """What everything of a trial's attempt is found by, and which part it is."""
    return {
        **study_labels(trial.study),
        TRIAL_LABEL: str(trial.trial),
        ATTEMPT_LABEL: str(trial.attempt),
        ROLE_LABEL: role,
    }


def controller_labels(study: str) -> dict[str, str]:
    """What the pod of a study's hosted controller carries: its trials' servers let it in."""
    return {**study_labels(study), ROLE_LABEL: CONTROLLER}


def selector_of(labels: dict[str, str]) -> str:
    """Labels as `kubectl -l` and the API's labelSelector take them."""
    return ",".join(f"{key}={value}" for key, value in labels.items())


def metadata_of(trial: TrialId, role: Role, *, namespace: str, expires_at: str) -> dict[str, Plain]:
    """The metadata of one object of a trial; `expires_at` (RFC 3339) is when anyone may remove it."""
    return {
        "name": object_name(trial, role),
        "namespace": namespace,
        "labels": trial_labels(trial, role),
        "annotations": {STUDY_ANNOTATION: trial.study, EXPIRY_ANNOTATION: expires_at},
    }


def sealed(manifest: PlainObject) -> dict[str, Plain]:
    """The object with the hash of its content, to tell one's own from another of the same name."""
    digest = hashlib.sha256(canonical_json(manifest).encode()).hexdigest()
    return merged(manifest, {"metadata": {"annotations": {CONTENT_ANNOTATION: digest}}})


def _slug(text: str, room: int) -> str:
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return plain[: max(1, room)].strip("-") or "x"


def _digits(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_DIGITS]
