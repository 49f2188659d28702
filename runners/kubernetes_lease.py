"""The Lease of a study in its namespace: one coordinator at a time, in a cluster that several people tune in.

It is taken before the first write and renewed by a thread. It is taken over only after it was seen to stand still for
its whole duration, by a clock of one's own: clocks of two machines are never compared. At the end it is deleted.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from runners.kubernetes_api import ApiRefused, KubernetesApi
from runners.kubernetes_paths import path_of
from runners.kubernetes_trial import refusals_explained
from tuner.coordination import RENEWALS_A_LEASE, Held, Tell, kept, lost, own_identity, take_over
from tuner.domain.errors import InfrastructureError, TransientFailure
from tuner.interruption import undisturbed
from tuner.manifests.cluster.naming import Coordinator
from tuner.manifests.cluster.trial_objects import study_lease
from tuner.manifests.plain import Plain, PlainObject, merged, number_at, object_at, text_at
from tuner.ports import Clock


class ClusterLease:
    """One process's view of a study's Lease. Its thread and the trials' may use it at once."""

    def __init__(self, api: KubernetesApi, *, namespace: str, study: str, holder: str, duration_s: float) -> None:
        self._api, self._namespace, self._study = api, namespace, study
        self._holder, self._duration_s = holder, duration_s
        self._acquired_at = ""
        self._kept: PlainObject = {}
        self._fresh_until_s = 0.0
        self._loss = ""
        self._seen: tuple[PlainObject, float] | None = None
        self._renewing = threading.Lock()

    @property
    def coordinator(self) -> Coordinator:
        """What every trial of this holder bears."""
        return Coordinator(holder=self._holder, token=number_at(self._kept, "spec", "leaseTransitions"))

    def attempt(self) -> int | Held:
        """The token if the lease is free, or stood still for its duration since first seen here; else who has it.

        Raises ApiRefused.
        """
        found = self._api.find(self._path) or self._created()
        if found is None:
            return self.attempt()
        if _holder(found) == self._holder:
            return self._hold(found)
        if self._stands_still(found):
            try:
                return self._hold(self._api.replace(self._manifest(found, token=_token(found) + 1)))
            except ApiRefused as refused:
                if refused.status not in {404, 409}:
                    raise
        since = text_at(found, "spec", "acquireTime")
        return Held(holder=_holder(found), since=since, renewal=text_at(found, "spec", "renewTime"))

    def renew(self) -> None:
        """Raises InfrastructureError when somebody else has it, or it is gone. A silent cluster tells nothing."""
        with self._renewing:
            try:
                # Another version may still be ours: of a renewal whose answer was lost, or with somebody's label on it.
                if not self._renewed():
                    self._adopt()
                    self._renewed()
            except ApiRefused:
                return

    def confirm(self) -> None:
        """To be asked before a write. Raises InfrastructureError if it is lost, TransientFailure if nobody knows."""
        if not self._loss and _now_s() < self._fresh_until_s:
            return
        self.renew()
        if _now_s() >= self._fresh_until_s:
            raise TransientFailure(f"the lease of study {self._study!r} could not be renewed in time")

    def release(self, tell: Tell) -> None:
        """Delete it, where it still is this holder's. Where the cluster does not answer it runs out by itself."""
        try:
            self.renew()
            uid, version = (text_at(self._kept, "metadata", key) for key in ("uid", "resourceVersion"))
            self._api.delete(self._path, uid=uid, version=version)
        except InfrastructureError:
            return
        except ApiRefused as refused:
            tell(f"the study's lease could not be deleted, and runs out by itself: {refused}")

    @property
    def _path(self) -> str:
        return path_of(self._manifest({}, token=0))

    def _created(self) -> PlainObject | None:
        """None where somebody else was quicker."""
        try:
            return self._api.create(self._manifest({}, token=1))
        except ApiRefused as refused:
            if refused.status != 409:
                raise
            return self._api.find(self._path)

    def _stands_still(self, found: PlainObject) -> bool:
        if not _holder(found):
            return True
        spec = object_at(found, "spec")
        if self._seen is None or self._seen[0] != spec:
            self._seen = (spec, _now_s())
        return _now_s() - self._seen[1] > number_at(found, "spec", "leaseDurationSeconds")

    def _hold(self, mine: PlainObject) -> int:
        self._kept, self._acquired_at = mine, text_at(mine, "spec", "acquireTime")
        # Only a renewal says how fresh it is: this one may have been made by an attempt whose answer was lost.
        self._fresh_until_s = 0.0
        return _token(mine)

    def _renewed(self) -> bool:
        """Whether this version was still there. Raises ApiRefused, InfrastructureError."""
        if self._loss:
            raise lost(self._study, self._loss)
        begun_s = _now_s()
        try:
            self._kept = self._api.replace(self._manifest(self._kept, token=_token(self._kept)))
        except ApiRefused as refused:
            if refused.status not in {404, 409}:
                raise
            return False
        self._fresh_until_s = begun_s + self._duration_s
        return True

    def _adopt(self) -> None:
        found = self._api.find(self._path)
        if found is None:
            self._loss = "somebody deleted its lease"
        elif (_holder(found), _token(found)) != (self._holder, _token(self._kept)):
            self._loss = f"{_holder(found) or 'nobody'} took it over at {text_at(found, 'spec', 'acquireTime')}"
        else:
            self._kept = found
        if self._loss:
            raise lost(self._study, self._loss)

    def _manifest(self, before: PlainObject, *, token: int) -> dict[str, Plain]:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        lease = study_lease(
            namespace=self._namespace,
            study=self._study,
            holder=self._holder,
            duration_s=self._duration_s,
            renewed_at=now,
            acquired_at=self._acquired_at or now,
            token=token,
        )
        version = text_at(before, "metadata", "resourceVersion")
        return merged(lease, {"metadata": {"resourceVersion": version}}) if version else lease


