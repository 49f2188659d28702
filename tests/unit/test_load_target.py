"""Load goes to this machine, or to what was allowed by name; nothing is asked of anybody else, not even its address."""

from __future__ import annotations

import socket

import pytest

from tuner.domain.errors import TargetRefused, UsageError
from tuner.load_target import find_target


@pytest.fixture
def lookups(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names that were looked up; every one of them is 192.0.2.7, but for localhost."""
    asked: list[str] = []

    def answer(name: str, port: int, **_: object) -> list[object]:
        asked.append(name)
        address = {"localhost": "127.0.0.1", "127.0.0.1": "127.0.0.1", "::1": "::1"}.get(name, "192.0.2.7")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    return asked


@pytest.mark.parametrize(
    ("url", "endpoint", "host"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000", "127.0.0.1:8000"),
        ("http://localhost:8000/base/", "http://127.0.0.1:8000/base", "localhost:8000"),
        ("http://[::1]:9000", "http://[::1]:9000", "[::1]:9000"),
        ("grpc://localhost:8001", "grpc://127.0.0.1:8001", "localhost:8001"),
        ("http://127.0.0.1/x?y=1", "http://127.0.0.1:80/x?y=1", "127.0.0.1:80"),
    ],
)
def test_this_machine_is_always_allowed(url: str, endpoint: str, host: str, lookups: list[str]):
    target = find_target(url, ())
    assert (target.endpoint, target.host) == (endpoint, host)


@pytest.mark.parametrize(
    "url", ["http://example.com:8000", "http://192.0.2.7:8000", "http://127.0.0.1.example.com", "http://localhost.:80"]
)
def test_other_targets_are_refused_before_their_name_is_looked_up(url: str, lookups: list[str]):
    with pytest.raises(TargetRefused, match="nothing was sent") as refused:
        find_target(url, ("example.com:8001", "example.org:8000"))
    assert refused.value.exit_code == 9
    assert lookups == []


def test_an_allowed_name_is_resolved_once_and_pinned(lookups: list[str]):
    target = find_target("http://Example.com:8000", ("EXAMPLE.com:8000",))
    assert (target.endpoint, target.host) == ("http://192.0.2.7:8000", "example.com:8000")
    assert lookups == ["example.com"]


def test_a_localhost_that_is_elsewhere_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: [(0, 0, 0, "", ("192.0.2.9", 80))])
    with pytest.raises(TargetRefused):
        find_target("http://localhost", ())


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8000",
        "https://127.0.0.1",
        "ftp://x",
        "http://a b",
        "http://u@h",
        "http://h:99999",
        "http://é",
        "grpc://127.0.0.1",
        "grpc://127.0.0.1:8001/v2",
    ],
)
def test_what_is_no_target_is_said(url: str):
    with pytest.raises(UsageError, match="no target"):
        find_target(url, ())
