"""Whatever a cluster answers, classifying it does not fail; names and quantities hold for everything."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.clusters import NOW, expectation
from tuner.manifests.cluster.classify import classify, server_pods, spoiled
from tuner.manifests.cluster.load_state import classify_load
from tuner.manifests.cluster.naming import TrialId, label_value, object_name, study_object_name, trial_labels
from tuner.manifests.cluster.quantities import cpu_quantity, memory_quantity, parse_quantity
from tuner.manifests.cluster.refusals import classify_refusal
from tuner.manifests.cluster.states import Ready

DNS_LABEL = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
LABEL_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")

# Keys and words of real objects, so that what is drawn comes near them.
_KEYS = (
    "kind metadata name uid labels annotations creationTimestamp deletionTimestamp spec nodeName nodeSelector "
    "affinity nodeAffinity requiredDuringSchedulingIgnoredDuringExecution nodeSelectorTerms matchExpressions key "
    "operator values containers initContainers resources limits requests status phase reason message conditions type "
    "lastTransitionTime containerStatuses initContainerStatuses restartCount containerID imageID state lastState "
    "waiting terminated running exitCode startedAt allocatable cpu memory servetune/role servetune/run details causes "
    "field retryAfterSeconds "
)
_WORDS = (
    "Pod Deployment Node Job Event Failed Pending Running Unknown Ready PodScheduled ReplicaFailure Progressing "
    "DisruptionTarget Complete True False Unschedulable Evicted OutOfcpu UnexpectedAdmissionError DeadlineExceeded "
    "ErrImagePull ImagePullBackOff CrashLoopBackOff OOMKilled StartError Error In NotIn Exists DoesNotExist Gt server "
    "load-worker load-master 1 4 1Gi 1e999 0.5 2026-11-22T11:59:00Z 0001-01-01T00:00:00+23:59 "
    "9999-12-31T23:59:59-23:59 "
)
KEYS = tuple(_KEYS.split(" ")[:-1])
WORDS = (*_WORDS.split(" "), "exceeded quota: q, requested: cpu=x,=1, used: , limited: cpu")
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS) | st.text(max_size=8)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=30,
)
OBJECTS = st.lists(st.dictionaries(st.sampled_from(KEYS), TREES, max_size=5), max_size=4)


def near(kind: str, *path: str) -> st.SearchStrategy[dict[str, Any]]:
    """Objects of a kind with anything at all at a path."""

    def nest(value: Any) -> dict[str, Any]:
        for key in reversed(path):
            value = {key: value}
        return {"kind": kind, **value}

    return TREES.map(nest)


NEAR = st.lists(
    near("Pod", "status")
    | near("Pod", "status", "containerStatuses")
    | near("Pod", "spec")
    | near("Deployment", "status", "conditions")
    | near("Node", "status")
    | near("Job", "metadata", "labels"),
    min_size=1,
    max_size=3,
)


@given(objects=OBJECTS | NEAR, events=OBJECTS, autoscaled=st.booleans())
@settings(max_examples=200, deadline=None)
def test_classifying_never_raises(objects: Any, events: Any, autoscaled: bool):
    known = expectation(autoscaled=autoscaled)
    state = classify(objects, events, NOW, known)
    classify_load(objects, known, run=1)
    if isinstance(state, Ready):
        assert server_pods(objects)
        spoiled(state, objects)


@given(code=st.none() | st.integers(100, 599), body=TREES)
@settings(max_examples=200, deadline=None)
def test_every_answer_has_a_meaning(code: int | None, body: Any):
    classify_refusal(code, body if isinstance(body, dict) else {})


@given(study=st.text(min_size=1, max_size=80), trial=st.integers(0, 10**9), attempt=st.integers(1, 10**4))
def test_names_and_labels_are_such_everywhere(study: str, trial: int, attempt: int):
    identity = TrialId(study=study, trial=trial, attempt=attempt)
    for role in ("owner", "server", "load-master", "load-worker"):
        assert DNS_LABEL.fullmatch(object_name(identity, role))
        assert DNS_LABEL.fullmatch(object_name(identity, role, run=99))
        assert all(LABEL_VALUE.fullmatch(value) for value in trial_labels(identity, role).values())
    assert DNS_LABEL.fullmatch(study_object_name(study, "lease"))
    assert LABEL_VALUE.fullmatch(label_value(study))


@given(one=st.text(max_size=70), other=st.text(max_size=70), trial=st.integers(0, 99))
def test_different_studies_have_different_names(one: str, other: str, trial: int):
    names = {object_name(TrialId(study=study, trial=trial), "server") for study in (one, other)}
    assert len(names) == len({one, other})


@given(milli=st.integers(1, 1_024_000))
def test_cores_go_there_and_back(milli: int):
    assert parse_quantity(cpu_quantity(milli / 1000)) == Fraction(milli, 1000)


@given(mebibytes=st.integers(1, 2**26))
def test_memory_goes_there_and_back(mebibytes: int):
    assert parse_quantity(memory_quantity(mebibytes / 1024)) == mebibytes * 2**20
