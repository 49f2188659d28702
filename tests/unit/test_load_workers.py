"""What load master and workers may say to each other, and where a worker may send load."""

from __future__ import annotations

import dataclasses
import math
import socket
from pathlib import Path

import pytest

from load_profiles.addresses import HostPort, host_port, is_loopback
from load_profiles.allowed_targets import refuse_unless_allowed
from load_profiles.clock_offsets import Offset, begin_error_s, start_skew_s
from load_profiles.crew import CrewMember, introduction, refuse_stranger
from load_profiles.locust_generator import plan_of
from load_profiles.plan import LoadPlan
from load_profiles.sealed_messages import ForgedMessage, Message, seal, shared_secret, unseal
from load_profiles.shipped_plan import received, schedule_sha256, shipped
from tests.contract.load_generator_contract import a_profile
from tests.servers.behaviour import deployment_at
from tuner.domain.arrivals import intended_starts_s
from tuner.domain.errors import TargetRefused, UsageError
from tuner.domain.load import Payload

SECRET = b"a long shared secret"
SAID = Message("begin", {"at_s": 12.5}, b"bytes")


def test_a_sealed_message_comes_out_as_it_went_in():
    wire = seal(SECRET, SAID, sender="master", run="7")
    assert unseal(SECRET, wire, sender="master", run="7") == SAID


@pytest.mark.parametrize(
    ("changes", "reading"),
    [
        ({}, {"secret": b"another long secret"}),
        ({}, {"run": "8"}),
        ({}, {"sender": "worker"}),
        ({"data": b"bytez"}, {}),
        ({"head": b'{"kind": "begin", "sender": "master", "run": "7", "fields": {"at_s": 0.0}}'}, {}),
        ({"mac": b""}, {}),
        ({"mac": "text"}, {}),
    ],
    ids=["other secret", "other run", "own words", "changed bytes", "changed words", "no seal", "no bytes"],
)
def test_a_message_that_is_not_the_masters_is_not_believed(changes: dict, reading: dict):
    wire = seal(SECRET, SAID, sender="master", run="7") | changes
    with pytest.raises(ForgedMessage):
        unseal(**({"secret": SECRET, "sender": "master", "run": "7"} | reading), wire=wire)


@pytest.mark.parametrize("wire", [None, b"", "text", [], {}, {"head": b""}])
def test_what_is_no_sealed_message_is_not_believed(wire: object):
    with pytest.raises(ForgedMessage, match="no sealed message"):
        unseal(SECRET, wire, sender="master", run="7")


def test_bytes_cannot_be_moved_between_what_is_sealed():
    wire = seal(SECRET, Message("a", {}, b""), sender="master", run="7")
    moved = {"head": wire["head"][:-1], "data": wire["head"][-1:], "mac": wire["mac"]}
    with pytest.raises(ForgedMessage, match="another secret"):
        unseal(SECRET, moved, sender="master", run="7")


def test_a_secret_is_needed_beyond_this_machine_and_has_to_be_one():
    assert shared_secret({}, needed=False) == b""
    assert shared_secret({"SERVETUNE_LOAD_SECRET": "0123456789abcdef"}, needed=True) == b"0123456789abcdef"
    with pytest.raises(UsageError, match="SERVETUNE_LOAD_SECRET is not set"):
        shared_secret({}, needed=True)
    with pytest.raises(UsageError, match="too short"):
        shared_secret({"SERVETUNE_LOAD_SECRET": "0123456789abcde"}, needed=False)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:5557", HostPort("127.0.0.1", 5557)),
        ("[::1]:80", HostPort("::1", 80)),
        ("load-master.load:0", HostPort("load-master.load", 0)),
    ],
)
def test_an_address_is_read_and_written(text: str, address: HostPort):
    assert host_port(text) == address
    assert str(address) == text


@pytest.mark.parametrize("text", ["", "5557", "host", "host:", "host:65536", "::1:80", "a b:1", "http://h:1", "h:1/"])
def test_what_is_no_address_is_refused(text: str):
    with pytest.raises(UsageError, match="no address"):
        host_port(text)


def test_localhost_is_one_address_for_both_sides():
    assert host_port("LocalHost:5557") == HostPort("127.0.0.1", 5557)


def test_only_this_machine_is_loopback():
    assert all(map(is_loopback, ("127.0.0.1", "127.8.8.8", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "localhost", "localhost.example.com", "*")))  # noqa: S104


def a_plan(endpoint: str = "http://127.0.0.1:1", host: str = "", **payload: object) -> LoadPlan:
    deployment = dataclasses.replace(deployment_at(1), endpoint=endpoint, host=host, generator_cpus=(0, 1))
    profile = dataclasses.replace(a_profile(), payload=Payload(**payload))
    return plan_of(deployment, profile, 3, part=1, parts=2)


def test_a_worker_puts_load_on_its_own_machine_and_on_what_it_was_allowed():
    refuse_unless_allowed(a_plan("http://127.0.0.1:8000"), ())
    refuse_unless_allowed(a_plan("http://[::1]:8000"), ())
    refuse_unless_allowed(a_plan("http://192.0.2.1:8000/v1", "triton:8000"), ("192.0.2.1:8000",))
    refuse_unless_allowed(a_plan("http://[2001:db8::1]:8000"), ("[2001:db8::1]:8000",))