@contextmanager
def reached(what: str) -> Iterator[None]:
    """Before a study begins, a cluster that does not answer ends it. Raises InfrastructureError, UsageError."""
    try:
        with refusals_explained(what):
            yield
    except TransientFailure as error:
        raise InfrastructureError(error.message, hint="run the same command again when it does") from error


@contextmanager
def holding(
    api: KubernetesApi, *, namespace: str, study: str, lease_s: float, clock: Clock, tell: Tell, who: str = ""
) -> Iterator[ClusterLease]:
    """The study's lease, until the end of the block. Raises UsageError if somebody who lives has it, or it may not be
    taken; InfrastructureError if it is lost meanwhile, or the cluster does not answer.
    """
    lease = ClusterLease(api, namespace=namespace, study=study, holder=f"{who}{own_identity()}", duration_s=lease_s)
    with reached(f"the lease of study {study!r} in namespace {namespace}"):
        take_over(lease.attempt, study=f"{study} in namespace {namespace}", clock=clock, tell=tell)
    try:
        with kept(lease.renew, every_s=lease_s / RENEWALS_A_LEASE):
            yield lease
    finally:
        with undisturbed():
            lease.release(tell)


def lease_is_over(lease: PlainObject, now: datetime) -> bool:
    """Whether nobody seems to hold it, by the clock of who asks. A time that nobody can read is none."""
    try:
        renewed = datetime.fromisoformat(text_at(lease, "spec", "renewTime"))
    except ValueError:
        return not _holder(lease)
    lasts_s = number_at(lease, "spec", "leaseDurationSeconds")
    return not _holder(lease) or (now - renewed).total_seconds() > lasts_s


def coordinator_of(lease: PlainObject) -> Coordinator:
    """Who holds it, as trials bear it."""
    return Coordinator(holder=_holder(lease), token=_token(lease))


def _holder(lease: PlainObject) -> str:
    return text_at(lease, "spec", "holderIdentity")


def _token(lease: PlainObject) -> int:
    return number_at(lease, "spec", "leaseTransitions")


def _now_s() -> float:
    """Seconds of a clock that goes on while the machine sleeps, as the cluster's does."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
