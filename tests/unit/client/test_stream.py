"""A streamed answer: its chunks, its breaks, and how it is left."""

from __future__ import annotations

import asyncio
import gc
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.simulation.chat_wire import DONE, chunk, refuses, speaks, stream, usage_chunk, whole
from tests.unit.client.here import Here, in_virtual_time

from holdfast import StreamChunk
from holdfast.client import ToolCallPiece
from holdfast.errors import Abandoned, ConnectionLost, HoldfastError, TargetsFailed, Truncated
from holdfast.model import Usage

HELLO = [*stream("Hel", "lo"), b""]


async def listen(here: Here, *args, **kwargs) -> tuple[list[StreamChunk], HoldfastError | None]:
    """The chunks until the end, and the error that ended them."""
    chunks: list[StreamChunk] = []
    try:
        async for each in here.client.stream(*args, **kwargs):
            chunks.append(each)  # noqa: PERF401  # what came before an error counts
    except HoldfastError as error:
        return chunks, error
    return chunks, None


def said(chunks: list[StreamChunk]) -> str:
    return "".join(each.text for each in chunks)


def test_chunks_and_the_whole_answer_after_them():
    async def main(here: Here) -> None:
        async with here.client.stream("hi", tags={"env": "prod"}) as answering:
            chunks = [each async for each in answering]
            answer = await answering.answer()
        assert chunks == [
            StreamChunk(index=0, text="Hel", model="m", provider="a"),
            StreamChunk(index=1, text="lo", model="m", provider="a"),
            StreamChunk(
                index=2,
                finish_reason="stop",
                model="m",
                provider="a",
                usage=Usage(input_tokens=10, output_tokens=5),
            ),
        ]
        assert (answer.text, answer.finish_reason, answer.attempts) == ("Hello", "stop", 1)
        assert str(answer.cost_usd) == "0.000060000"
        record = here.record()
        assert (record.intent.id, record.state, record.intent.stream) == (answer.request_id, "ok", True)
        assert repr(chunks[0]) == "StreamChunk(index=0, text='Hel', model='m', provider='a')"
        with pytest.raises(StopAsyncIteration):
            await anext(answering)

    in_virtual_time({"a": [speaks(*HELLO)]}, main)


@given(
    texts=st.lists(st.text(max_size=5), max_size=20),
    ending=st.sampled_from(["whole", "no finish", "reset", "cut", "hang", "finish twice"]),
    gap_s=st.sampled_from([0.0, 0.5]),
    failing=st.integers(0, 2),
)
def test_any_stream_is_whole_or_raises(texts, ending, gap_s, failing):
    """ST1–ST3, ST6: one attempt's exact text; a finish reason on the last chunk of a success, and on no other chunk."""
    pieces = [chunk(text) for text in texts]
    if ending == "whole":
        pieces += [chunk(finish="stop"), usage_chunk(3, 2), DONE]
    elif ending == "no finish":
        pieces.append(DONE)
    elif ending == "finish twice":
        pieces += [chunk(finish="stop"), chunk(finish="length"), DONE]
    how = ending if ending in ("reset", "cut", "hang") else "complete"
    scripts = {name: [refuses(503)] for name in ("x", "y")[:failing]}

    async def main(here: Here) -> None:
        chunks, error = await listen(here, "hi")
        assert [each.index for each in chunks] == list(range(len(chunks)))
        assert {(each.provider, each.model) for each in chunks} <= {("a", "m")}
        finishes = [each.finish_reason for each in chunks]
        if ending == "whole":
            assert error is None
            assert said(chunks) == "".join(texts)
            assert finishes == [None] * (len(chunks) - 1) + ["stop"]
            assert chunks[-1].usage == Usage(input_tokens=3, output_tokens=2)
            assert here.record().state == "ok"
        else:
            assert error is not None
            assert said(chunks) == "".join(texts)
            assert set(finishes) <= {None}
            assert here.record().state == "failed"

    in_virtual_time({**scripts, "a": [speaks(*pieces, gap_s=gap_s, ending=how)]}, main)


