"""Server-sent events against the standard's own rules, however the bytes are cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from holdfast.dialects.sse import SSEParser, comment
from holdfast.errors import BadAnswer


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[begin:end] for begin, end in pairwise(ends)]


def read(pieces: list[bytes], **limits: int) -> list[tuple[bytes | None, str | None]]:
    parser = SSEParser(**limits)
    frames = [frame for piece in pieces for frame in parser.feed(piece)]
    last = parser.finish()
    return [(frame.data, frame.event) for frame in [*frames, *([last] if last else [])]]


def reference(data: bytes) -> list[tuple[bytes | None, str | None]]:
    """WHATWG HTML §9.2.6, line by line; but for its last step: an event that the end cuts off is kept."""
    text = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    events: list[tuple[bytes | None, str | None]] = []
    parts: list[bytes] = []
    name: str | None = None
    seen = False

    def dispatch() -> None:
        nonlocal parts, name, seen
        if seen:
            events.append((b"\n".join(parts) if parts else None, name))
        parts, name, seen = [], None, False

    for line in text.split(b"\n"):
        if line == b"":
            dispatch()
            continue
        seen = True
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            parts.append(value)
        elif field == b"event":
            name = value.decode("utf-8", "replace")
    dispatch()
    return events


lines = st.sampled_from(
    [b"data: a", b"data:b", b"data:  c", b"data", b"data: {\"x\":1}", b": ping", b":", b"event: note", b"id: 7", b"retry: 1",
     b"other: x", "data: é😀".encode(), b"data: [DONE]", b"data: \xff\xfe", b" data: no", b""]
)  # fmt: skip
ends = st.sampled_from([b"\n", b"\n", b"\r\n", b"\r"])


@given(
    st.lists(st.tuples(lines, ends), max_size=14),
    st.lists(st.integers(0, 1000), max_size=12),
    st.booleans(),
)
@example(
    written=[(b"data: a", b"\r\n"), (b"", b"\r\n"), (b"data: b", b"\r"), (b"", b"\r")],
    places=list(range(40)),
    bom=True,
)
def test_any_lines_any_ends_any_cut(written, places, bom):
    data = (b"\xef\xbb\xbf" if bom else b"") + b"".join(line + end for line, end in written)
    assert read(cut(data, places)) == reference(data)


@given(st.binary(max_size=200), st.lists(st.integers(0, 1000), max_size=12))
def test_any_bytes_any_cut_is_the_same(data, places):
    assert read(cut(data, places)) == read([data]) == read([bytes([byte]) for byte in data])


def test_what_came_goes_out():
    """``raw`` is what came, but for line ends, and always a whole frame: two of them never run together."""
    data = b"event: x\r\ndata: 1\r\ndata: 2\r\n\r\n: c\n\ndata: [DONE]"
    parser = SSEParser()
    frames = [*parser.feed(data), parser.finish()]
    assert [frame.raw for frame in frames] == [
        b"event: x\ndata: 1\ndata: 2\n\n",
        b": c\n\n",
        b"data: [DONE]\n\n",
    ]
    again = SSEParser().feed(b"".join(frame.raw for frame in frames))
    assert [frame.data for frame in again] == [frame.data for frame in frames] == [b"1\n2", None, b"[DONE]"]


@pytest.mark.parametrize("piece", [1, 7, 1000, 100_000])
def test_an_event_beyond_its_bound_is_refused_before_it_is_whole(piece):
    parser = SSEParser(max_event_bytes=10_000)
    for _ in range(10_000 // piece):
        parser.feed(b"x" * piece)
    with pytest.raises(BadAnswer):
        parser.feed(b"x" * piece)


def test_many_small_events_are_not_one_large_one():
    parser = SSEParser(max_event_bytes=100)
    assert len(parser.feed(b"data: 1\n\n" * 1000)) == 1000


def test_a_comment_is_skipped_by_readers():
    (frame,) = SSEParser().feed(comment("keepalive"))
    assert frame.data is None
