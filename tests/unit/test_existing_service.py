"""What is read of an existing Deployment: the container that serves, its GPU, its secrets, and what is refused."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from tests.clusters import DIGEST
from tests.deployments import PULLED, a_deployment, a_gpu_node, a_service, its_pod
from tuner.domain.errors import UsageError
from tuner.manifests.cluster.existing.as_written import selected_labels, template_as_written
from tuner.manifests.cluster.existing.gpu import PresentGpu
from tuner.manifests.cluster.existing.service import ReadObjects, existing_service
from tuner.study_from_cluster import StudySetup, gpu_name_of, study_text

PRICED = ("T4", "L4", "A10", "A100-40GB", "A100-80GB", "H100", "V100")


def gpu_of(limits: dict[str, str], node: Any = None, label: str = "", **template: Any) -> PresentGpu:
    deployment = a_deployment({"resources": {"limits": limits}}, {"nodeSelector": {}}, **template)
    read = ReadObjects(deployment=deployment, node=node or {})
    gpu = existing_service(read, gpu_label=label).gpu
    assert gpu is not None
    return gpu


L4 = {"nvidia.com/gpu.product": "NVIDIA-L4", "nvidia.com/gpu.memory": "23000"}


@pytest.mark.parametrize(
    ("limits", "labels", "scheme", "share"),
    [
        ({"nvidia.com/gpu": "1"}, L4, "whole", 1),
        ({"nvidia.com/gpu": "1", "nvidia.com/gpumem": "11500"}, L4, "hami", Fraction(1, 2)),
        ({"volcano.sh/vgpu-memory": "2300", "volcano.sh/vgpu-number": "1"}, L4, "volcano", Fraction(1, 10)),
        ({"aliyun.com/gpu-mem": "11"}, L4, "aliyun_gpushare", Fraction(49, 100)),
        ({"aliyun.com/gpu-mem": "11", "aliyun.com/gpu-core.percentage": "50"}, L4, "aliyun_cgpu", Fraction(49, 100)),
        ({"nvidia.com/mig-1g.5gb": "1"}, {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB"}, "mig_mixed", None),
        ({"nvidia.com/gpu": "1"}, {"nvidia.com/gpu.product": "NVIDIA-A30-MIG-1g.6gb"}, "mig_single", None),
        (
            {"nvidia.com/gpu": "1"},
            {**L4, "nvidia.com/gpu.sharing-strategy": "mps", "nvidia.com/gpu.replicas": "4"},
            "mps",
            Fraction(1, 4),
        ),
        (
            {"nvidia.com/gpu.shared": "1"},
            {"nvidia.com/gpu.product": "Tesla-T4-SHARED", "nvidia.com/gpu.replicas": "3"},
            "time_slicing",
            Fraction(1, 3),
        ),
    ],
)
def test_the_scheme_is_told_by_what_is_asked_for(
    limits: dict[str, str], labels: dict[str, str], scheme: str, share: Fraction | None
):
    gpu = gpu_of(limits, a_gpu_node(**labels))
    assert (gpu.scheme, gpu.share) == (scheme, share)
    assert not gpu.label.endswith(("-SHARED", "gb"))


def test_a_fraction_by_kai_is_told_by_its_annotation():
    labels = {"app": "resnet", "kai.scheduler/queue": "research"}
    gpu = gpu_of({"cpu": "1"}, a_gpu_node(**L4), annotations={"gpu-fraction": "0.25"}, labels=labels)
    assert (gpu.scheme, gpu.share, gpu.queue) == ("kai", Fraction(1, 4), "research")


def test_two_cards_and_a_claim_are_refused():
    with pytest.raises(UsageError, match=r"asks for 2 of nvidia\.com/gpu"):
        gpu_of({"nvidia.com/gpu": "2"}, a_gpu_node(**L4))
    claimed = a_deployment({"resources": {}}, {"resourceClaims": [{"name": "gpu"}]})
    with pytest.raises(UsageError, match="claims its GPU"):
        existing_service(ReadObjects(deployment=claimed))


def test_a_type_that_nothing_tells_is_asked_for():
    with pytest.raises(UsageError, match="which type of GPU") as refused:
        gpu_of({"nvidia.com/gpu": "1"})
    assert "--gpu-label" in refused.value.hint
    assert gpu_of({"nvidia.com/gpu": "1"}, label="Tesla-T4").label == "Tesla-T4"


def test_a_share_that_nothing_tells_is_not_invented():
    deployment = a_deployment({"resources": {"limits": {"nvidia.com/gpumem": "4000"}}})
    service = existing_service(ReadObjects(deployment=deployment))
    with pytest.raises(UsageError, match="which part of a A100-40GB that is cannot be known"):
        study_text(service, StudySetup(template_file="t.yaml", priced=PRICED))


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("NVIDIA-A100-SXM4-40GB", "A100-40GB"),
        ("NVIDIA-A100-SXM4-80GB", "A100-80GB"),
        ("NVIDIA-A100-80GB-PCIe", "A100-80GB"),
        ("nvidia-tesla-a100", "A100-40GB"),
        ("NVIDIA-H100-80GB-HBM3", "H100"),
        ("Tesla-T4", "T4"),
        ("nvidia-l4", "L4"),
        ("NVIDIA-L40S", "L40S"),
        ("a10g", "A10G"),
        ("NVIDIA-GeForce-RTX-4090", "NVIDIA-GeForce-RTX-4090"),
    ],
)
def test_a_label_becomes_the_price_books_name(label: str, name: str):
    assert gpu_name_of(label, PRICED) == name


def serving(container: dict[str, Any] | None = None, asked: str = "", **other: Any) -> str:
    """The name of the container found: the other one is the proxy, with changes."""
    deployment = a_deployment(container)
    deployment["spec"]["template"]["spec"]["containers"][0] |= other
    return existing_service(ReadObjects(deployment=deployment), container=asked).serving.name


def test_the_server_is_told_from_its_sidecar():
    assert serving() == "triton"
    plain = {"image": "x/y", "command": ["serve"], "args": [], "livenessProbe": {}}
    assert serving(plain) == "triton"
    assert serving(plain | {"readinessProbe": {}}) == "triton"
    assert serving(ports=[{"containerPort": 8000}]) == "triton"


def test_two_servers_are_listed_and_one_may_be_asked_for():
    with pytest.raises(
        UsageError, match=r"may be the server: proxy \(it runs tritonserver\); triton \(it runs"
    ) as refused:
        serving(command=["/opt/tritonserver/bin/tritonserver"])
    assert refused.value.hint == "--container NAME"
    assert serving(asked="proxy", command=["tritonserver"], args=[]) == "proxy"


def test_an_image_that_says_nothing_is_refused():
    unknown = {"image": "x/y:1", "command": [], "args": [], "ports": [], "readinessProbe": {}, "livenessProbe": {}}
    with pytest.raises(UsageError, match=r"speaks KServe v2: proxy \(.*envoy:1.30\), triton \(x/y:1\)"):
        serving(unknown)
    with pytest.raises(UsageError, match="has no container 'x'"):
        serving(asked="x")
    assert serving(unknown, asked="triton") == "triton"


@pytest.mark.parametrize(
    ("container", "model"),
    [
        ({"args": ["--model-repository=/m", "--load-model=bert"]}, "bert"),
        ({"args": ["--model-repository", "/m", "--load-model", "*"]}, "resnet50"),
        ({"command": ["sh", "-c", "ovms --model_name bert --port 9000"]}, "bert"),
        ({"env": [{"name": "MLSERVER_MODEL_NAME", "value": "bert"}]}, "bert"),
        (
            {
                "args": ["--model-repository=/m"],
                "readinessProbe": {},
                "volumeMounts": [{"name": "models", "mountPath": "/m/bert/1"}],
            },
            "bert",
        ),
        ({"readinessProbe": {}}, ""),
    ],
)
def test_the_model_is_named_by_what_the_server_is_told(container: dict[str, Any], model: str):
    service = existing_service(ReadObjects(deployment=a_deployment(container)))
    assert service.serving.model == model


@pytest.mark.parametrize(
    "container",
    [
        {"env": [{"name": "AWS_SECRET_ACCESS_KEY", "value": "abc"}]},
        {"env": [{"name": "HF_TOKEN", "value": "abc"}]},
        {"env": [{"name": "DB", "value": "postgresql://ml:hunter2@db/x"}]},
        {"env": [{"name": "CONFIG", "value": "-----BEGIN RSA PRIVATE KEY-----\nabc"}]},
        {"args": ["--api-key=abc"]},
        {"args": ["--password", "abc"]},
        {"command": ["sh", "-c", "DB_PASSWORD=abc exec tritonserver --model-repository=/m"]},
    ],
)
def test_secrets_as_plain_text_are_refused_and_not_repeated(container: dict[str, Any]):
    with pytest.raises(UsageError, match="looks like secrets as plain text") as refused:
        existing_service(ReadObjects(deployment=a_deployment(container)))
    assert "abc" not in str(refused.value)
    assert "hunter2" not in str(refused.value)
    assert "--not-secret" in refused.value.hint


@pytest.mark.parametrize(
    "variable",
    [
        {"name": "TOKENIZER_PATH", "value": "/t"},
        {"name": "MAX_TOKENS", "value": "512"},
        {"name": "API_KEY_FILE", "value": "/secrets/key"},
        {"name": "USE_TOKEN", "value": "true"},
        {"name": "PASSWORD", "value": "$(FROM_SECRET)"},
        {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        {"name": "STORE", "value": "s3://models/resnet"},
    ],
)
def test_what_is_no_secret_stands(variable: dict[str, Any]):
    service = existing_service(ReadObjects(deployment=a_deployment({"env": [variable]})))
    assert variable in service.served["env"]  # type: ignore[operator]


def test_who_says_that_it_is_none_may_keep_it():
    deployment = a_deployment({"env": [{"name": "HF_TOKEN", "value": "public"}]})
    assert existing_service(ReadObjects(deployment=deployment), not_secret=("HF_TOKEN",))


def test_the_image_is_pinned_only_by_pods_that_agree_and_run_it():
    deployment = a_deployment()
    older = its_pod(a_deployment({"image": "registry.example/triton:26.08"}), f"x@sha256:{'1' * 64}")
    bare = its_pod(deployment, f"sha256:{'2' * 64}")
    other = its_pod(deployment, f"registry.example/triton@sha256:{'3' * 64}")

    def image(*pods: Any) -> str:
        return existing_service(ReadObjects(deployment=deployment, pods=pods)).served["image"]  # type: ignore[return-value]

    assert image(its_pod(deployment, PULLED), older, bare) == f"registry.example/triton@{DIGEST}"
    assert image(its_pod(deployment, PULLED), other) == "registry.example/triton:26.09"
    assert image(bare) == image() == "registry.example/triton:26.09"


def test_labels_of_services_that_would_send_their_traffic_are_left_out():
    services = [a_service(tier="vision"), a_service(team="web"), a_service()]
    assert selected_labels(a_deployment(), services) == ("app", "tier")


def test_the_token_that_a_cluster_mounts_is_left_out_and_the_users_own_stays():
    folder = "/var/run/secrets/kubernetes.io/serviceaccount"
    mounts = [{"name": "kube-api-access-x", "mountPath": folder, "readOnly": True}, {"name": "own", "mountPath": "/t"}]
    volumes = [{"name": "kube-api-access-x", "projected": {"sources": []}}, {"name": "own", "emptyDir": {}}]
    deployment = a_deployment({"volumeMounts": mounts}, {"volumes": volumes})
    spec: Any = template_as_written(deployment["spec"]["template"])["spec"]
    assert spec["volumes"] == [volumes[1]]
    assert spec["containers"][1]["volumeMounts"] == [mounts[1]]
