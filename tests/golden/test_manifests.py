"""Kubernetes manifests: the text is golden, and strict schemas of three API versions accept what is Kubernetes' own.

After a wanted change: `UPDATE_GOLDEN=1 uv run pytest tests/golden/test_manifests.py`; read the difference.
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
from referencing import Registry, Resource

from tests.clusters import BASE, DIGEST, IMAGE, cluster, served, with_base, work
from tests.golden_files import GOLDEN, matches_golden
from tuner.domain.cluster import EngineBuild, GpuSharing, ModelBucket, ModelClaim, ModelImage
from tuner.manifest_text import kubectl_text
from tuner.manifests.cluster.access import access_objects, node_access_objects
from tuner.manifests.cluster.base_pod import base_pod
from tuner.manifests.cluster.controller import HostedController, StorageClaim, StorageSecret, controller_objects
from tuner.manifests.cluster.load_jobs import load_objects
from tuner.manifests.cluster.platforms import kserve_objects, kubedl_inference, seldon_objects
from tuner.manifests.cluster.trial_objects import owned_by, study_lease, trial_objects
from tuner.yaml_text import parse_yaml, plain

# The library reads its schemas anew for each object; they do not change.
kubernetes_validate.utils.schema_contents = cache(kubernetes_validate.utils.schema_contents)

CONFIG = 'name: "resnet50"\nbackend: "onnxruntime"\nmax_batch_size: 8\n'
VERSIONS = ("1.25", "1.31", kubernetes_validate.latest_version())
IMAGE_VOLUME_SINCE, CLAIMS_SINCE = "1.31", "1.34"

Objects = list[dict[str, Any]]


def _trial(options: Any, trial: Any) -> Objects:
    return plain_copy(trial_objects(options, trial).all)


def plain_copy(objects: Any) -> Objects:
    """Through YAML and back, as kubectl would read it."""
    documents = [parse_yaml(kubectl_text([one]).removeprefix("---\n").encode(), "manifest") for one in objects]
    assert [document.problems for document in documents] == [()] * len(documents)
    return [plain(document.root) for document in documents]  # type: ignore[arg-type, misc]


def minimal() -> Objects:
    return _trial(cluster(), served())


def tuned() -> Objects:
    knobs = {"max_batch_size": 8, "env.OMP_NUM_THREADS": 2, "arg.http-thread-count": 16, "gpu_type": "A100-40"}
    return _trial(cluster(), served(knobs, config_pbtxt=CONFIG))


def base_template() -> Objects:
    knobs = {"gpu_type": "T4", "gpu_memory_share": 0.25, "env.OMP_NUM_THREADS": 2, "arg.http-thread-count": 16}
    options = with_base(sharing=GpuSharing(scheme="time_slicing", replicas=4))
    return _trial(options, served(knobs))


def bucket_and_engine() -> Objects:
    options = cluster(
        model=ModelBucket(
            url="s3://models/resnet50/{variant}",
            image=IMAGE,
            command=("fetch", "--quiet"),
            secret="bucket-reader",  # noqa: S106
        ),
        engine=EngineBuild(image=IMAGE, command=("trtexec", "--onnx=/model-source/m.onnx"), cache_claim="engines"),
        gpu_labels="karpenter",
        gpus=(replace(cluster().gpus[1], labels=("t4",)),),
    )
    knobs = {"gpu_type": "T4", "variant": "fp16", "max_batch_size": 16}
    return _trial(options, served(knobs, term="spot", config_pbtxt=CONFIG))


def model_copied_as_by_kubedl() -> Objects:
    return _trial(cluster(model=ModelImage(image=IMAGE, path="/kubedl-model/", way="copy")), served())


def model_image_volume() -> Objects:
    return _trial(cluster(model=ModelImage(image=IMAGE, path="/", way="volume")), served())


def host_network() -> Objects:
    options = cluster(network="host")
    trial = served(http_port=18000)
    return _trial(options, trial) + plain_copy(load_objects(options, work(options, trial)))


def mig_on_gke() -> Objects:
    options = cluster(gpu_labels="gke", sharing=GpuSharing(scheme="mig_single"))
    options = replace(options, gpus=(replace(options.gpus[0], labels=("nvidia-tesla-a100",)),))
    return _trial(options, served({"gpu_type": "A100-40", "gpu_memory_share": 0.125}, term="spot"))


def claim_of_half_a_card() -> Objects:
    options = cluster(sharing=GpuSharing(scheme="dra_mps"))
    options = replace(options, gpus=(replace(options.gpus[0], labels=("NVIDIA A100-SXM4-40GB",)),))
    return _trial(options, served({"gpu_type": "A100-40", "gpu_memory_share": 0.5}))


def claim_of_a_slice() -> Objects:
    options = cluster(sharing=GpuSharing(scheme="dra_mig"))
    return _trial(options, served({"gpu_type": "A100-40", "gpu_memory_share": 0.125}))


def kai_fraction() -> Objects:
    options = cluster(sharing=GpuSharing(scheme="kai", queue="research"))
    return _trial(options, served({"gpu_type": "A100-40", "gpu_memory_share": 0.5}))


def load() -> Objects:
    options = cluster()
    return plain_copy(load_objects(options, work(options, served(), run=2)))


def access() -> Objects:
    options = cluster(sharing=GpuSharing(scheme="dra"))
    return plain_copy([*access_objects(options), *node_access_objects(options)])


def hosted_controller() -> Objects:
    controller = HostedController(
        study="resnet50",
        image=IMAGE,
        files=(("study.yaml", "kind: Study\n"),),
        storage=StorageSecret(name="study-storage"),
    )
    return plain_copy(controller_objects(cluster(), controller))


def hosted_controller_with_a_file() -> Objects:
    files = (("study.yaml", "kind: Study\n"), ("prices.csv", "resource,sku\n"))
    storage = StorageClaim(name="studies")
    controller = HostedController(study="resnet50", image=IMAGE, files=files, storage=storage)
    return plain_copy(controller_objects(cluster(network="host", pull_secrets=("registry",)), controller))


def lease_and_owned() -> Objects:
    lease = study_lease(
        namespace="servetune-studies",
        study="resnet50 on cards",
        holder="laptop-17",
        duration_s=14.2,
        renewed_at="2026-11-22T12:00:00.000000Z",
        acquired_at="2026-11-22T11:00:00.000000Z",
        token=3,
    )
    objects = trial_objects(cluster(), served())
    return plain_copy([lease, owned_by(objects.owned[-1], objects.owner, "0a1b-uid")])


def kserve() -> Objects:
    options = cluster(sharing=GpuSharing(scheme="volcano"))
    trial = served({"gpu_type": "A100-40", "gpu_memory_share": 0.25}, config_pbtxt=CONFIG)
    return plain_copy(kserve_objects(options, trial, repository="pvc://models/all", model_format="onnx"))


def seldon() -> Objects:
    options = cluster(model=ModelBucket(url="gs://models/resnet50", image=IMAGE, command=("x",)))
    return plain_copy(
        seldon_objects(options, served({"gpu_type": "T4"}, config_pbtxt=CONFIG), repository="gs://models")
    )


def kubedl() -> Objects:
    template = deepcopy(BASE["spec"]["template"])
    predictors = [
        {"name": "blue", "modelVersion": "resnet-v1", "replicas": 2, "template": template},
        {"name": "green", "modelVersion": "resnet-v2", "template": template, "batching": {"batchSize": 1}},
    ]
    inference = {
        "apiVersion": "serving.kubedl.io/v1alpha1",
        "kind": "Inference",
        "metadata": {"name": "resnet", "namespace": "serving"},
        "spec": {"framework": "Triton", "predictors": predictors},
    }
    options = cluster(base=base_pod(template, "triton"), model=ModelClaim(claim="unused", path="x"))
    return plain_copy([kubedl_inference(inference, "green", options, served({"max_batch_size": 8}))])


CASES: dict[str, Callable[[], Objects]] = {
    case.__name__: case
    for case in (
        minimal,
        tuned,
        base_template,
        bucket_and_engine,
        model_copied_as_by_kubedl,
        model_image_volume,
        host_network,
        mig_on_gke,
        claim_of_half_a_card,
        claim_of_a_slice,
        kai_fraction,
        load,
        access,
        hosted_controller,
        hosted_controller_with_a_file,
        lease_and_owned,
        kserve,
        seldon,
        kubedl,
    )
}
CHECKED = [
    (case, version)
    for case in CASES
    for version in VERSIONS
    if case not in {"kserve", "seldon", "kubedl"} and (case != "model_image_volume" or version >= IMAGE_VOLUME_SINCE)
]


@pytest.mark.parametrize("case", CASES)
def test_text_is_as_recorded(case: str):
    assert matches_golden(f"manifests/{case}.yaml", kubectl_text(CASES[case]()))


@pytest.mark.parametrize(("case", "version"), CHECKED)
def test_strict_schemas_accept_it(case: str, version: str):
    for one in CASES[case]():
        if one["kind"] == "ResourceClaimTemplate" and version < CLAIMS_SINCE:
            continue
        if any(claim.get("resourceClaimTemplateName") for claim in claims_of(one)) and version < CLAIMS_SINCE:
            continue
        assert kubernetes_validate.validate(one, version, strict=True) == version.rsplit(".0", 1)[0]


def claims_of(one: dict[str, Any]) -> list[dict[str, Any]]:
    template = one.get("spec", {}).get("template")
    return template["spec"].get("resourceClaims", []) if template else []


@pytest.mark.parametrize("case", ["claim_of_half_a_card", "claim_of_a_slice"])
def test_claims_are_checked_by_the_newest_schema(case: str):
    kinds = [one["kind"] for one in CASES[case]()]
    assert "ResourceClaimTemplate" in kinds
    for one in CASES[case]():
        kubernetes_validate.validate(one, VERSIONS[-1], strict=True)


def test_the_schemas_are_strict():
    broken = minimal()
    deployment = next(one for one in broken if one["kind"] == "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readynessProbe"):
        kubernetes_validate.validate(deployment, "1.31", strict=True)


@pytest.mark.parametrize("case", ["kserve", "seldon"])
def test_what_is_kubernetes_own_within_other_kinds_is_valid(case: str):
    """A KServe or Seldon object embeds containers and pod settings: put into a plain pod, they must pass."""
    pods = []
    for one in CASES[case]():
        if one["kind"] == "ConfigMap":
            kubernetes_validate.validate(one, VERSIONS[-1], strict=True)
        elif one["kind"] == "ServingRuntime":
            pods.append({key: one["spec"][key] for key in ("containers", "volumes")})
        elif one["kind"] == "InferenceService":
            predictor = one["spec"]["predictor"]
            pods.append(
                {"containers": [{"name": "x", "resources": predictor["model"]["resources"]}]}
                | {key: predictor[key] for key in ("affinity", "tolerations", "schedulerName") if key in predictor}
            )
        else:
            pods += [part["spec"] for part in one["spec"]["predictors"][0]["componentSpecs"]]
    assert pods
    for spec in pods:
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec}
        kubernetes_validate.validate(pod, "1.31", strict=True)


@cache
def kserve_validator(kind: str) -> Draft202012Validator:
    folder = f"kubernetes-json-schema/v{VERSIONS[-1]}-local-strict"
    own = kubernetes_validate.utils.schema_contents(f"{folder}/_definitions.json", VERSIONS[-1])
    schemas = json.loads((GOLDEN.parent / "data" / "kserve_schemas.json").read_text())
    registry = Resource.from_contents(own) @ Registry()
    return Draft202012Validator({**schemas, "$ref": f"#/$defs/{kind}"}, registry=registry)


KSERVE = {"ServingRuntime": "V1alpha1ServingRuntime", "InferenceService": "V1beta1InferenceService"}


def test_kserve_s_own_kinds_pass_its_schemas():
    found = [one for one in kserve() if one["kind"] in KSERVE]
    assert len(found) == 2
    for one in found:
        assert [error.message for error in kserve_validator(KSERVE[one["kind"]]).iter_errors(one)] == []


@pytest.mark.parametrize("path", [("spec", "predictor", "modle"), ("spec", "predictor", "model", "storageURI")])
def test_kserve_s_schemas_are_strict(path: tuple[str, ...]):
    service = next(one for one in kserve() if one["kind"] == "InferenceService")
    inner = service
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = "x"
    assert not kserve_validator(KSERVE["InferenceService"]).is_valid(service)


def test_kubedl_keeps_what_is_not_tuned():
    tuned_one = kubedl()[0]
    blue, green = tuned_one["spec"]["predictors"]
    assert blue["template"] == BASE["spec"]["template"]
    assert (green["modelVersion"], green["batching"]) == ("resnet-v2", {"batchSize": 8})
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "x"},
        "spec": {"selector": {}, "template": green["template"]},
    }
    kubernetes_validate.validate(deployment, "1.31", strict=True)


def test_digests_are_kept():
    assert DIGEST in kubectl_text(minimal())
