"""The gate on real servers: tuned, locked, passed; then the model is made 30 % slower, and then prices change.

The service waits instead of computing, so that a busy machine hardly changes how much it finishes.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.integration.test_command_line import servetune  # noqa: F401 - the fixture
from tests.integration.test_gate import gate

pytestmark = [
    pytest.mark.triton,
    pytest.mark.campaign,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(
        "SERVETUNE_TEST_GATE" not in os.environ, reason="takes ten minutes and more: SERVETUNE_TEST_GATE=1 runs it"
    ),
]

MODEL = """\
import time
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for _ in requests:
            time.sleep(0.010)
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("y", np.zeros(1, np.float32))]))
        return answers
"""
CONFIG = """\
backend: "python"
max_batch_size: 0
input { name: "x" data_type: TYPE_FP32 dims: [1] }
output { name: "y" data_type: TYPE_FP32 dims: [1] }
instance_group { count: 1 kind: KIND_CPU }
"""
STUDY = """\
apiVersion: servetune/v1
kind: Study
metadata:
  name: ranker
model:
  repository: models
runner:
  kind: local
knobs:
  cpu_cores: [0.5]
load:
  arrivals: poisson
  target_rps: 40
  warmup_s: 1
  window_s: 2
slos:
  - indicator: latency_p95_ms
    max: 3000
prices:
  book: prices.csv
  term: on_demand
headroom: 0.1
replicas:
  max: 1
confirm:
  repeats: 3
  window_s: 3
budget:
  trials: 1
  wall_time_s: 600
search:
  optimizer: grid
  seed: 5
"""
PRICES = """\
resource,sku,term,currency,price_per_hour,as_of,source
cpu_core,,on_demand,USD,0.03,2026-11-01,made up for this test
"""


@pytest.fixture
def service(tmp_path: Path) -> Path:
    """A Triton model repository whose model takes 10 ms, and a study of it."""
    version = tmp_path / "models" / "ranker" / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(MODEL)
    (version.parent / "config.pbtxt").write_text(CONFIG)
    (tmp_path / "prices.csv").write_text(PRICES)
    (tmp_path / "study.yaml").write_text(STUDY)
    return tmp_path


def lock_it(command) -> None:
    """The service tuned, and its answer locked.

    With a margin for a machine that others use too: windows of three seconds say little about a p99 there.
    """
    rules = ("--set", "saturated_rps=error:0.10", "--set", "latency_p99_ms=warn")
    update = ("baseline", "update", "study.yaml", "--reason", "first release", *rules)
    for words in (("tune", "study.yaml", "-q"), update):
        done = command(*words)
        assert done.code == 0, done.err + done.out


def test_a_release_passes_a_slower_one_is_stopped_and_prices_are_told_apart(servetune, service: Path):  # noqa: F811
    lock_it(servetune)
    done, document = gate(servetune, "study.yaml", "--verify", "--max-duration", "15m")
    assert done.code == 0, document or done.err

    # The pull request: a copy of the service, its model's server changed.
    pull_request = service / "pull-request"
    shutil.copytree(service / "models", pull_request / "models")
    for name in ("study.yaml", "prices.csv"):
        shutil.copy(service / name, pull_request / name)
    model = pull_request / "models" / "ranker" / "1" / "model.py"
    model.write_text(MODEL.replace("time.sleep(0.010)", "time.sleep(0.013)"))
    words = ("pull-request/study.yaml", "--verify", "--deployed", "study.yaml", "--storage", "sqlite:///pr.db")
    done, document = gate(servetune, *words, "--max-duration", "15m", "--markdown", "comment.md")
    assert done.code == 3, document or done.err
    worst = next(metric for metric in document["metrics"] if metric["metric"] == "saturated_rps")
    assert (worst["verdict"], worst["blocks"]) == ("REGRESSION", True)
    assert worst["change"] < -0.10
    assert document["differences"][0]["field"] == "model"
    assert "REGRESSION" in Path("comment.md").read_text()
    print(Path("comment.md").read_text())

    (service / "prices.csv").write_text(PRICES.replace("0.03,2026-11-01", "0.06,2026-11-20"))
    done, document = gate(servetune, "study.yaml", "--check", "--storage", "sqlite:///other.db")
    assert done.code == 0
    assert document["cost"]["price_effect"] == pytest.approx(0.015)
    assert json.loads((service / "serving-baseline.lock.json").read_text())["fingerprint"]["server"].startswith(
        "triton"
    )
    assert (document["cost"]["capacity_effect"], document["cost"]["rounding_effect"]) == (0.0, 0.0)


def test_a_candidate_whose_server_never_starts_fails_the_gate(servetune, service: Path):  # noqa: F811
    lock_it(servetune)
    broken = service / "pull-request"
    shutil.copytree(service / "models", broken / "models")
    for name in ("study.yaml", "prices.csv"):
        shutil.copy(service / name, broken / name)
    (broken / "models" / "ranker" / "1" / "model.py").write_text("raise RuntimeError('no such weights')")
    words = ("pull-request/study.yaml", "--verify", "--deployed", "study.yaml", "--storage", "sqlite:///pr.db")
    done, document = gate(servetune, *words)
    assert done.code == 3, document or done.err
    assert "cannot serve" in document["summary"]
