"""The seam between the engine and the protocols: what is said over one connection."""

from __future__ import annotations

from typing import Protocol


class BrokenAnswer(Exception):
    """What came back is not in the protocol's language; the connection is of no more use."""


class Conversation(Protocol):
    """Requests out and answers in over one connection, one at a time. Knows nothing of sockets or clocks."""

    @property
    def keep_alive(self) -> bool:
        """Whether another request may follow the complete answer."""
        ...

    def begin(self, message: bytes) -> bytes:
        """What to send for a request that was serialised before the load began."""
        ...

    def feed(self, data: bytes) -> str | None:
        """Take what was received: None while the answer is incomplete, then why it does not count; empty if it does.

        Between requests it may take what a server says unasked. Raises BrokenAnswer.
        """
        ...

    def owed(self) -> bytes:
        """What has to be sent because of what was received; empty most of the time. Each byte is handed out once."""
        ...
