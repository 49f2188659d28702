"""The registry of deployments and the identities it rests on: files in a temporary folder, no server."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from runners.deployment_registry import RegistryEntry, entries, forget_entry, torn_files, write_entry
from runners.leftovers import leftovers, reclaim, remove
from runners.process_table import ProcessIdentity, certainly_gone, identity_of, kill, this_process
from tests.fakes import VirtualClock


def an_entry(folder: Path, controller: ProcessIdentity) -> RegistryEntry:
    return RegistryEntry(
        key="servetune-x-1-0-abcd",
        study="quickstart",
        deployment_id="x-1-0",
        controller=controller,
        folder=str(folder),
        cgroups=(),
        shared_memory="servetune-x-1-0-abcd_",
    )


@pytest.fixture
def gone() -> ProcessIdentity:
    """A process that has ended."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        identity = identity_of(child.pid)
        child.communicate(b"\n")
    assert identity is not None
    return identity


def test_an_identity_survives_its_text():
    assert ProcessIdentity.parse(str(this_process())) == this_process()


def test_a_process_is_gone_once_it_has_ended_and_not_before(gone: ProcessIdentity):
    assert certainly_gone(gone)
    assert not certainly_gone(this_process())


def test_a_number_that_was_given_to_another_process_is_not_the_same_process():
    assert certainly_gone(replace(this_process(), start_ticks=this_process().start_ticks - 1))
    assert certainly_gone(replace(this_process(), boot_id="an earlier boot"))


def test_a_process_of_another_container_is_not_ours_to_judge(gone: ProcessIdentity):
    assert not certainly_gone(replace(gone, scope="elsewhere:pid:[1]"))


def test_an_unreaped_process_is_gone():
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert identity_of(child.pid) is None
    child.wait()


def test_kill_spares_a_process_that_only_has_the_same_number():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        identity = identity_of(child.pid)
        assert identity is not None
        kill(replace(identity, start_ticks=identity.start_ticks - 1))
        child.communicate(b"\n")
    assert child.returncode == 0


def test_entries_are_read_back_until_forgotten(tmp_path: Path):
    entry = an_entry(tmp_path / "x", this_process())
    write_entry(tmp_path, entry)
    assert list(entries(tmp_path)) == [entry]
    with pytest.raises(FileExistsError):
        write_entry(tmp_path, entry)
    forget_entry(tmp_path, entry)
    forget_entry(tmp_path, entry)
    assert list(entries(tmp_path)) == []


def test_a_registry_that_does_not_exist_has_no_leftovers(tmp_path: Path):
    assert [left for left in leftovers(tmp_path / "none") if left.entry.deployment_id == "x-1-0"] == []


def test_only_what_a_gone_controller_left_is_reclaimed(tmp_path: Path, gone: ProcessIdentity):
    registry, folder = tmp_path / "registry", tmp_path / "servetune-x-1-0-abcd"
    (folder / "models").mkdir(parents=True)
    write_entry(registry, an_entry(folder, this_process()))
    assert reclaim(registry, VirtualClock()) == ()
    assert folder.exists()
    dead = replace(an_entry(folder, gone), key="servetune-x-1-0-abcd")
    forget_entry(registry, an_entry(folder, this_process()))
    write_entry(registry, dead)
    assert [left.entry for left in reclaim(registry, VirtualClock())] == [dead]
    assert not folder.exists()
    assert list(registry.iterdir()) == []


def test_removing_twice_is_no_error(tmp_path: Path):
    entry = an_entry(tmp_path / "never-made", this_process())
    remove(tmp_path, entry, VirtualClock())
    remove(tmp_path, entry, VirtualClock())


def test_a_file_cut_short_is_removed_once_its_writer_is_gone(tmp_path: Path, gone: ProcessIdentity):
    for number, writer in enumerate([gone, this_process()]):
        entry = replace(an_entry(tmp_path, writer), key=f"servetune-{number}")
        (tmp_path / entry.file_name).write_text('{"key": "serv')
    assert len(list(torn_files(tmp_path))) == 2
    reclaim(tmp_path, VirtualClock())
    assert [pid for _, pid, _ in torn_files(tmp_path)] == [os.getpid()]