def test_a_break_is_the_typed_error_itself_and_stays_one():
    async def main(here: Here) -> None:
        answering = here.client.stream("hi")
        assert (await anext(answering)).text == "Hel"
        assert (await anext(answering)).text == "lo"
        for _ in range(2):
            with pytest.raises(ConnectionLost):
                await anext(answering)
        with pytest.raises(ConnectionLost):
            await answering.answer()
        assert here.record().end.error_label == "connection_lost"

    in_virtual_time({"a": [speaks(chunk("Hel"), chunk("lo"), ending="reset")]}, main)


def test_what_came_before_a_break_is_handed_out_before_it_raises():
    async def main(here: Here) -> None:
        chunks, error = await listen(here, "hi")
        assert said(chunks) == "Hello"
        assert isinstance(error, Truncated)

    in_virtual_time({"a": [speaks(chunk("Hel") + chunk("lo") + DONE)]}, main)


def test_before_there_is_content_another_provider_answers():
    async def main(here: Here) -> None:
        chunks, error = await listen(here, "hi")
        assert (said(chunks), error) == ("Hello", None)
        assert {each.provider for each in chunks} == {"b"}

    in_virtual_time({"a": [speaks(chunk(role="assistant"), ending="reset")], "b": [speaks(*HELLO)]}, main)


def test_if_all_fail_the_first_chunk_raises():
    async def main(here: Here) -> None:
        chunks, error = await listen(here, "hi")
        assert chunks == []
        assert isinstance(error, TargetsFailed)
        with pytest.raises(TargetsFailed):
            async with here.client.stream("hi"):
                raise AssertionError("it was entered")

    in_virtual_time({"a": [refuses(500), refuses(500)]}, main)


def test_a_resumption_goes_on_as_one_stream():
    async def main(here: Here) -> None:
        async with here.client.stream("hi") as answering:
            chunks = [each async for each in answering]
            answer = await answering.answer()
        assert said(chunks) == "Hello" == answer.text
        assert [each.index for each in chunks] == list(range(len(chunks)))
        assert {each.provider for each in chunks} == {"a"}, "a stream has one provider"
        assert (answer.provider, answer.attempts) == ("b", 2), "who finished it"

    scripts = {"a": [speaks(chunk("Hel"), ending="reset")], "b": [speaks(*stream("H", "el", "l", "o"))]}
    in_virtual_time(scripts, main, on_break="resume")


def test_a_failed_resumption_says_so():
    async def main(here: Here) -> None:
        chunks, error = await listen(here, "hi")
        assert said(chunks) == "Hel"
        assert isinstance(error, TargetsFailed)
        assert [target for target, _ in error.failures] == ["a/m", "b/m"]

    scripts = {"a": [speaks(chunk("Hel"), ending="reset")], "b": [speaks(*stream("Other"))]}
    in_virtual_time(scripts, main, on_break="resume")


def test_a_buffered_stream_comes_from_whoever_is_whole():
    async def main(here: Here) -> None:
        chunks, error = await listen(here, "hi")
        assert (said(chunks), error) == ("Hello", None)
        assert {each.provider for each in chunks} == {"b"}

    scripts = {"a": [speaks(chunk("Bad"), ending="reset")], "b": [speaks(*HELLO)]}
    in_virtual_time(scripts, main, on_break="buffer")


def test_tool_calls_come_in_pieces():
    def call(index: int, arguments: str = "", **more) -> dict:
        return {"index": index, "function": {"arguments": arguments, **more.pop("function", {})}, **more}

    pieces = [
        chunk(tool_calls=[call(0, id="c0", type="function", function={"name": "look"})]),
        chunk(tool_calls=[call(0, '{"at"')]),
        chunk(tool_calls=[call(0, ': "sea"}')]),
        chunk(tool_calls=[call(1, "{}", id="c1", type="function", function={"name": "find"})]),
        chunk(finish="tool_calls"),
        DONE,
    ]

    async def main(here: Here) -> None:
        async with here.client.stream("hi") as answering:
            chunks = [each async for each in answering]
            answer = await answering.answer()
        told = [piece for each in chunks for piece in each.tool_calls]
        assert told[0] == ToolCallPiece(index=0, id="c0", name="look")
        assert "".join(piece.arguments for piece in told if piece.index == 0) == '{"at": "sea"}'
        assert next((piece.id, piece.name) for piece in told if piece.index == 1) == ("c1", "find")
        assert chunks[-1].finish_reason == "tool_calls"
        assert [(each.id, each.name, json.loads(each.arguments)) for each in answer.tool_calls] == [
            ("c0", "look", {"at": "sea"}),
            ("c1", "find", {}),
        ]

    in_virtual_time({"a": [speaks(*pieces)]}, main)


