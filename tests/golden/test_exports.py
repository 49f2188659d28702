"""Exported files: the text is golden, and strict schemas accept what is in it.

Kinds that come with their own definitions (KServe, KEDA) are checked against schemas derived from those; Seldon's and
KubeDL's own fields are not, only the pods within. After a wanted change: UPDATE_GOLDEN=1, and read the difference.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import cache
from typing import Any

import kubernetes_validate
import pytest
from jsonschema import Draft202012Validator

from tests.clusters import BASE, cluster, with_base
from tests.deployables import IMAGE, a_deployable, a_recorded_request, a_request, an_unproven_answer
from tests.golden.test_manifests import KSERVE, VERSIONS, kserve_validator
from tests.golden_files import GOLDEN, matches_golden
from tuner.assemble_export import ExportRequest, OwnFiles, export
from tuner.domain.cluster import GpuSharing
from tuner.export_document import ExportDocument
from tuner.yaml_text import parse_yaml, plain

OWN_CONFIG = """# our model, by the platform team
name: "resnet50"
platform: "onnxruntime_onnx"
max_batch_size: 128
input [ { name: "image", data_type: TYPE_FP32, dims: [ 3, 224, 224 ] } ]
output [ { name: "scores", data_type: TYPE_FP32, dims: [ 1000 ] } ]
instance_group [ { kind: KIND_GPU count: 2 gpus: [ 0 ] } ]
dynamic_batching { preferred_batch_size: [ 4, 64 ] }
version_policy { latest { num_versions: 1 } }
"""
OWN_VALUES = """# values of the vision team's chart
global:
    team: vision   # do not change

server:
    replicaCount: 2          # by hand, 2024
    image: 'registry.example/triton:26.09'
    resources:
        limits: {cpu: "8", memory: 32Gi, nvidia.com/gpu: 1}
        requests:
            cpu: "8"
    args:
      - --log-verbose=0
      - --http-thread-count=4
"""
VALUE_PATHS = {
    "replicas": "server.replicaCount",
    "cpu_cores": ["server.resources.limits.cpu", "server.resources.requests.cpu"],
    "memory_gib": "server.resources.limits.memory",
    "max_batch_size": "server.triton.maxBatchSize",
}
INFERENCE = {
    "apiVersion": "serving.kubedl.io/v1alpha1",
    "kind": "Inference",
    "metadata": {"name": "resnet", "namespace": "serving"},
    "spec": {
        "framework": "Triton",
        "predictors": [
            {"name": "blue", "modelVersion": "resnet-v1", "replicas": 2, "template": BASE["spec"]["template"]},
            {"name": "green", "modelVersion": "resnet-v2", "replicas": 1, "template": BASE["spec"]["template"]},
        ],
    },
}


def with_user_template() -> ExportRequest:
    """The team's own pod, a quarter of a card, and knobs of environment and command line."""
    base = deepcopy(BASE)
    environment = base["spec"]["template"]["spec"]["containers"][1]["env"]
    assert environment[1]["valueFrom"]
    knobs = {"gpu_type": "T4", "gpu_memory_share": 0.25, "env.OMP_NUM_THREADS": 2, "arg.http-thread-count": 16}
    options = with_base(sharing=GpuSharing(scheme="time_slicing", replicas=4))
    return a_request(a_deployable({"cpu_cores": 2, "memory_gib": 6, **knobs}, cluster=options), container="triton")


def on_cpu_by_flags() -> ExportRequest:
    """A study on this machine: what serves is stated on the command line."""
    of = replace(a_recorded_request().of, cluster=None)
    return a_request(of, name="", namespace="", image=IMAGE)


def claimed_cards() -> ExportRequest:
    options = cluster(sharing=GpuSharing(scheme="dra"))
    return a_request(a_deployable(cluster=options))


def own_config() -> ExportRequest:
    knobs = {"max_batch_size": 16, "queue_delay_ms": 0.5, "instances": 3, "intra_op_threads": 2}
    return a_request(a_deployable({"cpu_cores": 4, "gpu_type": "T4", **knobs}), OwnFiles(config_pbtxt=OWN_CONFIG))


def own_values() -> ExportRequest:
    return a_request(own=OwnFiles(values_name="values.yaml", values=OWN_VALUES, paths=VALUE_PATHS))


def own_inference() -> ExportRequest:
    return a_request(
        a_deployable({"cpu_cores": 2, "memory_gib": 6, "gpu_type": "T4", "max_batch_size": 8}),
        OwnFiles(inference=INFERENCE),
        container="triton",
    )


def unproven() -> ExportRequest:
    return a_request(an_unproven_answer(), image=IMAGE)


