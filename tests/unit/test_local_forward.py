"""A local port that leads elsewhere, connection by connection."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from functools import partial

import pytest

from runners.kubernetes_api import ApiRefused
from runners.kubernetes_forward import LocalForward

LARGE = bytes(range(256)) * 8192


@pytest.fixture
def echo() -> Iterator[int]:
    """Gives every connection back what it says, until that says no more."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer(one: socket.socket) -> None:
            with one:
                while content := one.recv(1 << 16):
                    one.sendall(content)

        def serve() -> None:
            while True:
                try:
                    one, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(one,), daemon=True).start()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def received(one: socket.socket, size: int) -> bytes:
    content = b""
    while len(content) < size and (part := one.recv(1 << 16)):
        content += part
    return content


def test_what_is_said_on_many_connections_at_once_comes_back_on_each(echo: int):
    with LocalForward(partial(socket.create_connection, ("127.0.0.1", echo))) as forward:
        ours = [socket.create_connection(("127.0.0.1", forward.port), timeout=20) for _ in range(8)]
        for number, one in enumerate(ours):
            one.sendall(b"%d" % number)
        assert [received(one, 1) for one in ours] == [b"%d" % number for number in range(8)]
        for one in ours:
            one.close()


def test_more_than_any_buffer_holds_goes_through_whole(echo: int):
    with (
        LocalForward(partial(socket.create_connection, ("127.0.0.1", echo))) as forward,
        socket.create_connection(("127.0.0.1", forward.port), timeout=20) as one,
    ):
        sender = threading.Thread(target=one.sendall, args=(LARGE,))
        sender.start()
        assert received(one, len(LARGE)) == LARGE
        sender.join()


def test_where_nothing_answers_the_connection_is_closed():
    def refuse() -> socket.socket:
        raise ApiRefused(None, {"message": "no such pod"})

    with (
        LocalForward(refuse) as forward,
        socket.create_connection(("127.0.0.1", forward.port), timeout=20) as one,
    ):
        assert one.recv(1) == b""


def test_afterwards_nobody_listens_and_open_connections_end(echo: int):
    with LocalForward(partial(socket.create_connection, ("127.0.0.1", echo))) as forward:
        one = socket.create_connection(("127.0.0.1", forward.port), timeout=20)
        one.sendall(b"x")
        assert one.recv(1) == b"x"
    with one:
        assert one.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", forward.port), timeout=20)
