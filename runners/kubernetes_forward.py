"""A local port that leads to a pod through the API server, for controllers that no network joins with the pods.

Requests take a detour through the API server and the node's kubelet: slower than the service's own clients' way.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from types import TracebackType
from typing import Self

from runners.kubernetes_api import ApiRefused

LOOPBACK = "127.0.0.1"
WAITING = 1024
READ_BYTES = 1 << 16

logger = logging.getLogger(__name__)


class LocalForward:
    """Listens on 127.0.0.1 while its `with` block lasts; `connect` opens one connection to the pod for each that comes.

    A connection that cannot be made is closed at once: whoever asked for it sees that nobody answers.
    """

    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        self._connect = connect
        self._listener = socket.create_server((LOOPBACK, 0), backlog=WAITING)
        self.port = int(self._listener.getsockname()[1])
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept, name=f"forward {self.port}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        # Waked by the shutdown, the threads close what they hold.
        for one in (self._listener, *list(self._open)):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                here, _ = self._listener.accept()
            except OSError:
                return
            here.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open.add(here)
            threading.Thread(target=self._serve, args=(here,), daemon=True).start()

    def _serve(self, here: socket.socket) -> None:
        try:
            with here, closing(self._connect()) as there:
                _pump(here, there)
        except ApiRefused as refused:
            logger.warning("no connection to the pod: %s", refused)
        finally:
            self._open.discard(here)


def _pump(one: socket.socket, other: socket.socket) -> None:
    """Both ways at once, until either side has said all it has to say."""
    back = threading.Thread(target=_carry, args=(other, one), daemon=True)
    back.start()
    _carry(one, other)
    back.join()


def _carry(source: socket.socket, target: socket.socket) -> None:
    """One way. Whoever ends first ends the other, too."""
    with suppress(OSError):
        while content := source.recv(READ_BYTES):
            target.sendall(content)
    for one in (source, target):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
