"""gRPC calls over one HTTP/2 connection, one after the other. Door to hpack and hyperframe.

What a unary call needs of RFC 9113 and of "gRPC over HTTP2", and no more: one stream at a time, no threads, requests
serialised beforehand. The header tables are switched off, so that equal headers are equal bytes: each is decoded once.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from urllib.parse import unquote

from hpack import Decoder as HeaderDecoder
from hpack import Encoder, HPACKError
from hyperframe.exceptions import HyperframeError
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from load_profiles.conversation import BrokenAnswer

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FIRST_WINDOW_BYTES = 65_535
LARGEST_WINDOW_BYTES = 2**31 - 1
REFILL_BYTES = 2**30
SENT_FRAME_BYTES = 16_384
RECEIVED_FRAME_BYTES = 2**18
HEADER_BYTES = 9
PREFIX_BYTES = 5
LAST_STREAM = 2**31 - 3
KNOWN_HEADS = 1024
FRAME_HEADER = struct.Struct(">HBBBI")
DATA, HEADERS, END_STREAM, END_HEADERS = 0, 1, 1, 4

# https://grpc.github.io/grpc/core/md_doc_statuscodes.html
STATUS_NAMES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip

# RFC 9113, section 7
ERROR_NAMES = (
    "NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
    "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
)  # fmt: skip

Headers = Mapping[str, str]


def call_head(path: str, *, authority: str) -> bytes:
    """The header block of every call of one method, good on any connection."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": authority,
        "te": "trailers",
        "content-type": "application/grpc",
        "user-agent": "servetune",
    }
    # A sensitive field never enters a table, so the bytes do not depend on what was sent before.
    return bytes(Encoder().encode([(name, value, True) for name, value in fields.items()]))


def prefixed(message: bytes) -> bytes:
    """A serialised message as a call's data: not compressed, its length in front."""
    return struct.pack(">BI", 0, len(message)) + message


def _greeting() -> bytes:
    settings = {
        SettingsFrame.HEADER_TABLE_SIZE: 0,
        SettingsFrame.ENABLE_PUSH: 0,
        SettingsFrame.INITIAL_WINDOW_SIZE: LARGEST_WINDOW_BYTES,
        SettingsFrame.MAX_FRAME_SIZE: RECEIVED_FRAME_BYTES,
    }
    wider = WindowUpdateFrame(0, window_increment=LARGEST_WINDOW_BYTES - FIRST_WINDOW_BYTES)
    return PREFACE + SettingsFrame(0, settings=settings).serialize() + wider.serialize()


GREETING = _greeting()


