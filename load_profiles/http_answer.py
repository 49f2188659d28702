"""One HTTP/1.1 answer as it comes in over a keep-alive connection. Door to httptools."""

from __future__ import annotations

import httptools

HEAD_BYTES = 65536


class BrokenAnswer(Exception):
    """What came back is not HTTP."""


class Answer:
    """The answer being received; `begin` makes it ready for the next one on the same connection.

    `head` is the start of the body (all of it up to about 64 KiB), `body_bytes` its full length, `json_bytes` how
    much of it is JSON if the server said so.
    """

    __slots__ = ("_excess", "_parser", "body_bytes", "complete", "head", "json_bytes", "keep_alive", "status")

    def __init__(self) -> None:
        self._excess = False
        self._parser = httptools.HttpResponseParser(self)
        self.begin()

    def begin(self) -> None:
        self.status = 0
        self.head = b""
        self.body_bytes = 0
        self.json_bytes: int | None = None
        self.complete = False
        self.keep_alive = True

    def feed(self, data: bytes) -> bool:
        """Take what was received; True when the answer is complete. Raises BrokenAnswer."""
        if self.complete:
            raise BrokenAnswer("more was received than was asked for")
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            raise BrokenAnswer(f"not an HTTP answer: {data[:80]!r}") from error
        if self._excess:
            raise BrokenAnswer("two answers came back for one request")
        return self.complete

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
            self.begin()
            return
        self.status = status
        self.keep_alive = self._parser.should_keep_alive()
        self.complete = True
