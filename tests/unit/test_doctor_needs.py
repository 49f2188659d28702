"""What doctor concludes from a study alone: pod security, references, and what a quota counts."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from tests.clusters import cluster, with_base
from tests.specs import a_spec, space_of
from tuner.domain.cluster import ClusterOptions
from tuner.manifests.cluster.demands import Demand, counted, demands, shortages
from tuner.manifests.cluster.pod_security import beyond
from tuner.manifests.cluster.pull_probe import pull_job, pulled
from tuner.manifests.cluster.references import images, references
from tuner.manifests.plain import object_at

SPACE = space_of(cpu_cores=(1, 4), memory_gib=(4,), gpu_type=("A100-40", "T4"), max_batch_size=(1, 2, 4, 8))


def sizes(options: ClusterOptions) -> list[Demand]:
    return list(demands(a_spec(space=SPACE), options))


def pod(options: ClusterOptions) -> Any:
    return object_at(sizes(options)[0].pod, "spec")


def test_each_size_is_looked_at_once_whatever_else_is_tuned():
    settings = [dict(one.trial.configuration.settings) for one in sizes(cluster())]
    assert len(settings) == 4
    assert all("max_batch_size" not in one for one in settings)


def test_our_own_pods_are_as_restricted_as_can_be():
    assert beyond("restricted", pod(cluster())) == ()


def test_the_host_s_network_needs_a_privileged_namespace():
    assert "hostNetwork" in beyond("baseline", pod(cluster(network="host")))
    assert beyond("privileged", pod(cluster(network="host"))) == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"securityContext": {"privileged": True}}, "container c is privileged"),
        ({"ports": [{"containerPort": 1, "hostPort": 1}]}, "container c has a hostPort"),
        ({"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}, "container c adds capabilities"),
    ],
)
def test_what_a_template_asks_beyond_the_baseline_is_named(change: dict[str, Any], words: str):
    assert words in beyond("baseline", {"containers": [{"name": "c", **change}]})


def test_a_bare_pod_is_told_everything_that_the_strictest_level_wants():
    assert beyond("restricted", {"containers": [{"name": "c"}]}) == (
        "container c may run as root",
        "container c allows privilege escalation",
        "container c keeps capabilities",
        "container c has no seccomp profile",
    )


def test_a_template_s_references_are_found_and_our_own_objects_are_not():
    found = references(pod(with_base(pull_secrets=("regcred",))))
    assert set(found) == {
        ("ServiceAccount", "resnet"),
        ("Secret", "regcred"),
        ("Secret", "t"),
        ("PersistentVolumeClaim", "models"),
    }


def test_a_quota_counts_server_and_load_together():
    large = sizes(cluster())[-1]
    asked = counted(large, cluster())
    assert asked["requests.cpu"] == asked["limits.cpu"] == asked["cpu"] == 4 + 3 * 2
    assert asked["memory"] == (Fraction(4) + 3 * Fraction(3, 2)) * 2**30
    assert (asked["requests.nvidia.com/gpu"], asked["pods"]) == (1, 4)


def test_what_is_short_of_the_whole_comes_before_what_is_in_use():
    quota = {"status": {"hard": {"pods": "10", "cpu": "2", "memory": "1Ti"}, "used": {"pods": "8", "cpu": "0"}}}
    found = shortages(quota, {"pods": Fraction(4), "cpu": Fraction(4), "memory": Fraction(1)})
    assert [(one.name, one.asked > one.hard) for one in found] == [("cpu", True), ("pods", False)]


def test_images_are_pulled_where_and_how_the_server_s_are():
    options = with_base(pull_secrets=("regcred",))
    server = sizes(options)[0].pod
    job: Any = pull_job(options, server, images(object_at(server, "spec")), name="p", within_s=60)
    made = job["spec"]["template"]["spec"]
    assert [one["image"] for one in made["containers"]] == [
        "registry.example/envoy:1.30",
        "registry.example/triton:26.09",
    ]
    assert made["imagePullSecrets"] == [{"name": "regcred"}]
    assert made["affinity"] == object_at(server, "spec", "affinity")
    assert beyond("restricted", made) == ()


def test_a_pod_says_of_each_image_whether_it_is_there():
    containers = [{"name": name, "image": name} for name in ("here", "absent", "coming")]
    waits = {"waiting": {"reason": "ImagePullBackOff"}}
    statuses = [
        {"name": "here", "imageID": "sha256:1", "state": {"terminated": {"exitCode": 128}}},
        {"name": "absent", "imageID": "", "state": waits},
        {"name": "coming", "imageID": "", "state": {"waiting": {"reason": "ContainerCreating"}}},
    ]
    found = pulled({"spec": {"containers": containers}, "status": {"containerStatuses": statuses}})
    assert found == {"here": True, "absent": False}