class GrpcCall:
    """The `Conversation` of gRPC. `refusal` judges the serialised message of a call that ended with status OK."""

    def __init__(self, head: bytes, refusal: Callable[[bytes], str], known_heads: dict[bytes, Headers]) -> None:
        """`head` as of `call_head`; `known_heads` is filled, and shared by the connections of a run."""
        self._head = head
        self._refusal = refusal
        self._known_heads = known_heads
        self._decoder = HeaderDecoder()
        self._decoder.header_table_size = self._decoder.max_allowed_table_size = 0
        self._owed = GREETING
        self._received = b""
        self._stream = -1
        self._window = self._first_stream_window = self._stream_window = FIRST_WINDOW_BYTES
        self._unsent = memoryview(b"")
        self._head_parts = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._complete = True
        self._ends_stream = False
        self._refill_bytes = 0
        self.keep_alive = True

    def begin(self, message: bytes) -> bytes:
        """A message is a call's data, as of `prefixed`; what the server's windows do not admit yet is kept."""
        self._stream += 2
        self._stream_window = self._first_stream_window
        self._headers, self._body, self._complete = {}, [], False
        self._unsent = memoryview(message)
        head = _frame_header(HEADERS, END_HEADERS, self._stream, len(self._head)) + self._head
        return b"".join((self.owed(), head, *self._admitted()))

    def owed(self) -> bytes:
        """Acknowledgements, and what of a message a server has admitted since."""
        owed, self._owed = self._owed, b""
        return owed

    def feed(self, data: bytes) -> str | None:
        """Take what was received; see `Conversation`. Raises BrokenAnswer."""
        received = memoryview(self._received + data if self._received else data)
        try:
            while len(received) >= HEADER_BYTES:
                frame, size = Frame.parse_frame_header(received[:HEADER_BYTES])
                if size > RECEIVED_FRAME_BYTES:
                    raise BrokenAnswer(f"not an HTTP/2 answer: {bytes(received[:80])!r}")
                if len(received) < HEADER_BYTES + size:
                    break
                frame.parse_body(received[HEADER_BYTES : HEADER_BYTES + size])
                received = received[HEADER_BYTES + size :]
                self._take(frame, size)
        except (HyperframeError, HPACKError, ValueError) as error:
            raise BrokenAnswer(f"not an HTTP/2 answer: {error or type(error).__name__}") from error
        self._received = bytes(received)
        return self._verdict() if self._complete and self._headers else None

    def _take(self, frame: Frame, size: int) -> None:
        match frame:
            case DataFrame():
                self._take_data(frame, size)
            case HeadersFrame() | ContinuationFrame():
                self._take_head(frame)
            case SettingsFrame() if "ACK" not in frame.flags:
                self._take_settings(frame)
            case WindowUpdateFrame():
                self._widen(frame)
            case PingFrame() if "ACK" not in frame.flags:
                self._owed += PingFrame(0, opaque_data=frame.opaque_data, flags=["ACK"]).serialize()
            case RstStreamFrame() if frame.stream_id == self._stream and not self._complete:
                raise BrokenAnswer(f"the server ended the call: {_name(frame.error_code, ERROR_NAMES)}")
            case GoAwayFrame():
                self.keep_alive = False
                idle = self._complete and not self._headers
                if idle or (not self._complete and frame.last_stream_id < self._stream):
                    raise BrokenAnswer(f"the server ended the connection: {_name(frame.error_code, ERROR_NAMES)}")
            case _:
                pass

    def _take_data(self, frame: DataFrame, size: int) -> None:
        self._refill_bytes += size
        if self._refill_bytes >= REFILL_BYTES:
            self._owed += WindowUpdateFrame(0, window_increment=self._refill_bytes).serialize()
            self._refill_bytes = 0
        if self._complete or frame.stream_id != self._stream:
            raise BrokenAnswer("more was received than was asked for")
        self._body.append(frame.data)
        if "END_STREAM" in frame.flags:
            self._finish()

    def _take_head(self, frame: HeadersFrame | ContinuationFrame) -> None:
        if self._complete or frame.stream_id != self._stream:
            raise BrokenAnswer("two answers came back for one request")
        self._head_parts += frame.data
        if isinstance(frame, HeadersFrame):
            self._ends_stream = "END_STREAM" in frame.flags
        if "END_HEADERS" in frame.flags:
            self._headers.update(self._decoded(self._head_parts))
            self._head_parts = b""
            if self._ends_stream:
                self._finish()

    def _decoded(self, block: bytes) -> Headers:
        known = self._known_heads.get(block)
        if known is None:
            known = {str(name): str(value) for name, value in self._decoder.decode(block)}
            if len(self._known_heads) < KNOWN_HEADS:
                self._known_heads[block] = known
        return known

    def _finish(self) -> None:
        self._complete = True
        if self._unsent or self._stream >= LAST_STREAM:  # answered before it was asked in full: begin afresh
            self.keep_alive = False

    def _take_settings(self, frame: SettingsFrame) -> None:
        first = frame.settings.get(SettingsFrame.INITIAL_WINDOW_SIZE, self._first_stream_window)
        self._stream_window += first - self._first_stream_window
        self._first_stream_window = first
        self._owed = b"".join((self._owed, SettingsFrame(0, flags=["ACK"]).serialize(), *self._admitted()))

    def _widen(self, frame: WindowUpdateFrame) -> None:
        if not frame.stream_id:
            self._window += frame.window_increment
        elif frame.stream_id == self._stream:
            self._stream_window += frame.window_increment
        self._owed = b"".join((self._owed, *self._admitted()))

    def _admitted(self) -> list[bytes | memoryview]:
        """The data frames that the server's windows admit now."""
        parts: list[bytes | memoryview] = []
        while (
            self._unsent and (size := min(len(self._unsent), SENT_FRAME_BYTES, self._window, self._stream_window)) > 0
        ):
            last = size == len(self._unsent)
            parts += (_frame_header(DATA, END_STREAM if last else 0, self._stream, size), self._unsent[:size])
            self._unsent = self._unsent[size:]
            self._window -= size
            self._stream_window -= size
        return parts

    def _verdict(self) -> str:
        headers, self._headers = self._headers, {}
        http_status, status = headers.get(":status", ""), headers.get("grpc-status", "")
        if status not in {"0", ""}:
            name = _name(int(status), STATUS_NAMES) if status.isdigit() else status
            return f"gRPC {name}: {unquote(headers.get('grpc-message', ''))}"
        if http_status != "200":
            return f"HTTP {http_status} in place of a gRPC answer"
        if not status:
            return "the answer has no gRPC status"
        body = b"".join(self._body)
        if (
            len(body) < PREFIX_BYTES
            or body[0]
            or int.from_bytes(body[1:PREFIX_BYTES], "big") != len(body) - PREFIX_BYTES
        ):
            return f"no single uncompressed gRPC message: {body[:80]!r}"
        return self._refusal(body[PREFIX_BYTES:])


def _frame_header(kind: int, flags: int, stream: int, size: int) -> bytes:
    return FRAME_HEADER.pack(size >> 8, size & 0xFF, kind, flags, stream)


def _name(number: int, names: tuple[str, ...]) -> str:
    return names[number] if number < len(names) else f"error {number}"
