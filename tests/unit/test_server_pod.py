"""The server's pod: what is patched into the user's own template, and what is left as it was."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from tests.clusters import BASE, IMAGE, LOAD_IMAGE, T4, cluster, served, with_base, work
from tuner.domain.cluster import BasePod, EngineBuild, GpuSharing, LoadPods, ModelClaim, ModelImage
from tuner.domain.errors import UsageError
from tuner.manifests.cluster.base_pod import base_pod
from tuner.manifests.cluster.comparison import dropped_fields
from tuner.manifests.cluster.load_jobs import load_objects
from tuner.manifests.cluster.model_volumes import engine_key
from tuner.manifests.cluster.naming import TrialId, selector_of, trial_labels
from tuner.manifests.cluster.platforms import kserve_objects, kubedl_inference, seldon_objects
from tuner.manifests.cluster.server_pod import http_port, server_template
from tuner.manifests.cluster.trial_objects import owned_by, trial_objects

GPU_KNOBS: Any = {"gpu_type": "T4", "env.OMP_NUM_THREADS": 2, "arg.http-thread-count": 16}


def container(options: Any, trial: Any, name: str = "server") -> Any:
    spec: Any = server_template(options, trial)["spec"]
    return next(one for one in spec["containers"] if one["name"] == name)


def test_knobs_replace_the_templates_own_settings():
    patched = container(with_base(), served(GPU_KNOBS), "triton")
    assert patched["args"] == ["tritonserver", "--model-repository=/m", "--http-thread-count=16"]
    assert [one["name"] for one in patched["env"]] == ["TOKEN", "OMP_NUM_THREADS"]
    assert patched["env"][1]["value"] == "2"


def test_limits_are_requests_and_the_templates_other_limits_stay():
    resources = container(with_base(), served(GPU_KNOBS), "triton")["resources"]
    assert resources["limits"] == resources["requests"]
    assert resources["limits"] == {
        "cpu": "1500m",
        "memory": "4Gi",
        "nvidia.com/gpu": "1",
        "ephemeral-storage": "4Gi",
    }


def test_a_tuned_share_takes_the_place_of_the_templates_card():
    options = with_base(sharing=GpuSharing(scheme="volcano"))
    limits = container(options, served({"gpu_type": "T4", "gpu_memory_share": 0.5}), "triton")["resources"]["limits"]
    assert "nvidia.com/gpu" not in limits
    assert limits["volcano.sh/vgpu-memory"] == "7680"


def test_the_templates_card_stays_where_no_gpu_is_tuned():
    assert container(with_base(), served(), "triton")["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_a_measured_server_is_not_restarted_by_its_liveness_probe():
    patched = container(with_base(), served(), "triton")
    assert "livenessProbe" not in patched
    assert patched["readinessProbe"]["initialDelaySeconds"] == 5
    assert patched["startupProbe"]["httpGet"] == {"path": "/v2/health/ready", "port": 9000}


def test_other_containers_and_settings_stay():
    template: Any = server_template(with_base(), served(GPU_KNOBS))
    assert template["metadata"]["annotations"]["team"] == "vision"
    assert [one["name"] for one in template["spec"]["containers"]] == ["proxy", "triton"]
    keys = [one["key"] for one in template["spec"]["tolerations"]]
    assert keys == ["dedicated", "nvidia.com/gpu"]
    assert "nodeName" not in template["spec"]


def test_the_templates_own_affinity_is_narrowed_not_replaced():
    base = deepcopy(BASE)
    terms = [{"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]} for zone in ("a", "b")]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    base["spec"]["template"]["spec"]["affinity"] = {"nodeAffinity": required, "podAntiAffinity": {"x": []}}
    spec: Any = server_template(replace(with_base(), base=base_pod(base, "triton")), served(GPU_KNOBS))["spec"]
    narrowed = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert [[one["key"] for one in term["matchExpressions"]] for term in narrowed] == [
        ["zone", "nvidia.com/gpu.product"],
        ["zone", "nvidia.com/gpu.product"],
    ]
    assert spec["affinity"]["podAntiAffinity"] == {"x": []}


def test_the_base_is_not_changed():
    before = deepcopy(BASE)
    options = with_base()
    server_template(options, served(GPU_KNOBS))
    assert before == BASE
    assert base_pod(BASE, "triton") == options.base


@pytest.mark.parametrize(
    ("manifest", "name", "message"),
    [
        (BASE, "tritn", "has no container 'tritn'"),
        (BASE, "", "more than one container"),
        ({"kind": "Service", "spec": {}}, "", "a Service holds no pod template"),
        ({"kind": "Pod", "spec": {"containers": []}}, "", "has no containers"),
        ({"kind": "Deployment"}, "", "has no containers"),
    ],
)
def test_a_base_without_the_serving_container_is_refused(manifest: Any, name: str, message: str):
    with pytest.raises(UsageError, match=message) as caught:
        base_pod(manifest, name)
    assert caught.value.hint


def test_a_base_that_lost_its_container_is_refused():
    base = BasePod(template_json='{"spec":{"containers":[{"name":"other"}]}}', container="triton")
    with pytest.raises(UsageError, match="no container 'triton'"):
        server_template(replace(with_base(), base=base), served())


@pytest.mark.parametrize("kind", ["Pod", "PodTemplate", "Job", ""])
def test_a_base_may_come_in_any_kind_that_holds_pods(kind: str):
    spec = {"spec": {"containers": [{"name": "only"}]}}
    wrapped: Any = {"Pod": spec, "": spec, "PodTemplate": {"template": spec}, "Job": {"spec": {"template": spec}}}[kind]
    assert base_pod({"kind": kind, **wrapped} if kind else wrapped).container == "only"


def test_the_bare_pod_is_restricted():
    template: Any = server_template(cluster(), served())
    spec = template["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for one in spec["containers"]:
        assert one["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def test_on_the_hosts_network_the_server_and_its_probes_use_one_address():
    options, trial = cluster(network="host", host_address="127.0.0.1"), served(http_port=18000)
    template: Any = server_template(options, trial)
    served_one = template["spec"]["containers"][0]
    assert template["spec"]["hostNetwork"] is True
    assert served_one["readinessProbe"]["httpGet"] == {"path": "/v2/health/ready", "port": 18000, "host": "127.0.0.1"}
    assert {"--http-port=18000", "--grpc-port=18001", "--http-address=127.0.0.1"} <= set(served_one["args"])
    assert [one["kind"] for one in trial_objects(options, trial).all] == ["ConfigMap", "Deployment", "Service"]


def test_the_runners_own_arguments_are_no_knobs():
    with pytest.raises(UsageError, match="set by the runner itself"):
        server_template(cluster(), served({"arg.http-port": 9000}))


def test_an_image_with_its_own_model_starts_itself():
    patched = container(cluster(model=None), served({"arg.verbose": 1}))
    assert "command" not in patched
    assert patched["args"] == ["--verbose=1"]


def test_no_image_at_all_is_refused():
    with pytest.raises(UsageError, match="which image serves"):
        server_template(cluster(image=""), served())


def test_knobs_of_a_config_nobody_rendered_are_refused():
    with pytest.raises(UsageError, match=r"max_batch_size would change nothing"):
        trial_objects(cluster(), served({"max_batch_size": 8}))
    inference = {"kind": "Inference", "spec": {"predictors": [{"name": "green"}]}}
    with pytest.raises(UsageError, match="no place for queue_delay_ms"):
        kubedl_inference(inference, "green", with_base(), served({"queue_delay_ms": 2}))


def test_a_rendered_config_goes_into_the_templates_own_repository():
    with pytest.raises(UsageError, match="where the base template has its model repository"):
        server_template(with_base(), served(config_pbtxt="x"))
    options = replace(with_base(), base=base_pod(BASE, "triton", "/m/"))
    mounts = container(options, served(config_pbtxt="x"), "triton")["volumeMounts"]
    assert [one["mountPath"] for one in mounts] == ["/m", "/m/resnet50/config.pbtxt"]


def test_images_are_pulled_with_the_studys_secrets():
    options = cluster(pull_secrets=("registry",))
    spec: Any = server_template(options, served())["spec"]
    job: Any = load_objects(options, work(options, served()))[-1]
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    assert job["spec"]["template"]["spec"]["imagePullSecrets"] == [{"name": "registry"}]


def test_a_variant_picks_the_models_folder():
    options = cluster(model=ModelClaim(claim="models", path="/resnet/{variant}/1/"))
    mounts = container(options, served({"variant": "int8"}))["volumeMounts"]
    assert next(one for one in mounts if one["name"] == "servetune-model")["subPath"] == "resnet/int8/1"
    with pytest.raises(UsageError, match="no knob of that name"):
        server_template(options, served())


def test_an_image_that_holds_the_model_is_mounted_whole():
    options = cluster(model=ModelImage(image=IMAGE, path="/", way="volume"))
    mount = container(options, served())["volumeMounts"][-1]
    assert "subPath" not in mount


ENGINE = EngineBuild(image=IMAGE, command=("build", "--fast"), cache_claim="engines")


def test_the_server_gets_the_engine_and_the_build_gets_the_source():
    spec: Any = server_template(cluster(engine=ENGINE), served({"gpu_type": "T4"}))["spec"]
    build = spec["initContainers"][0]
    server = spec["containers"][0]
    assert [one["mountPath"] for one in build["volumeMounts"]] == ["/engines", "/model-source"]
    assert "/model-source" not in [one["mountPath"] for one in server["volumeMounts"]]
    engine = next(one for one in server["volumeMounts"] if one["name"] == "servetune-engines")
    assert engine["subPath"] in build["env"][1]["value"]
    assert build["resources"]["limits"]["nvidia.com/gpu"] == "1"


@pytest.mark.parametrize(
    "other",
    [
        {"gpu_type": "A100-40"},
        {"gpu_type": "T4", "max_batch_size": 8},
        {"gpu_type": "T4", "gpu_memory_share": 0.5},
    ],
)
def test_what_changes_an_engine_changes_its_name(other: Any):
    assert engine_key(ENGINE, served({"gpu_type": "T4"}), "m") != engine_key(ENGINE, served(other), "m")


def test_what_does_not_change_an_engine_keeps_its_name():
    one = engine_key(ENGINE, served({"gpu_type": "T4", "cpu_cores": 1}), "m")
    assert one == engine_key(ENGINE, served({"gpu_type": "T4", "cpu_cores": 4, "queue_delay_ms": 2}), "m")
    assert one != engine_key(replace(ENGINE, command=("build",)), served({"gpu_type": "T4"}), "m")
    assert one != engine_key(ENGINE, served({"gpu_type": "T4"}), "other")


def test_the_same_trial_has_the_same_names_and_another_attempt_has_others():
    def names(trial: Any) -> list[Any]:
        return [(one["kind"], one["metadata"]["name"]) for one in trial_objects(cluster(), trial).all]  # type: ignore[call-overload, index]

    again = served(id=TrialId(study="resnet50 on cards", trial=12, attempt=2))
    assert names(served()) == names(served())
    assert not set(names(served())) & set(names(again))


def test_an_object_of_the_same_name_and_other_content_is_told_apart():
    def digest(trial: Any) -> str:
        owner: Any = trial_objects(cluster(), trial).owner
        return owner["metadata"]["annotations"]["servetune/content-sha256"]

    assert digest(served()) == digest(served())
    assert digest(served()) != digest(served({"cpu_cores": 8}))


def test_everything_of_a_trial_is_found_by_its_labels_and_goes_with_its_owner():
    options, trial = cluster(), served(config_pbtxt="x")
    objects = trial_objects(options, trial)
    wanted = {key: value for key, value in trial_labels(trial.id, "server").items() if key != "servetune/role"}
    for one in (*objects.all, *load_objects(options, work(options, trial))):
        metadata: Any = one["metadata"]
        assert wanted.items() <= metadata["labels"].items()
        assert metadata["annotations"]["servetune/expires-at"] == trial.expires_at
        reference: Any = owned_by(one, objects.owner, "uid-1")["metadata"]
        assert [(r["kind"], r["uid"]) for r in reference["ownerReferences"]] == [("ConfigMap", "uid-1")]
    assert "servetune/trial=12" in selector_of(wanted)


def test_selectors_find_the_pods_they_are_for():
    objects: Any = {one["kind"]: one for one in trial_objects(cluster(), served()).owned}
    pod_labels = objects["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
    assert objects["Deployment"]["spec"]["selector"]["matchLabels"].items() <= pod_labels
    assert objects["Service"]["spec"]["selector"].items() <= pod_labels
    assert objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"].items() <= pod_labels


def test_the_templates_port_is_the_services():
    assert http_port(with_base(), served()) == 9000
    bare = deepcopy(BASE)
    bare["spec"]["template"]["spec"]["containers"][1]["ports"] = []
    assert http_port(replace(with_base(), base=base_pod(bare, "triton")), served()) == 8000


def test_a_second_run_of_load_has_jobs_of_its_own():
    options, trial = cluster(), served()
    first, second = (load_objects(options, work(options, trial, run=run)) for run in (1, 2))
    names = [one["metadata"]["name"] for one in (*first, *second)]  # type: ignore[call-overload, index]
    assert len(set(names)) == len(names) - 2  # the master's Service and Job share a name, each run


def test_load_pods_may_be_kept_on_their_own_nodes():
    load = LoadPods(image=LOAD_IMAGE, node_labels=(("pool", "load"),))
    options = cluster(load=load)
    jobs: Any = [one for one in load_objects(options, work(options, served())) if one["kind"] == "Job"]
    for job in jobs:
        affinity = job["spec"]["template"]["spec"]["affinity"]
        assert affinity["nodeAffinity"]
        assert affinity["podAntiAffinity"]


def test_platforms_refuse_what_they_have_no_place_for():
    with pytest.raises(UsageError, match="engine"):
        kserve_objects(cluster(engine=ENGINE), served(), repository="s3://x", model_format="onnx")
    options = cluster(sharing=GpuSharing(scheme="dra"), gpus=(T4,))
    with pytest.raises(UsageError, match="resource claim"):
        kserve_objects(options, served({"gpu_type": "T4"}), repository="s3://x", model_format="onnx")
    with pytest.raises(UsageError, match="its own model"):
        seldon_objects(cluster(model=None), served(), repository="s3://x")
    with pytest.raises(UsageError, match="command line itself"):
        seldon_objects(cluster(), served({"arg.verbose": 1}), repository="s3://x")
    with pytest.raises(UsageError, match="no predictor 'green'"):
        kubedl_inference({"kind": "Inference", "spec": {"predictors": []}}, "green", cluster(), served())


def test_what_an_older_server_drops_is_named():
    sent: Any = {
        "metadata": {"name": "x", "annotations": {}},
        "spec": {
            "replicas": 0,
            "volumes": [{"name": "a", "emptyDir": {"sizeLimit": "1024Mi"}}, {"name": "m", "image": {"reference": "r"}}],
            "resourceClaims": [{"name": "gpu"}],
        },
    }
    returned: Any = {
        "metadata": {"name": "x", "uid": "1"},
        "spec": {"volumes": [{"name": "a", "emptyDir": {"sizeLimit": "1Gi"}}, {"name": "m", "emptyDir": {}}]},
    }
    assert dropped_fields(sent, returned) == ("spec.volumes[1].image", "spec.resourceClaims")
    assert dropped_fields(returned, returned) == ()
    assert dropped_fields({"a": [1, 2]}, {"a": [1]}) == ("a[1]",)
    assert dropped_fields({"a": {"b": 1}}, {"a": "text"}) == ("a.b",)
