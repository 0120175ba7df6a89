"""Counting beside a loop: in it what is short, in a thread what isn't."""

import asyncio

import pytest

from holdfast.model import Message, Request, Role, Text, Tool, ToolCall, ToolResult
from holdfast.providers.tokens import count_request, count_request_async, count_text, count_text_async
from holdfast.providers.tokens.aside import LARGE


def asked(*parts, tools=0):
    message = Message(role=Role.USER, parts=parts)
    return Request(model="gpt-4o", messages=(message,), tools=tuple(Tool(name=f"t{n}") for n in range(tools)))


def at_once(counting):
    """What ``counting`` returns without waiting for anything; None if it waits."""
    try:
        counting.send(None)
    except StopIteration as done:
        return done.value
    finally:
        counting.close()
    return None


@pytest.fixture(autouse=True)
def begun():
    asyncio.run(count_text_async("x", "gpt-4o"))


def test_a_short_text_is_counted_on_the_spot():
    assert at_once(count_text_async("hello " * 100, "gpt-4o")) == count_text("hello " * 100, "gpt-4o")
    short = asked(Text(text="hello " * 100))
    assert at_once(count_request_async(short, "gpt-4o")) == count_request(short, "gpt-4o")


LONG = Text(text="x " * (LARGE // 2))


@pytest.mark.parametrize(
    "request_",
    [
        asked(LONG),
        asked(ToolCall(name="f", arguments="x " * (LARGE // 2))),
        asked(ToolResult(parts=(LONG,))),
        asked(Text(text="x" * (LARGE // 2)), Text(text="x" * (LARGE // 2))),
        asked(Text(text="hi"), tools=16),
    ],
    ids=["a text", "a call", "a result", "parts together", "tools"],
)
def test_the_loop_goes_on_while_a_thread_counts_a_long_request(request_):
    async def main():
        counting = asyncio.ensure_future(count_request_async(request_, "gpt-4o"))
        await asyncio.sleep(0)
        assert not counting.done()
        return await counting

    assert asyncio.run(main()) == count_request(request_, "gpt-4o")


def test_so_with_a_long_text_and_turns_pass_meanwhile():
    text = "words and more of them, " * 50_000

    async def main():
        counting = asyncio.ensure_future(count_text_async(text, "gpt-4o"))
        turns = 0
        while not counting.done():
            await asyncio.sleep(0)
            turns += 1
        return await counting, turns

    counted, turns = asyncio.run(main())
    assert counted == count_text(text, "gpt-4o")
    assert turns > 100


def test_a_models_first_count_may_load_its_tokenizer_and_goes_to_a_thread():
    async def main():
        counting = asyncio.ensure_future(count_text_async("hello", "gpt-4o", "nobody-before"))
        await asyncio.sleep(0)
        waited = not counting.done()
        await counting
        return waited

    assert asyncio.run(main())
    assert at_once(count_text_async("hello", "gpt-4o", "nobody-before")) is not None


def test_who_is_cancelled_doesnt_wait_for_the_thread():
    async def main():
        counting = asyncio.ensure_future(count_text_async("a " * 200_000, "gpt-4o"))
        await asyncio.sleep(0)
        counting.cancel()
        await asyncio.wait([counting])
        return counting.cancelled()

    assert asyncio.run(main())
