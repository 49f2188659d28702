"""Whatever a Deployment looks like: a trial of what it has today deploys what was there, but for what is said here."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.clusters import LOAD_IMAGE, served
from tests.deployments import a_deployment, its_pod, probe
from tuner.domain.cluster import ClusterOptions, LoadPods
from tuner.manifests.cluster.base_pod import base_pod
from tuner.manifests.cluster.existing.as_written import template_as_written
from tuner.manifests.cluster.existing.service import ReadObjects, existing_service
from tuner.manifests.cluster.quantities import GIB, parse_quantity
from tuner.manifests.cluster.server_pod import server_template
from tuner.study_from_cluster import StudySetup, template_text
from tuner.yaml_text import parse_yaml, plain

NAMES = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)
TEXTS = st.text(alphabet="abcXYZ019 :/#'\"{}[]-_.\\\n", max_size=20)
VARIABLES = st.builds(lambda name, value: {"name": f"V_{name.upper()}", "value": value}, NAMES, TEXTS)
PROBES = st.builds(
    probe, st.just("/v2/health/ready"), periodSeconds=st.integers(1, 60), timeoutSeconds=st.integers(1, 9)
)
AMOUNTS = st.fixed_dictionaries(
    {
        "cpu": st.sampled_from(["1", "250m", "1500m", "8"]),
        "memory": st.sampled_from(["512Mi", "3Gi", "1500M", "2000000000"]),
    }
)
VOLUMES = st.one_of(
    st.just({"emptyDir": {}}),
    st.builds(
        lambda name, mode: {"configMap": {"name": name, "defaultMode": mode}}, NAMES, st.sampled_from([420, 256])
    ),
    st.builds(lambda name: {"secret": {"secretName": name, "defaultMode": 420}}, NAMES),
    st.builds(lambda name: {"persistentVolumeClaim": {"claimName": name}}, NAMES),
    st.builds(lambda kind: {"hostPath": {"path": "/data", "type": kind}}, st.sampled_from(["", "Directory"])),
)


@st.composite
def deployments(draw: st.DrawFn) -> Any:
    volumes = [{"name": f"v{k}", **one} for k, one in enumerate(draw(st.lists(VOLUMES, max_size=3)))]
    mounts = [{"name": one["name"], "mountPath": f"/mnt/{one['name']}"} for one in volumes]
    amounts = draw(AMOUNTS)
    container = {
        "env": draw(st.lists(VARIABLES, max_size=3, unique_by=lambda one: one["name"])),
        "args": draw(st.lists(TEXTS.filter(lambda text: not text.startswith("-")), max_size=2)),
        "readinessProbe": draw(PROBES),
        "resources": {"requests": amounts, "limits": draw(st.just(amounts) | st.just({}))},
        "volumeMounts": mounts,
        **draw(st.sampled_from([{}, {"tty": True}, {"lifecycle": {"preStop": {"exec": {"command": ["sleep", "1"]}}}}])),
        **draw(st.sampled_from([{}, {"securityContext": {"runAsUser": 7}}])),
    }
    pod = {
        "volumes": volumes,
        "nodeSelector": draw(st.sampled_from([{}, {"zone": "b"}])),
        "terminationGracePeriodSeconds": draw(st.sampled_from([30, 5])),
        "dnsPolicy": draw(st.sampled_from(["ClusterFirst", "Default"])),
        "initContainers": [{"name": "warm", "image": "x", "env": container["env"]}] if draw(st.booleans()) else [],
        **draw(st.sampled_from([{}, {"priorityClassName": "high"}, {"shareProcessNamespace": True}])),
    }
    return a_deployment(container, pod)


def as_a_trial(deployment: Any) -> tuple[Any, Any]:
    """The template through its file, and the pod of a trial with today's amounts."""
    read = ReadObjects(deployment=deployment, pods=[its_pod(deployment)])
    service = existing_service(read)
    document = parse_yaml(template_text(service, StudySetup(template_file="t.yaml")).encode(), "t.yaml")
    assert document.root is not None
    assert document.problems == ()
    written: Any = plain(document.root)
    options = ClusterOptions(namespace="x", load=LoadPods(image=LOAD_IMAGE), base=base_pod(written, "triton"))
    assert service.cpu is not None
    assert service.memory is not None
    amounts = {"cpu_cores": float(service.cpu.number), "memory_gib": float(service.memory.number / GIB)}
    return written["template"], server_template(options, served({**amounts}))


def less(node: Any, *keys: str) -> Any:
    return {key: value for key, value in node.items() if key not in keys}


@given(deployment=deployments())
@settings(max_examples=60, deadline=None)
def test_what_deploys_is_what_was_there(deployment: Any):
    written, trial = as_a_trial(deployment)
    set_by_us = ("securityContext", "automountServiceAccountToken", "enableServiceLinks", "restartPolicy")
    was, now = less(written["spec"], *set_by_us), less(trial["spec"], *set_by_us)
    assert less(now, "containers", "initContainers") == less(was, "containers", "initContainers")
    assert written["spec"].get("securityContext", {}).items() <= trial["spec"]["securityContext"].items()
    for kind in ("containers", "initContainers"):
        assert [one["name"] for one in now.get(kind, [])] == [one["name"] for one in was.get(kind, [])]
        for before, after in zip(was.get(kind, []), now.get(kind, []), strict=True):
            ours = (
                ("securityContext", "resources", "livenessProbe", "startupProbe") if before["name"] == "triton" else ()
            )
            assert less(after, "securityContext", *ours) == less(before, "securityContext", *ours)
            assert before.get("securityContext", {}).items() <= after["securityContext"].items()
    limits = now["containers"][1]["resources"]["limits"]
    asked = deployment["spec"]["template"]["spec"]["containers"][1]["resources"]["requests"]
    assert {key: parse_quantity(limits[key]) for key in asked} == {key: parse_quantity(asked[key]) for key in asked}


@given(deployment=deployments())
@settings(max_examples=60, deadline=None)
def test_nothing_but_defaults_goes_and_it_goes_once(deployment: Any):
    template = deployment["spec"]["template"]
    once = template_as_written(template)
    assert template_as_written(once) == once
    for before, after in zip(template["spec"]["containers"], once["spec"]["containers"], strict=True):  # type: ignore[call-overload, index, arg-type]
        assert {one["name"]: one.get("value") for one in before.get("env", [])} == {
            one["name"]: one.get("value") for one in after.get("env", [])
        }
        assert before.get("args", []) == after.get("args", [])
        assert before.get("volumeMounts", []) == after.get("volumeMounts", [])
    names = [one["name"] for one in template["spec"].get("volumes", [])]
    assert [one["name"] for one in once["spec"].get("volumes", [])] == names  # type: ignore[union-attr, call-overload, index]