@pytest.mark.parametrize(
    ("endpoint", "host", "allowed"),
    [
        ("http://192.0.2.1:8000", "", ()),
        ("http://192.0.2.1:8000", "", ("192.0.2.1:8001", "192.0.2.10:8000")),
        ("http://192.0.2.1:8000", "127.0.0.1:8000", ()),
        ("http://192.0.2.1:8000", "127.0.0.1:8000", ("127.0.0.1:8000",)),
        ("http://localhost:8000", "", ()),
        ("http://127.0.0.1@192.0.2.1:8000", "", ()),
    ],
    ids=["nothing allowed", "another allowed", "calls itself ours", "borrowed name", "unpinned name", "user part"],
)
def test_a_worker_puts_no_load_on_anything_else(endpoint: str, host: str, allowed: tuple[str, ...]):
    with pytest.raises(TargetRefused, match="may not put load on"):
        refuse_unless_allowed(a_plan(endpoint, host), allowed)


def test_an_allowed_name_counts_where_it_means_the_same_address_here(monkeypatch: pytest.MonkeyPatch):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 8000))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: found)
    refuse_unless_allowed(a_plan("http://192.0.2.1:8000", "triton:8000"), ("Triton:8000",))
    with pytest.raises(TargetRefused, match="--allow-target triton:8000"):
        refuse_unless_allowed(a_plan("http://192.0.2.2:8000", "triton:8000"), ("triton:8000",))


def test_a_plan_travels_with_the_contents_of_its_files(tmp_path: Path):
    names = [tmp_path / "a.json", tmp_path / "b"]
    for number, name in enumerate(names):
        name.write_bytes(b"content" * number)
    plan = a_plan(kind="files", files=((str(names[0]), 1.0), (str(names[1]), 3.0)))
    message = shipped(plan, "digest")
    for name in names:
        name.unlink()
    there = tmp_path / "there"
    there.mkdir()
    arrived = received(message, there, result_descriptor=9)
    assert [Path(name).read_bytes() for name, _ in arrived.profile.payload.files] == [b"", b"content"]
    assert [Path(name).suffix for name, _ in arrived.profile.payload.files] == [".json", ""]
    assert all(Path(name).parent == there for name, _ in arrived.profile.payload.files)
    assert [weight for _, weight in arrived.profile.payload.files] == [1.0, 3.0]
    assert (arrived.cpus, arrived.result_descriptor, arrived.part, arrived.parts) == ((), 9, 1, 2)
    assert dataclasses.replace(arrived.profile, payload=plan.profile.payload) == plan.profile


def test_a_worker_reads_no_file_of_its_own_for_a_master(tmp_path: Path):
    own = tmp_path / "own"
    own.write_bytes(b"private")
    message = shipped(a_plan(kind="files", files=((str(own), 1.0),)), "digest")
    bare = Message(message.kind, {**message.fields, "sizes_bytes": []}, b"")
    with pytest.raises(UsageError, match="without the contents"):
        received(bare, tmp_path, result_descriptor=9)


def test_the_digest_of_a_part_tells_schedules_apart_by_their_last_bit():
    intended_s = intended_starts_s(a_profile())
    assert schedule_sha256(intended_s, 0, 2) != schedule_sha256(intended_s, 1, 2)
    nudged = (math.nextafter(intended_s[0], 1.0), *intended_s[1:])
    assert schedule_sha256(intended_s, 0, 2) != schedule_sha256(nudged, 0, 2)
    assert schedule_sha256(intended_s, 1, 2) == schedule_sha256(nudged, 1, 2)


@pytest.mark.parametrize(("what", "value"), [("protocol", 0), ("version", "0.0.0"), ("byte_order", "middle")])
def test_a_worker_of_another_make_is_refused_by_name(what: str, value: object):
    said = introduction(name="host:1", number="n")
    refuse_stranger(said)
    with pytest.raises(UsageError, match=rf"host:1 has {what.replace('_', ' ')} {value}, the master"):
        refuse_stranger(said | {what: value})


def test_the_skew_is_what_the_two_least_certain_workers_may_be_apart():
    assert start_skew_s([0.25, 0.5, 0.125]) == 0.75
    assert start_skew_s([0.25]) == 0.0
    before = Offset(offset_s=100.0, error_s=0.001)
    assert begin_error_s(before, None) == 0.001
    assert begin_error_s(before, Offset(offset_s=100.003, error_s=0.002)) == pytest.approx(0.001)
    assert begin_error_s(before, Offset(offset_s=99.95, error_s=0.002), late_s=0.5) == pytest.approx(0.548)


def test_a_worker_that_never_was_told_to_begin_is_not_lost():
    share_s = (0.0, 0.1)
    samples, health = CrewMember(address="a", name="n", number="1").part(share_s, timeout_s=1.0)
    assert samples.sent_s == (float("inf"),) * 2
    assert health.workers_lost == 0
    _, health = CrewMember(address="a", name="n", number="1", lost="it fell").part(share_s, timeout_s=1.0)
    assert (health.workers_lost, health.first_error) == (1, "load worker n was lost: it fell")
