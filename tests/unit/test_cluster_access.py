"""The controller's Role is as narrow as the runner's work, and a study's file leads to objects one can apply."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.clusters import EXPIRES_AT, cluster
from tests.specs import a_spec
from tuner.domain.cluster import GpuSharing
from tuner.domain.deployment import TensorSpec
from tuner.domain.errors import UsageError
from tuner.domain.space import Configuration
from tuner.domain.spec import RunnerSpec
from tuner.manifest_text import kubectl_text
from tuner.manifests.cluster.access import access_objects, node_access_objects, rights
from tuner.manifests.cluster.model_config import model_config
from tuner.manifests.cluster.trial import served_trial
from tuner.manifests.cluster.trial_objects import trial_objects
from tuner.manifests.config_pbtxt import ModelSignature

SIGNATURE = ModelSignature(
    inputs=(TensorSpec(name="x", datatype="FP32", shape=(3, 224, 224)),),
    outputs=(TensorSpec(name="y", datatype="FP32", shape=(1000,)),),
    batched=True,
)


def allowed(options: Any) -> set[tuple[str, str]]:
    return {(right.resource, verb) for right in rights(options) for verb in right.verbs}


def test_the_role_grants_what_is_listed_and_nothing_else():
    role: Any = access_objects(cluster())[1]
    granted = {(resource, verb) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]}
    assert granted == allowed(cluster())


@pytest.mark.parametrize("resource", ["secrets", "nodes", "pods/exec", "roles", "serviceaccounts", "*"])
def test_the_role_has_nothing_to_do_with(resource: str):
    assert not [verb for found, verb in allowed(cluster(sharing=GpuSharing(scheme="dra"))) if found == resource]


def test_pods_are_looked_at_only():
    assert {verb for resource, verb in allowed(cluster()) if resource == "pods"} == {"list", "watch"}


def test_rights_follow_the_options():
    assert ("networkpolicies", "create") in allowed(cluster())
    assert ("networkpolicies", "create") not in allowed(cluster(network="host"))
    assert ("resourceclaimtemplates", "create") not in allowed(cluster())
    assert ("resourceclaimtemplates", "create") in allowed(cluster(sharing=GpuSharing(scheme="dra_mig")))


def test_nodes_are_read_by_a_role_of_their_own():
    role: Any = node_access_objects(cluster())[0]
    assert role["kind"] == "ClusterRole"
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
    ]


def test_a_study_becomes_text_for_kubectl():
    spec = a_spec(runner=RunnerSpec(kind="kubernetes", kubernetes=cluster()))
    configuration = Configuration.of({"cpu_cores": 2, "max_batch_size": 8})
    assert spec.runner.kubernetes is not None
    text = model_config(spec.model.name, SIGNATURE, configuration, engine=False, on_gpu=False)
    trial = served_trial(spec, configuration, trial=0, expires_at=EXPIRES_AT, config_pbtxt=text)
    written = kubectl_text(trial_objects(spec.runner.kubernetes, trial).all)
    assert [line for line in written.splitlines() if line.startswith("kind:")] == [
        "kind: ConfigMap",
        "kind: ConfigMap",
        "kind: Deployment",
        "kind: Service",
        "kind: NetworkPolicy",
    ]
    assert "    max_batch_size: 8\n" in written


def test_a_tuned_model_runs_where_its_trial_does():
    tuned = Configuration.of({"max_batch_size": 8, "instances": 2, "intra_op_threads": 4})
    text = model_config("m", SIGNATURE, tuned, engine=False, on_gpu=True)
    assert "kind: KIND_GPU\n    count: 2" in text
    assert 'backend: "onnxruntime"' in text
    assert 'key: "intra_op_thread_count"' in text
    assert 'backend: "tensorrt"' in model_config("m", SIGNATURE, Configuration.of({}), engine=True, on_gpu=True)


@pytest.mark.parametrize(
    ("knobs", "engine", "on_gpu", "message"),
    [
        ({}, True, False, "needs a GPU"),
        ({"intra_op_threads": 2}, True, True, "means nothing to an engine"),
        ({"intra_op_threads": 0.5}, False, False, "whole number"),
    ],
)
def test_settings_a_backend_does_not_have_are_refused(knobs: Any, engine: bool, on_gpu: bool, message: str):
    with pytest.raises(UsageError, match=message):
        model_config("m", SIGNATURE, Configuration.of(knobs), engine=engine, on_gpu=on_gpu)


def test_a_study_with_a_knob_of_another_runner_is_refused():
    with pytest.raises(UsageError, match="cannot set preprocess"):
        served_trial(a_spec(), Configuration.of({"preprocess": "split"}), trial=0, expires_at=EXPIRES_AT)


def test_the_study_s_prices_say_which_nodes():
    spec = a_spec()
    book = replace(spec.pricing.book, term="spot")
    spec = replace(spec, pricing=replace(spec.pricing, book=book))
    trial = served_trial(spec, Configuration.of({"cpu_cores": 2}), trial=0, expires_at=EXPIRES_AT)
    with pytest.raises(UsageError, match="which nodes are spot"):
        trial_objects(cluster(), trial)