CASES: dict[str, tuple[str, Callable[[], ExportRequest]]] = {
    "answer.json": ("json", a_recorded_request),
    "answer_unproven.json": ("json", unproven),
    "trials.csv": ("csv", a_recorded_request),
    "kustomize.yaml": ("kustomize", a_request),
    "kustomize_of_a_template.yaml": ("kustomize", with_user_template),
    "manifests.yaml": ("manifests", a_request),
    "manifests_of_a_template.yaml": ("manifests", with_user_template),
    "manifests_by_flags.yaml": ("manifests", on_cpu_by_flags),
    "manifests_of_claimed_cards.yaml": ("manifests", claimed_cards),
    "manifests_unproven.yaml": ("manifests", unproven),
    "manifests_with_own_config.yaml": ("manifests", own_config),
    "partial.pbtxt": ("config-pbtxt", a_request),
    "merged.pbtxt": ("config-pbtxt", own_config),
    "values.yaml": ("helm-values", own_values),
    "kserve.yaml": ("kserve", a_request),
    "seldon.yaml": ("seldon", a_request),
    "kubedl.yaml": ("kubedl", own_inference),
    "hpa.yaml": ("hpa", a_request),
    "hpa_of_a_flat_load.yaml": ("hpa", on_cpu_by_flags),
    "keda.yaml": ("keda", a_request),
}
PLAIN_KINDS = [
    (case, version)
    for case, (kind, _) in CASES.items()
    for version in VERSIONS
    if kind in {"manifests", "hpa"} and (case != "manifests_of_claimed_cards.yaml" or version >= "1.34")
]


def text_of(case: str) -> str:
    kind, request = CASES[case]
    content = export(kind, request()).content
    assert isinstance(content, str)
    return content


def objects_of(case: str) -> list[dict[str, Any]]:
    documents = [parse_yaml(part.encode(), case) for part in text_of(case).split("---\n")[1:]]
    assert [document.problems for document in documents] == [()] * len(documents)
    return [plain(document.root) for document in documents]  # type: ignore[arg-type, misc]


@pytest.mark.parametrize("case", CASES)
def test_text_is_as_recorded_and_the_same_every_time(case: str):
    assert text_of(case) == text_of(case)
    assert matches_golden(f"exports/{case}", text_of(case))


@pytest.mark.parametrize(("case", "version"), PLAIN_KINDS)
def test_strict_schemas_accept_plain_kinds(case: str, version: str):
    for one in objects_of(case):
        kubernetes_validate.validate(one, version, strict=True)


@pytest.mark.parametrize("case", [case for case, (kind, _) in CASES.items() if kind == "kustomize"])
def test_a_patch_on_a_deployment_is_one(case: str):
    """What a patch may leave out is put beside it; the real merge is tested on an API server."""
    (patch,) = objects_of(case)
    spec = patch["spec"]
    template = {**spec["template"], "metadata": spec["template"].get("metadata", {})}
    whole = {**patch, "spec": {**spec, "selector": {"matchLabels": {"app": "x"}}, "template": template}}
    resources = whole["spec"]["template"]["spec"]["containers"][0]["resources"]
    for amounts in (resources["limits"], resources["requests"]):
        for gone in [name for name, amount in amounts.items() if amount is None]:
            del amounts[gone]
    kubernetes_validate.validate(whole, "1.31", strict=True)


@cache
def keda_validator() -> Draft202012Validator:
    return Draft202012Validator(json.loads((GOLDEN.parent / "data" / "keda_schema.json").read_text()))


def test_a_scaled_object_passes_kedas_schema():
    (scaled,) = objects_of("keda.yaml")
    assert [error.message for error in keda_validator().iter_errors(scaled)] == []


@pytest.mark.parametrize("path", [("spec", "minReplicas"), ("spec", "advanced", "behavior")])
def test_kedas_schema_is_strict(path: tuple[str, ...]):
    (scaled,) = objects_of("keda.yaml")
    inner = scaled
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = {}
    assert not keda_validator().is_valid(scaled)


def test_kserves_kinds_pass_its_schemas():
    config, *own = objects_of("kserve.yaml")
    kubernetes_validate.validate(config, VERSIONS[-1], strict=True)
    assert [one["kind"] for one in own] == ["ServingRuntime", "InferenceService"]
    for one in own:
        assert [error.message for error in kserve_validator(KSERVE[one["kind"]]).iter_errors(one)] == []


def test_pods_within_seldons_and_kubedls_kinds_are_valid():
    (seldon,) = [one for one in objects_of("seldon.yaml") if one["kind"] == "SeldonDeployment"]
    (inference,) = objects_of("kubedl.yaml")
    pods = [part["spec"] for part in seldon["spec"]["predictors"][0]["componentSpecs"]]
    pods += [predictor["template"]["spec"] for predictor in inference["spec"]["predictors"]]
    assert len(pods) == 3
    for spec in pods:
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec}
        kubernetes_validate.validate(pod, "1.31", strict=True)


def test_the_json_is_its_schemas():
    document = json.loads(text_of("answer.json"))
    Draft202012Validator(ExportDocument.model_json_schema()).validate(document)
    columns = text_of("trials.csv").split("\n", 1)[0].split(",")
    assert all(list(row) == columns for row in document["trials"])
