"""What it means that the API refused something, or that a controller was refused on our behalf."""

from __future__ import annotations

import re
from fractions import Fraction

from tuner.manifests.cluster.quantities import parse_quantity
from tuner.manifests.cluster.states import Again, Exists, Infeasible, Refusal, Relist, StudyError, Transient
from tuner.manifests.plain import PlainObject, number_at, objects_at, text_at

_QUOTA = re.compile(
    r"exceeded quota: (?P<name>[^,]*), requested: (?P<asked>.*), used: (?P<used>.*), limited: (?P<hard>.*)"
)
# Fields of a pod that a knob writes: what is wrong with them is the configuration's fault.
_TUNED_FIELDS = re.compile(r"\.(resources|env|args|resourceClaims|nodeSelector|affinity)\b|\bdata\b")
_LIMIT_RANGE = re.compile(r"(maximum|minimum) (cpu|memory|[\w./-]+) usage per (Container|Pod) is")
MOST_PATIENCE_S = 300
_PASSING = ("failed calling webhook", "Internal error occurred", "timeout", "connection refused", "etcdserver")


def classify_refusal(status: int | None, body: PlainObject, *, retry_after_s: float | None = None) -> Refusal:
    """The meaning of an error answer to creating or patching something; `status` is None where no answer came.

    `body` is the API's Status object, as far as there is one.
    """
    reason, message = text_at(body, "reason"), text_at(body, "message")
    if status is None or status == 429 or status >= 500:
        stated_s = retry_after_s if retry_after_s is not None else number_at(body, "details", "retryAfterSeconds")
        return Again(float(min(max(0, stated_s), MOST_PATIENCE_S)))
    if status == 410:
        return Relist()
    if status == 409:
        return Exists() if reason == "AlreadyExists" else Again()
    if status == 422:
        return _invalid(body, message)
    if status == 403:
        return _forbidden(body, message)
    if status == 404:
        return StudyError("not_found", message)
    return StudyError("unauthorized" if status == 401 else "bad_request", message)


def _invalid(body: PlainObject, message: str) -> Infeasible | StudyError:
    fields = [text_at(cause, "field") for cause in objects_at(body, "details", "causes")]
    tuned = bool(fields) and all(_TUNED_FIELDS.search(field) for field in fields)
    return Infeasible("invalid", message) if tuned else StudyError("invalid", message)


def _forbidden(body: PlainObject, message: str) -> Infeasible | Transient | StudyError:
    causes = {text_at(cause, "reason") for cause in objects_at(body, "details", "causes")}
    if "NamespaceTerminating" in causes or "because it is being terminated" in message:
        return StudyError("namespace_terminating", message)
    return classify_pod_refusal(message) or StudyError("forbidden", message)


def classify_pod_refusal(message: str) -> Infeasible | Transient | StudyError | None:
    """Why a pod was not made: quota, limit range, pod security, or a hook that did not answer. None: another reason."""
    quota = _QUOTA.search(message)
    if quota:
        above = above_quota(quota["asked"], quota["hard"])
        return Infeasible("above_quota", message) if above else Transient("quota_full", message)
    if _LIMIT_RANGE.search(message):
        return Infeasible("outside_limit_range", message)
    if "violates PodSecurity" in message:
        return StudyError("pod_security", message)
    return Transient("api_trouble", message) if any(part in message for part in _PASSING) else None


def above_quota(asked: str, hard: str) -> bool:
    """Whether one of the amounts ("a=1,b=2Gi") is above the quota's whole, whatever is in use."""
    limits = _amounts(hard)
    return any(name in limits and amount > limits[name] for name, amount in _amounts(asked).items())


def _amounts(text: str) -> dict[str, Fraction]:
    pairs = (part.strip().partition("=") for part in text.split(","))
    found = ((name, parse_quantity(amount)) for name, _, amount in pairs)
    return {name: amount for name, amount in found if amount is not None}