def test_thoughts_are_apart_from_the_text():
    pieces = [chunk(reasoning_content="Hm. "), chunk(reasoning_content="So."), *stream("Yes")]

    async def main(here: Here) -> None:
        async with here.client.stream("hi") as answering:
            chunks = [each async for each in answering]
            answer = await answering.answer()
        assert "".join(each.reasoning for each in chunks) == "Hm. So." == answer.reasoning
        assert said(chunks) == "Yes" == answer.text

    in_virtual_time({"a": [speaks(*pieces)]}, main)


def test_alternatives_end_one_by_one():
    pieces = [
        chunk("a", index=0),
        chunk("b", index=1),
        chunk(finish="stop", index=0),
        chunk(finish="length", index=1),
        usage_chunk(1, 2),
        DONE,
    ]

    async def main(here: Here) -> None:
        chunks, _ = await listen(here, "hi", n=2)
        assert [(each.choice, each.text, each.finish_reason) for each in chunks] == [
            (0, "a", None),
            (1, "b", None),
            (0, "", "stop"),
            (1, "", "length"),
        ]
        assert [each.usage is not None for each in chunks] == [False, False, False, True]

    in_virtual_time({"a": [speaks(*pieces)]}, main)


def test_leaving_the_loop_ends_the_call_at_once():
    async def main(here: Here) -> None:
        async for each in here.client.stream("hi"):
            assert each.text == "Hel"
            break
        assert here.record().state == "cancelled"
        assert here.transport.stats().open == 0

    in_virtual_time({"a": [speaks(*HELLO, gap_s=1.0)]}, main)


def test_a_block_ends_the_call_whoever_holds_the_stream():
    async def main(here: Here) -> None:
        async with here.client.stream("hi") as answering:
            assert (await anext(answering)).text == "Hel"
        assert here.record().state == "cancelled"
        with pytest.raises(Abandoned):
            await anext(answering)
        await answering.aclose()

    in_virtual_time({"a": [speaks(*HELLO, gap_s=1.0)]}, main)


def test_a_stream_that_is_never_read_asks_nobody():
    async def main(here: Here) -> None:
        answering = here.client.stream("hi")
        await answering.aclose()
        del answering
        gc.collect()
        assert here.records() == []

    in_virtual_time({"a": []}, main)


def test_a_chunk_that_is_waited_for_too_long_ends_the_call():
    async def main(here: Here) -> None:
        answering = here.client.stream("hi")
        await anext(answering)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await anext(answering)
        assert here.record().state == "cancelled"
        with pytest.raises(Abandoned):
            await anext(answering)

    in_virtual_time({"a": [speaks(*HELLO, gap_s=1.0)]}, main)


def test_one_task_at_a_time():
    async def main(here: Here) -> None:
        answering = here.client.stream("hi")
        first = asyncio.create_task(anext(answering))
        await asyncio.sleep(0.5)
        with pytest.raises(RuntimeError, match="another task"):
            await anext(answering)
        assert (await first).text == "Hel"
        assert said([each async for each in answering]) == "lo"

    in_virtual_time({"a": [speaks(*HELLO, first_s=1.0, gap_s=1.0)]}, main)


def test_the_answer_reads_what_is_left():
    async def main(here: Here) -> None:
        answering = here.client.stream("hi")
        await anext(answering)
        answer = await answering.answer()
        assert (answer.text, answer.finish_reason) == ("Hello", "stop")
        assert answer is await answering.answer()

    in_virtual_time({"a": [speaks(*HELLO, gap_s=1.0)]}, main)


def test_a_provider_that_answers_whole_is_no_stream():
    async def main(here: Here) -> None:
        chunks, error = await listen(here, "hi")
        assert chunks == []
        assert error.failures[0][1].label == "bad_answer"

    in_virtual_time({"a": [whole()]}, main)
