"""What an error answer of the API means."""

from __future__ import annotations

from typing import Any

import pytest

from tuner.manifests.cluster.refusals import Again, classify_refusal
from tuner.manifests.cluster.states import Exists, Infeasible, Relist, StudyError, Transient


def status(code: int, reason: str, message: str = "", causes: list[Any] | None = None, **details: Any) -> Any:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "reason": reason,
        "code": code,
        "message": message,
        "details": {"causes": causes or [], **details},
    }


def invalid(*fields: str) -> Any:
    return status(
        422, "Invalid", "Deployment is invalid", [{"reason": "FieldValueInvalid", "field": f} for f in fields]
    )


FORBIDDEN = 'deployments.apps is forbidden: User "ci" cannot create resource "deployments" in API group "apps"'
QUOTA = "pods is forbidden: exceeded quota: q, requested: limits.cpu=4, used: limits.cpu=1, limited: limits.cpu={}"
GONE = 'namespaces "x" not found'
ROWS: dict[str, tuple[int | None, Any, Any]] = {
    "half a GPU": (
        422,
        invalid("spec.template.spec.containers[0].resources.limits[nvidia.com/gpu]"),
        Infeasible("invalid", "Deployment is invalid"),
    ),
    "a tuned environment": (
        422,
        invalid("spec.template.spec.containers[0].env[0].name"),
        Infeasible("invalid", "Deployment is invalid"),
    ),
    "a bad name": (422, invalid("metadata.name"), StudyError("invalid", "Deployment is invalid")),
    "a bad name as well": (
        422,
        invalid("metadata.name", "spec.template.spec.containers[0].resources.limits"),
        StudyError("invalid", "Deployment is invalid"),
    ),
    "invalid for no stated reason": (422, invalid(), StudyError("invalid", "Deployment is invalid")),
    "not understood": (400, status(400, "BadRequest", "strict decoding"), StudyError("bad_request", "strict decoding")),
    "no right": (403, status(403, "Forbidden", FORBIDDEN), StudyError("forbidden", FORBIDDEN)),
    "no identity": (401, status(401, "Unauthorized", "Unauthorized"), StudyError("unauthorized", "Unauthorized")),
    "namespace gone": (404, status(404, "NotFound", GONE), StudyError("not_found", GONE)),
    "namespace ends": (
        403,
        status(403, "Forbidden", "unable to create", [{"reason": "NamespaceTerminating"}]),
        StudyError("namespace_terminating", "unable to create"),
    ),
    "above the quota": (403, status(403, "Forbidden", QUOTA.format(2)), Infeasible("above_quota", QUOTA.format(2))),
    "quota in use": (403, status(403, "Forbidden", QUOTA.format(4)), Transient("quota_full", QUOTA.format(4))),
    "too many requests": (429, status(429, "TooManyRequests", retryAfterSeconds=3), Again(3.0)),
    "server fails": (500, status(500, "InternalError"), Again(0.0)),
    "server away": (503, {}, Again(0.0)),
    "no answer": (None, {}, Again(0.0)),
    "watch too old": (410, status(410, "Expired"), Relist()),
    "there already": (409, status(409, "AlreadyExists"), Exists()),
    "changed meanwhile": (409, status(409, "Conflict"), Again(0.0)),
}


@pytest.mark.parametrize("row", ROWS)
def test_each_answer_has_its_class(row: str):
    code, body, expected = ROWS[row]
    assert classify_refusal(code, body) == expected


def test_the_header_says_when_to_come_again():
    assert classify_refusal(429, status(429, "TooManyRequests", retryAfterSeconds=3), retry_after_s=7.5) == Again(7.5)
    assert classify_refusal(503, {}, retry_after_s=1e9) == Again(300.0)
