"""What exports refuse, and what they must not lose or leak."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from tests.clusters import BASE, IMAGE, cluster, with_base
from tests.deployables import BOOK, a_deployable, a_request, an_unproven_answer
from tuner.assemble_export import FORMATS, OwnFiles, export
from tuner.cli_export import FormatChoice
from tuner.domain.cost import Footprint, Pricing
from tuner.domain.errors import UsageError
from tuner.domain.space import Configuration
from tuner.manifests.cluster.base_pod import base_pod
from tuner.manifests.exports.production import production_objects
from tuner.manifests.plain import PlainObject, object_at, text_at
from tuner.yaml_text import parse_yaml


def deployment_of(request: Any) -> PlainObject:
    found = production_objects(request.of, request.place)
    return next(one for one in found if text_at(one, "kind") == "Deployment")


def with_environment(name: str, value: str) -> Any:
    base = deepcopy(BASE)
    base["spec"]["template"]["spec"]["containers"][1]["env"].append({"name": name, "value": value})
    options = replace(with_base(), base=base_pod(base, "triton"))
    return a_request(a_deployable({"cpu_cores": 2, "memory_gib": 6}, cluster=options), container="triton")


def test_the_command_line_offers_what_is_built():
    assert [choice.value for choice in FormatChoice] == list(FORMATS)


@pytest.mark.parametrize(
    ("kind", "changes", "option"),
    [
        ("kustomize", {"name": ""}, "--name"),
        ("keda", {"prometheus": ""}, "--prometheus"),
        ("kserve", {"repository": ""}, "--repository"),
        ("kserve", {"model_format": ""}, "--model-format"),
        ("seldon", {"repository": ""}, "--repository"),
        ("helm-values", {}, "--values"),
        ("kubedl", {}, "--inference"),
        ("csv", {}, "export the study"),
        ("parquet", {}, "export the study"),
    ],
)
def test_what_a_study_cannot_know_is_asked_for(kind: str, changes: dict[str, str], option: str):
    with pytest.raises(UsageError, match=option):
        export(kind, a_request(**changes))


def test_a_container_is_not_guessed():
    with pytest.raises(UsageError, match="--container"):
        export("kustomize", a_request(container=""))


def test_an_image_is_not_guessed():
    of = a_deployable({"cpu_cores": 2}, cluster=None)
    with pytest.raises(UsageError, match="--image"):
        export("manifests", a_request(of))


def test_a_gpu_without_a_cluster_is_not_guessed():
    with pytest.raises(UsageError, match="--cluster"):
        export("manifests", a_request(a_deployable(cluster=None), image=IMAGE))


def test_a_share_that_the_cluster_cannot_give_is_refused():
    of = a_deployable({"cpu_cores": 2, "gpu_type": "T4", "gpu_memory_share": 0.5})
    with pytest.raises(UsageError, match="whole cards only"):
        export("kustomize", a_request(of))


@pytest.mark.parametrize("name", ["Resnet", "-x", "x" * 53, "a.b"])
def test_a_name_that_kubernetes_refuses_is_refused_here(name: str):
    with pytest.raises(UsageError, match="cannot name a Deployment"):
        export("manifests", a_request(name=name))


@pytest.mark.parametrize("name", ["HF_TOKEN", "DB_PASSWORD", "AWS_SECRET_ACCESS_KEY", "api-key", "SECRET"])
def test_a_secret_as_text_is_refused(name: str):
    with pytest.raises(UsageError, match=f"{name} looks like a secret"):
        export("manifests", with_environment(name, "hunter2"))


@pytest.mark.parametrize("name", ["TOKENIZERS_PARALLELISM", "KEY_CACHE", "PASSTHROUGH"])
def test_what_only_sounds_like_one_is_none(name: str):
    assert name in str(export("manifests", with_environment(name, "1")).content)


def test_a_password_in_an_address_is_refused():
    with pytest.raises(UsageError, match="password in it"):
        export("manifests", with_environment("MODEL_URL", "https://bob:hunter2@models.example/all"))
    with pytest.raises(UsageError, match="password in it"):
        export("keda", a_request(prometheus="http://bob:hunter2@prometheus:9090"))


def test_what_is_not_proven_is_marked_in_every_text():
    of = replace(an_unproven_answer(), cluster=cluster())
    request = a_request(of, OwnFiles(values_name="v", values="a: 1\n", paths={"replicas": "a"}))
    for kind in ("kustomize", "manifests", "config-pbtxt", "helm-values", "kserve", "seldon", "hpa", "keda"):
        assert "NOT PROVEN: the study has not finished" in str(export(kind, request).content).splitlines()[0], kind
    assert json.loads(str(export("json", request).content))["status"] == "unproven"


def test_nothing_of_a_trial_is_left_in_what_is_deployed():
    for kind in ("manifests", "kserve", "seldon", "kustomize"):
        text = str(export(kind, a_request()).content)
        for word in (
            "expires",
            "servetune/trial",
            "safe-to-evict",
            "do-not-disrupt",
            "managed-by",
            "ownerReferences",
            "GracePeriod",
        ):
            assert word not in text, (kind, word)


def test_a_slow_start_is_not_killed():
    """Liveness waits for the start, which may take three times what was measured."""
    container = object_at(deployment_of(a_request(a_deployable(cold_start_s=400.0))), "spec", "template", "spec")
    (served,) = container["containers"]  # type: ignore[misc]
    start = served["startupProbe"]
    assert start["failureThreshold"] * start["periodSeconds"] >= 1200
    assert served["livenessProbe"]["failureThreshold"] * served["livenessProbe"]["periodSeconds"] >= 60


def test_another_config_pbtxt_rolls_the_pods():
    names = {
        text_at(production_objects(a_deployable(), a_request().place, config_pbtxt=text)[0], "metadata", "name")
        for text in ("max_batch_size: 1\n", "max_batch_size: 2\n")
    }
    assert len(names) == 2


def test_the_stated_image_takes_the_place_of_the_templates():
    request = with_environment("MODE", "fast")
    request = replace(request, place=replace(request.place, image="registry.example/new@sha256:00"))
    containers = object_at(deployment_of(request), "spec", "template", "spec")["containers"]
    assert [one["image"] for one in containers] == ["registry.example/envoy:1.30", "registry.example/new@sha256:00"]  # type: ignore[union-attr, index, call-overload]


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ({"cpu": "a"}, "the map names cpu"),
        ({"replicas": 3}, "no dotted path"),
        ({"replicas": "a..b"}, "no dotted path"),
    ],
)
def test_a_map_that_says_nothing_is_refused(paths: dict[str, Any], message: str):
    with pytest.raises(UsageError, match=message):
        export("helm-values", a_request(own=OwnFiles(values_name="v", values="a: 1\n", paths=paths)))


def test_helm_knobs_that_the_map_leaves_out_are_named():
    found = export("helm-values", a_request(own=OwnFiles(values_name="v", values="a: 1\n", paths={"replicas": "a"})))
    assert found.content == "a: 3\n"
    assert "gpu_type=A100-40 is not in the map" in found.notes


def test_arguments_are_not_patched_where_a_patch_would_lose_others():
    found = export("kustomize", a_request(a_deployable({"cpu_cores": 2, "arg.log-verbose": 1})))
    assert "args:" not in str(found.content)
    assert any("--log-verbose=1" in note for note in found.notes)


def test_memory_that_nobody_stated_is_no_limit():
    of = a_deployable({"cpu_cores": 2})
    of = replace(of, pricing=Pricing(book=of.pricing.book, footprint=Footprint()))
    found = export("manifests", a_request(of))
    assert "memory: " not in str(found.content)
    assert any(note.startswith("memory was neither tuned nor stated") for note in found.notes)


def test_a_head_of_comments_keeps_a_text_readable():
    for kind in ("manifests", "hpa", "keda", "kustomize"):
        text = str(export(kind, a_request()).content)
        assert all(parse_yaml(part.encode(), kind).problems == () for part in text.split("---\n")[1:])
        assert all(line.startswith("# ") for line in text.split("---\n", maxsplit=1)[0].splitlines())


def test_a_model_file_served_here_is_exported_with_all_it_was_served_with():
    of = a_deployable({"cpu_cores": 2}, runner="local", cluster=None, pricing=Pricing(book=BOOK, footprint=Footprint()))
    done = export("config-pbtxt", a_request(of))
    text = str(done.content)
    assert "max_batch_size: 1\n" in text
    assert "count: 1\n" in text
    assert 'key: "intra_op_thread_count"\n  value {\n    string_value: "1"' in text
    assert any("measured with the Python backend" in note for note in done.notes)
    assert any("of another, write 0" in note for note in done.notes)
    tuned = replace(of, configuration=Configuration.of({"max_batch_size": 8, "instances": 2, "intra_op_threads": 4}))
    done = export("config-pbtxt", a_request(tuned))
    assert "max_batch_size: 8\n" in str(done.content)
    assert "count: 2\n" in str(done.content)
    assert not any("write 0" in note for note in done.notes)


def test_a_fixed_batch_dimension_in_the_own_config_stays_and_clusters_are_as_they_were():
    own = OwnFiles(config_pbtxt='name: "resnet50"\nplatform: "onnxruntime_onnx"\nmax_batch_size: 0\n')
    of = a_deployable({"cpu_cores": 2}, runner="local", cluster=None, pricing=Pricing(book=BOOK, footprint=Footprint()))
    assert "max_batch_size: 1" not in str(export("config-pbtxt", a_request(of, own=own)).content)
    with pytest.raises(UsageError, match="none of the study's knobs"):
        export("config-pbtxt", a_request(a_deployable({"cpu_cores": 2})))
