"""What a load in a cluster is told: where its requests go, how long it lasts, and the files it needs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.contract.load_generator_contract import a_profile
from tests.servers.behaviour import deployment_at
from tuner.assemble_load import planned_load
from tuner.domain.errors import UsageError
from tuner.domain.load import Payload
from tuner.manifests.cluster.load_jobs import PLAN_FOLDER


def test_workers_may_put_load_on_the_server_alone():
    assert planned_load(deployment_at(8123), a_profile()).target == "127.0.0.1:8123"


def test_a_longer_run_lasts_longer_and_has_a_larger_result():
    short, long = (planned_load(deployment_at(1), a_profile(window_s=window_s)) for window_s in (1.0, 11.0))
    assert long.lasts_s - short.lasts_s == pytest.approx(10.0, abs=0.1)
    assert long.result_bytes - short.result_bytes == pytest.approx(1000 * 17, rel=0.2)


def test_payload_files_are_sent_along_under_names_of_ours(tmp_path: Path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "body.json").write_text(f'{{"inputs": "{folder}"}}')
    files = tuple((str(tmp_path / folder / "body.json"), weight) for folder, weight in (("a", 1.0), ("b", 3.0)))
    profile = replace(a_profile(), payload=Payload(kind="files", files=files))
    planned = planned_load(deployment_at(1), profile)
    assert planned.files == (("payload0.json", b'{"inputs": "a"}'), ("payload1.json", b'{"inputs": "b"}'))
    stated = json.loads(planned.text)["profile"]["payload"]["files"]
    assert stated == [[f"{PLAN_FOLDER}/payload0.json", 1.0], [f"{PLAN_FOLDER}/payload1.json", 3.0]]


def test_a_payload_file_that_is_not_there_is_named(tmp_path: Path):
    profile = replace(a_profile(), payload=Payload(kind="files", files=((str(tmp_path / "absent.json"), 1.0),)))
    with pytest.raises(UsageError, match=r"absent\.json"):
        planned_load(deployment_at(1), profile)
