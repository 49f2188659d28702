"""The server environment's refusals and failures; building it for real is what the Triton tests rest on."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import pytest

from runners import server_environment as environment_module
from runners.server_environment import environment_place, require_supported_machine, server_environment
from tuner.domain.errors import InfrastructureError, UsageError

LOCK = Path(environment_module.__file__).parent / "local_server.requirements.lock"


def test_a_python_that_triton_has_no_numpy_for_is_refused_with_a_way_out(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 13, 1))
    monkeypatch.setattr(environment_module, "_python_version", lambda: "3.13")
    with pytest.raises(UsageError, match=r"3\.11 or 3\.12.*uv run --python 3\.12"):
        require_supported_machine()


def test_a_python_without_shared_libpython_is_refused_with_a_way_out(monkeypatch):
    monkeypatch.setattr(sysconfig, "get_config_var", {"INSTSONAME": "libpython3.11.a", "LIBDIR": "/usr/lib"}.get)
    with pytest.raises(UsageError, match=r"no shared libpython.*--enable-shared"):
        require_supported_machine()


def test_another_machine_is_pointed_to_other_runners(monkeypatch):
    monkeypatch.setattr(environment_module.platform, "machine", lambda: "aarch64")
    with pytest.raises(UsageError, match=r"x86-64.*aarch64.*runner kind simulated"):
        require_supported_machine()


def test_a_failed_build_says_what_failed_and_leaves_no_half_environment(tmp_path: Path, monkeypatch):
    program = tmp_path / "uv"
    program.write_text("#!/bin/sh\necho 'no route to the index' >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("UV", str(program))
    said: list[str] = []
    with pytest.raises(InfrastructureError, match="no route to the index"):
        server_environment(tmp_path / "cache", said.append)
    assert said[0].startswith("building the local Triton server environment, once, in ")
    assert [path.name for path in (tmp_path / "cache").iterdir() if path.suffix != ".lock"] == []


def test_what_a_killed_build_left_is_removed_by_the_next(tmp_path: Path, monkeypatch):
    place = environment_place(tmp_path)
    stale = tmp_path / f".building-{place.name}-stale"
    stale.mkdir()
    monkeypatch.setenv("UV", "/bin/false")
    with pytest.raises(InfrastructureError):
        server_environment(tmp_path, lambda _text: None)
    assert not stale.exists()


def test_the_lock_file_holds_exactly_what_the_input_file_names():
    """It is installed without dependencies, so what is not named is not there."""
    named = {line.split("=")[0].split(">")[0].strip() for line in LOCK.with_suffix(".in").read_text().splitlines()
             if line and not line.startswith("#")}  # fmt: skip
    locked = {line.split("==")[0] for line in LOCK.read_text().splitlines() if "==" in line}
    assert locked == named
