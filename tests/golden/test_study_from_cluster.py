"""The study file and the template that `init --from-cluster` writes, as text; and that a study can start from them.

After a wanted change: `UPDATE_GOLDEN=1 uv run pytest tests/golden/test_study_from_cluster.py`; read the difference.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.deployments import a_deployment, a_gpu_node, a_service, its_pod
from tests.golden_files import matches_golden
from tuner.assemble import preflight
from tuner.manifests.cluster.existing.service import ExistingService, ReadObjects, existing_service
from tuner.prices import default_price_book
from tuner.spec_file import load_spec
from tuner.study_from_cluster import StudySetup, study_text, template_text

SETUP = StudySetup(
    template_file="study.template.yaml",
    where=" of context production (https://10.0.0.1)",
    priced=("A100-40GB", "L4", "T4"),
)


def whole_card() -> ExistingService:
    deployment = a_deployment()
    node = a_gpu_node(**{"nvidia.com/gpu.memory": "40960"})
    services = [a_service(tier="vision"), a_service(team="web")]
    return existing_service(
        ReadObjects(deployment=deployment, pods=[its_pod(deployment)], services=services, node=node)
    )


def slice_by_hami() -> ExistingService:
    limits = {"cpu": "2", "nvidia.com/gpu": "1", "nvidia.com/gpumem-percentage": "50"}
    deployment = a_deployment(
        {"resources": {"limits": limits}}, {"nodeSelector": {"karpenter.sh/capacity-type": "spot"}}
    )
    node = a_gpu_node(**{"nvidia.com/gpu.product": "NVIDIA-L4", "nvidia.com/gpu.memory": "23034"})
    return existing_service(ReadObjects(deployment=deployment, node=node))


def mig_slice() -> ExistingService:
    limits = {"cpu": "1500m", "memory": "512Mi", "nvidia.com/mig-1g.5gb": "1"}
    deployment = a_deployment({"resources": {"limits": limits, "requests": limits}})
    return existing_service(ReadObjects(deployment=deployment))


def processor_only_behind_a_shell() -> ExistingService:
    command = ["/bin/sh", "-c", "exec tritonserver --model-repository=/models --load-model=bert"]
    container = {"command": command, "args": [], "resources": {}, "readinessProbe": {}, "livenessProbe": {}}
    deployment = a_deployment(container, {"nodeSelector": {}, "securityContext": {"runAsUser": 1001}})
    return existing_service(ReadObjects(deployment=deployment))


CASES: dict[str, Callable[[], ExistingService]] = {
    case.__name__: case for case in (whole_card, slice_by_hami, mig_slice, processor_only_behind_a_shell)
}


@pytest.mark.parametrize("case", CASES)
def test_text_is_as_recorded(case: str):
    assert matches_golden(f"from_cluster/{case}.study.yaml", study_text(CASES[case](), SETUP))
    assert matches_golden(f"from_cluster/{case}.template.yaml", template_text(CASES[case](), SETUP))


@pytest.mark.parametrize("case", CASES)
def test_a_study_can_start_from_it_at_once(case: str, tmp_path: Path):
    service = CASES[case]()
    (tmp_path / "study.yaml").write_text(study_text(service, SETUP))
    (tmp_path / "study.template.yaml").write_text(template_text(service, SETUP))
    (tmp_path / "prices.csv").write_text(default_price_book())
    spec = load_spec(tmp_path / "study.yaml")
    preflight(spec)
    assert spec.runner.kubernetes is not None
    assert spec.runner.kubernetes.base is not None
    assert spec.runner.kubernetes.base.container == "triton"
