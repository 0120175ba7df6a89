"""Replay: the delivered prefix is taken out of a new attempt, however either was cut, or the attempt has diverged."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from hypothesis import example, given
from hypothesis import strategies as st
from tests.simulation.chat_wire import DONE, PING, chunk, event, hear, usage_chunk

from holdfast.dialects.openai_chat import OpenAIChat
from holdfast.engine.resume import Replay

if TYPE_CHECKING:
    from holdfast.dialects.base import Signal

DIALECT = OpenAIChat()
letters = st.text(alphabet='ab é😀\n"\\', max_size=12)


def cut(text: str, places: list[int]) -> list[str]:
    ends = sorted({place % (len(text) + 1) for place in places} | {0, len(text)})
    return [text[begin:end] for begin, end in pairwise(ends)]


def signals(*frames: bytes) -> list[Signal]:
    return DIALECT.scanner().feed(b"".join(frames))


def heard(kept: list[Signal]) -> str:
    return hear(b"".join(signal.raw for signal in kept if signal.malformed is None and not signal.end)).text


@given(
    delivered=letters,
    new=letters,
    extends=st.booleans(),
    places=st.lists(st.integers(0, 100), max_size=6),
    last_with_finish=st.booleans(),
    every_usage=st.booleans(),
    feeds=st.lists(st.integers(0, 30), max_size=4),
)
@example(
    delivered="ab", new="ab", extends=False, places=[1], last_with_finish=True, every_usage=True, feeds=[]
)
@example(
    delivered="ab", new="a", extends=False, places=[], last_with_finish=False, every_usage=False, feeds=[]
)
def test_the_caller_gets_the_rest_of_the_new_text_or_a_fault(
    delivered, new, extends, places, last_with_finish, every_usage, feeds
):
    text = delivered + new if extends else new
    parts = cut(text, places)
    usage = (1, 1) if every_usage else None
    frames = [chunk(role="assistant"), PING, *(chunk(part, usage=usage) for part in parts)]
    if last_with_finish and parts:
        frames[-1] = chunk(parts[-1], finish="stop", usage=usage)
    else:
        frames.append(chunk(finish="stop", usage=usage))
    frames += [usage_chunk(9, 9), DONE]
    replay = Replay(DIALECT, delivered)

    ends = sorted({place % (len(frames) + 1) for place in feeds} | {0, len(frames)})
    kept: list[Signal] = []
    for begin, end in pairwise(ends):
        kept += replay.filter(signals(*frames[begin:end]))

    faults = [n for n, signal in enumerate(kept) if signal.malformed is not None]
    good = kept[: faults[0]] if faults else kept
    if text.startswith(delivered):
        assert faults == []
        assert replay.complete
        assert delivered + heard(good) == text
        assert "".join(signal.text for signal in good if signal.raw) == text[len(delivered) :]
        assert [finish for signal in good for _, _, finish in signal.beats if finish] == ["stop"]
        assert good[-1].end
    else:
        assert faults
        assert heard(good) == ""
        assert not any(finish for signal in good for _, _, finish in signal.beats)
    usages = [signal.usage for signal in good if signal.usage is not None]
    assert usages or faults, "what it costs is known however it is cut"


def test_content_of_another_kind_within_the_prefix_is_a_divergence():
    (kept,) = Replay(DIALECT, "ab").filter(signals(chunk("a", refusal="no")))
    assert kept.malformed is not None


def test_an_error_within_the_prefix_is_that_error():
    (kept,) = Replay(DIALECT, "ab").filter(signals(event({"error": {"message": "boom"}})))
    assert kept.error is not None


def test_the_end_within_the_prefix_is_an_end():
    (kept,) = Replay(DIALECT, "ab").filter(signals(DONE))
    assert kept.end


def test_once_it_is_complete_everything_passes_as_it_came():
    replay = Replay(DIALECT, "a")
    replay.filter(signals(chunk("a")))
    after = signals(chunk("b"), PING, chunk(refusal="no"), DONE)
    assert replay.filter(after) == after


def test_nothing_delivered_takes_nothing_out():
    after = signals(chunk(role="assistant"), chunk("b"))
    assert Replay(DIALECT, "").filter(after) == after
