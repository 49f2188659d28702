"""What `servetune plan --manifests` prints is what a real API server takes, whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runners.kubernetes_paths import path_of
from tests.cluster.control_plane import ControlPlane
from tests.cluster.test_commands import servetune
from tests.clusters import BASE
from tests.unit.test_spec_cluster import a_section, a_study
from tests.unit.test_spec_cluster import load as load_study
from tuner.manifests.cluster.comparison import dropped_fields
from tuner.yaml_text import parse_yaml, plain, to_yaml

pytestmark = pytest.mark.cluster

BUCKET = {"url": "s3://models/{variant}", "image": a_section()["image"], "command": ["fetch"], "secret": "reader"}
ENGINE = {"image": a_section()["image"], "command": ["build", "$(ENGINE_FILE)"], "cache_claim": "engines"}
BASE_FILE = {"file": "base.yaml", "container": "triton", "repository": "/m"}
SERVERS: dict[str, dict[str, Any]] = {
    "claim": {"model": {"claim": "models", "path": "resnet/1"}},
    "copied_image": {"model": {"image": a_section()["image"], "path": "/model", "way": "copy"}},
    "bucket_and_account": {"model": BUCKET, "service_account": "reader"},
    "engine": {"model": {"claim": "models", "path": "resnet/1"}, "engine": ENGINE},
    "base": {"base": BASE_FILE, "sharing": {"scheme": "time_slicing", "replicas": 4}},
    "host_network": {"network": "host"},
}


def dry_run(plane: ControlPlane, one: Any) -> Any:
    return plane.admin.post(f"{path_of(one, named=False)}?dryRun=All", one)


@pytest.mark.parametrize("server", SERVERS)
def test_the_printed_objects_are_accepted_with_every_field(
    plane: ControlPlane, namespace: str, tmp_path: Path, server: str
):
    section = a_section() | {"namespace": namespace} | SERVERS[server]
    if "base" in section:
        del section["image"], section["model"]
    knobs = {"cpu_cores": [1, 2], "memory_gib": [2], "gpu_type": ["T4"], "env.OMP_NUM_THREADS": [2]}
    share = {"gpu_memory_share": [0.25]} if server == "base" else {}
    variant = {"variant": ["fp16"]} if server == "bucket_and_account" else {}
    (tmp_path / "base.yaml").write_text(to_yaml(BASE))
    load_study(tmp_path, a_study(section, knobs=knobs | share | variant))
    code, said = servetune("plan", str(tmp_path / "study.yaml"), "--manifests", "-")
    assert code == 0, said
    objects: list[Any] = [plain(parse_yaml(one.encode(), "x").root) for one in said.split("---\n")[1:]]  # type: ignore[arg-type]
    assert {"ConfigMap", "Deployment", "Service"} <= {one["kind"] for one in objects}
    for one in objects:
        kept = dry_run(plane, one)
        assert dropped_fields(one, kept) == ()
    assert plane.admin.items(f"/apis/apps/v1/namespaces/{namespace}/deployments") == []


def test_a_field_that_no_api_server_knows_would_be_seen(plane: ControlPlane, namespace: str):
    one = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x", "namespace": namespace}}
    one["spec"] = {"ports": [{"port": 80}], "surprise": "me"}  # type: ignore[assignment]
    assert dropped_fields(one, dry_run(plane, one)) == ("spec.surprise",)
