"""The result of a load in a cluster comes out of a pod's log whole, or not at all."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runners.kubernetes_result import last_words, result_in
from tuner.domain.errors import TransientFailure


def printed(content: bytes, *, piece: int = 10) -> list[str]:
    """As the load master prints it, between words of others."""
    pieces = [content[begin : begin + piece] for begin in range(0, len(content), piece)]
    digest = hashlib.sha256(content).hexdigest()
    told = [{"event": "result", "number": n, "base64": b64encode(one).decode()} for n, one in enumerate(pieces)]
    last = {"event": "finished", "size_bytes": len(content), "sha256": digest}
    return ["[INFO] locust.main", '{"not": "closed', *map(json.dumps, [{"event": "listening"}, *told, last]), "bye"]


@given(content=st.binary(max_size=200))
def test_what_was_printed_is_read(content: bytes):
    assert result_in("\n".join(printed(content))) == content


@given(content=st.binary(min_size=1, max_size=200), data=st.data())
def test_without_any_one_of_its_lines_it_is_an_error(content: bytes, data: st.DataObject):
    lines = printed(content)
    lost = data.draw(st.integers(3, len(lines) - 2))
    with pytest.raises(TransientFailure):
        result_in("\n".join(lines[:lost] + lines[lost + 1 :]))


@given(content=st.binary(min_size=30, max_size=200), data=st.data())
def test_with_one_character_changed_it_is_an_error(content: bytes, data: st.DataObject):
    text = "\n".join(printed(content))
    begin = text.index('"base64": "') + len('"base64": "')
    place = data.draw(st.integers(begin, begin + 11))
    other = data.draw(st.sampled_from([c for c in "ABab01!" if c != text[place]]))
    with pytest.raises(TransientFailure):
        result_in(text[:place] + other + text[place + 1 :])


def test_a_log_that_breaks_off_in_mid_line_is_an_error():
    text = "\n".join(printed(b"x" * 100))
    with pytest.raises(TransientFailure, match="breaks off after"):
        result_in(text[: text.index('"number": 5') + 20])


def test_a_doubled_part_is_an_error():
    lines = printed(b"x" * 100)
    with pytest.raises(TransientFailure, match="lacks its part"):
        result_in("\n".join([*lines[:4], lines[3], *lines[4:]]))


def test_the_masters_reason_is_its_last_words_else_its_last_lines():
    failed = json.dumps({"event": "failed", "error": "UsageError", "message": "no plan", "hint": "look again"})
    assert last_words(f"noise\n{failed}\nTraceback") == "no plan look again"
    assert last_words("one\n{\ntwo\n") == "one\ntwo"
