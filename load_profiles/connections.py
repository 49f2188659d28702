"""Non-blocking keep-alive connections to one address.

Imports the names it needs from `socket` before locust patches that module: these sockets never see gevent.
"""

from __future__ import annotations

import errno
import os
from socket import IPPROTO_TCP, SO_ERROR, SOCK_STREAM, SOL_SOCKET, TCP_NODELAY, AddressFamily, getaddrinfo, socket
from typing import Final

from load_profiles.conversation import Conversation
from tuner.domain.errors import TransientFailure

RECEIVE_BYTES = 65536
IDLE: Final = -1

Address = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]


class ConnectionBroken(Exception):
    """The connection is of no more use, and why."""


def resolve(host: str, port: int) -> tuple[AddressFamily, Address]:
    """The one address that all connections of a run go to. Raises TransientFailure if there is none."""
    try:
        family, _, _, _, address = getaddrinfo(host, port, type=SOCK_STREAM)[0]
    except OSError as error:
        raise TransientFailure(f"cannot resolve {host}: {error}") from error
    return family, address


class Connection:
    """One socket, and the request (by its index in the schedule) it is busy with; IDLE between requests."""

    __slots__ = ("_rest", "_socket", "connecting", "conversation", "descriptor", "index")

    def __init__(self, family: AddressFamily, address: Address, conversation: Conversation) -> None:
        """Begin to connect. Raises OSError if the machine has no descriptor or port left, or refuses at once."""
        self._socket = socket(family, SOCK_STREAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        status = self._socket.connect_ex(address)
        if status not in (0, errno.EINPROGRESS):
            self._socket.close()
            raise OSError(status, os.strerror(status))
        self.descriptor = self._socket.fileno()
        self.conversation = conversation
        self.connecting = True
        self.index = IDLE
        self._rest: memoryview | bytes = b""

    def request(self, index: int, message: bytes) -> bool:
        """Send a whole request; False if some of it, kept by the connection, has to wait. Raises ConnectionBroken."""
        self.index = index
        self._rest = self.conversation.begin(message)
        return False if self.connecting else self.flush()

    def flush(self) -> bool:
        """Send what is left; True when all is sent. Raises ConnectionBroken."""
        if self.connecting:
            self._finish_connecting()
        try:
            sent = self._socket.send(self._rest)
        except BlockingIOError:
            return False
        except OSError as error:
            raise ConnectionBroken(f"sending failed: {error.strerror}") from error
        if sent == len(self._rest):
            self._rest = b""
            return True
        self._rest = memoryview(self._rest)[sent:]
        return False

    def _finish_connecting(self) -> None:
        status = self._socket.getsockopt(SOL_SOCKET, SO_ERROR)
        if status:
            raise ConnectionBroken(f"cannot connect: {os.strerror(status)}")
        self.connecting = False

    def receive(self) -> str | None:
        """Take what has come in: None until the answer is complete, then why it does not count; empty if it does.

        Raises ConnectionBroken if the server closed or reset, BrokenAnswer.
        """
        try:
            data = self._socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return None
        except OSError as error:
            verb = "cannot connect" if self.connecting else "receiving failed"
            raise ConnectionBroken(f"{verb}: {error.strerror}") from error
        if not data:
            raise ConnectionBroken("the server closed the connection before its answer was complete")
        return self.conversation.feed(data)

    def owes(self) -> bool:
        """Whether what came in asks for something to be sent, which `flush` does."""
        owed = self.conversation.owed()
        if not owed:
            return False
        self._rest = b"".join((self._rest, owed))
        return True

    def close(self) -> None:
        self._socket.close()
