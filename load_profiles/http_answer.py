"""One HTTP/1.1 answer as it comes in over a keep-alive connection. Door to httptools."""

from __future__ import annotations

from collections.abc import Callable

import httptools

from load_profiles.conversation import BrokenAnswer

HEAD_BYTES = 65536


class Answer:
    """The answer being received, and the `Conversation` of HTTP: `begin` makes it ready for the next one.

    `head` is the start of the body (all of it up to about 64 KiB), `body_bytes` its full length, `json_bytes` how
    much of it is JSON if the server said so.
    """

    __slots__ = (
        "_excess",
        "_parser",
        "_refusal",
        "body_bytes",
        "complete",
        "head",
        "json_bytes",
        "keep_alive",
        "status",
    )

    def __init__(self, refusal: Callable[[Answer], str]) -> None:
        """`refusal` tells why a complete answer does not count; empty if it does."""
        self._excess = False
        self._refusal = refusal
        self._parser = httptools.HttpResponseParser(self)
        self._forget()

    def begin(self, message: bytes) -> bytes:
        """A message is a whole HTTP request."""
        self._forget()
        return message

    def owed(self) -> bytes:
        """HTTP/1.1 has nothing to say between requests."""
        return b""

    def _forget(self) -> None:
        self.status = 0
        self.head = b""
        self.body_bytes = 0
        self.json_bytes: int | None = None
        self.complete = False
        self.keep_alive = True

    def feed(self, data: bytes) -> str | None:
        """Take what was received; see `Conversation`. Raises BrokenAnswer."""
        if self.complete:
            raise BrokenAnswer("more was received than was asked for")
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            raise BrokenAnswer(f"not an HTTP answer: {data[:80]!r}") from error
        if self._excess:
            raise BrokenAnswer("two answers came back for one request")
        return self._refusal(self) if self.complete else None

    def on_message_begin(self) -> None:
        self._excess = self.complete

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(name) == 31 and name.lower() == b"inference-header-content-length" and value.isdigit():
            self.json_bytes = int(value)

    def on_body(self, body: bytes) -> None:
        self.body_bytes += len(body)
        if len(self.head) < HEAD_BYTES:
            self.head = self.head + body if self.head else body

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:  # an interim answer (100 Continue, 103 Early Hints): the real one follows
            self._forget()
            return
        self.status = status
        self.keep_alive = self._parser.should_keep_alive()
        self.complete = True
