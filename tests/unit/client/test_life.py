"""A client's life: opened by its first call, closed with everything settled, on one event loop after another."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.simulation.chat_wire import DONE, chunk, refuses, speaks, whole
from tests.unit.client.here import Here, in_virtual_time

from holdfast import Client
from holdfast.errors import Abandoned, ConfigError, LedgerUnavailable
from holdfast.ledger.reader import LedgerReader
from holdfast.testing.memory_transport import MemoryTransport

if TYPE_CHECKING:
    from pathlib import Path

DOCUMENT = {
    "providers": {"a": {"dialect": "openai_chat", "base_url": "http://a/v1", "auth": "none"}},
    "routes": {"chat": {"targets": ["a/m"]}},
}


def replies(*script, count: int = 10) -> MemoryTransport:
    return MemoryTransport(list(script) or [whole() for _ in range(count)])


def client_with(ledger, **more) -> Client:
    return Client(DOCUMENT, env={}, ledger=ledger, transport=more.pop("transport", replies()), **more)


def test_closing_ends_what_still_runs():
    async def main(here: Here) -> None:
        chat = asyncio.create_task(here.client.chat("hi"))
        await asyncio.sleep(0.5)
        answering = here.client.stream("hi")
        assert (await anext(answering)).text == "x"
        reading = here.client.stream("hi")
        await anext(reading)
        waiting = asyncio.create_task(anext(reading))
        await asyncio.sleep(0.5)

        await here.client.aclose()

        assert {record.state for record in here.records()} == {"cancelled"}
        assert len(here.records()) == 3
        here.transport.stats()
        for task in (chat, waiting):
            with pytest.raises(Abandoned, match="client was closed"):
                await task
            assert task.cancelling() == 0, "the task itself goes on"
        with pytest.raises(Abandoned, match="client was closed"):
            await anext(answering)
        for late in (here.client.chat("hi"), anext(here.client.stream("hi"))):
            with pytest.raises(RuntimeError, match="closed"):
                await late
        await here.client.aclose()

    script = [whole(head_s=60.0), *(speaks(chunk("x"), chunk("y"), gap_s=20.0) for _ in range(2))]
    in_virtual_time({"a": script}, main)


def test_who_cancels_a_call_that_is_being_closed_cancels_it():
    async def main(here: Here) -> None:
        chat = asyncio.create_task(here.client.chat("hi"))
        await asyncio.sleep(0.5)
        closing = asyncio.create_task(here.client.aclose())
        await asyncio.sleep(0)
        chat.cancel()
        with pytest.raises(asyncio.CancelledError):
            await chat
        await closing
        assert here.record().state == "cancelled"

    in_virtual_time({"a": [whole(head_s=60.0)]}, main)


@given(at_s=st.floats(0.0, 8.0), how=st.sampled_from(["cancel", "close", "timeout"]), streamed=st.booleans())
def test_whenever_it_ends_every_call_is_settled_once(at_s, how, streamed):
    """A fallback after 1 s, a pause, five chunks a second apart: cut anywhere in it."""

    async def ask(here: Here) -> str:
        if not streamed:
            return (await here.client.chat("hi")).text
        return "".join([each.text async for each in here.client.stream("hi")])

    async def main(here: Here) -> None:
        limit = asyncio.timeout(at_s if how == "timeout" else None)

        async def limited() -> str:
            async with limit:
                return await ask(here)

        task = asyncio.create_task(limited())
        await asyncio.sleep(at_s)
        if how == "cancel":
            task.cancel()
        elif how == "close":
            await here.client.aclose()
            assert here.transport.stats().open == 0
        (ended,) = await asyncio.gather(task, return_exceptions=True)
        states = [record.state for record in here.records()]
        assert states in ([], ["ok"], ["cancelled"])
        if states == ["ok"]:
            assert ended == "01234"
        elif how == "cancel":
            assert isinstance(ended, asyncio.CancelledError)
        else:
            wanted = TimeoutError if how == "timeout" else (Abandoned, RuntimeError)
            assert isinstance(ended, wanted)
        if how != "close":
            assert await ask(here) == "01234"

    good = [speaks(*(chunk(str(n)) for n in range(5)), chunk(finish="stop") + DONE, gap_s=1.0)] * 2
    good = good if streamed else [whole("01234", head_s=5.0)] * 2
    in_virtual_time({"a": [refuses(503, head_s=1.0)] * 2, "b": good}, main)


def test_two_may_close_at_once():
    async def main(here: Here) -> None:
        chat = asyncio.create_task(here.client.chat("hi"))
        await asyncio.sleep(0.5)
        await asyncio.gather(here.client.aclose(), here.client.aclose())
        with pytest.raises(Abandoned):
            await chat

    in_virtual_time({"a": [whole(head_s=60.0)]}, main)


def test_the_first_calls_open_one_ledger(tmp_path: Path):
    async def main() -> None:
        async with client_with(tmp_path / "calls.db") as client:
            answers = await asyncio.gather(*(client.chat("hi") for _ in range(10)))
            assert repr(client) == "<Client open: a>"
        assert repr(client) == "<Client closed: a>"
        with LedgerReader(tmp_path / "calls.db") as reader:
            found = {record.intent.id: record.state for record in reader.requests(limit=None)}
        assert found == {answer.request_id: "ok" for answer in answers}

    asyncio.run(main())


def test_a_caller_that_leaves_while_it_opens_leaves_it_opening(tmp_path: Path):
    async def main() -> None:
        client = client_with(tmp_path / "calls.db")
        first = asyncio.create_task(client.chat("hi"))
        second = asyncio.create_task(client.chat("hi"))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).text == "hello"
        assert first.cancelled()
        await client.aclose()

    asyncio.run(main())


def test_closing_while_it_opens_closes_what_was_opened(tmp_path: Path):
    async def main() -> None:
        client = client_with(tmp_path / "calls.db")
        chat = asyncio.create_task(client.chat("hi"))
        await asyncio.sleep(0)
        await client.aclose()
        with pytest.raises((RuntimeError, Abandoned), match="closed"):
            await chat
        async with client_with(tmp_path / "calls.db"):
            pass  # nobody holds the file any more

    asyncio.run(main())


def test_what_could_not_be_opened_is_tried_again(tmp_path: Path):
    async def main() -> None:
        folder = tmp_path / "later"
        client = client_with(folder / "calls.db")
        with pytest.raises(ConfigError, match="doesn't exist"):
            await client.chat("hi")
        folder.mkdir()
        assert (await client.chat("hi")).text == "hello"
        with pytest.raises(LedgerUnavailable):
            async with client_with(folder / "calls.db"):
                raise AssertionError("two writers")
        await client.aclose()

    asyncio.run(main())


def test_a_client_that_is_forgotten_warns_and_lets_go_of_the_ledger(tmp_path: Path):
    async def main() -> None:
        client = client_with(tmp_path / "calls.db")
        await client.chat("hi")
        with pytest.warns(ResourceWarning, match="unclosed <Client open: a>"):
            del client
        others = asyncio.all_tasks()
        while len(others) < 2:  # the closing begins with the loop's next turn
            await asyncio.sleep(0)
            others = asyncio.all_tasks()
        await asyncio.wait(others - {asyncio.current_task()})
        async with client_with(tmp_path / "calls.db"):
            pass

    asyncio.run(main())


def test_a_client_that_was_never_used_needs_no_closing():
    client = Client(env={})
    assert repr(client) == "<Client idle: no chat route>"
    del client
    gc.collect()


def test_one_loop_after_another(tmp_path: Path):
    """``asyncio.run(client.chat(…))`` twice: the first loop is gone, and took its connections with it."""
    client = client_with(tmp_path / "calls.db")
    assert asyncio.run(client.chat("one")).text == "hello"
    assert asyncio.run(client.chat("two")).text == "hello"
    asyncio.run(client.aclose())
    with LedgerReader(tmp_path / "calls.db") as reader:
        assert [record.state for record in reader.requests(limit=None)] == ["ok", "ok"]


def test_closing_on_another_loop_lets_go_of_the_ledger(tmp_path: Path):
    client = client_with(tmp_path / "calls.db")
    asyncio.run(client.chat("one"))
    asyncio.run(client.aclose())

    async def again() -> None:
        async with client_with(tmp_path / "calls.db"):
            pass

    asyncio.run(again())


def test_a_stream_that_a_closed_loop_left_open_is_over(tmp_path: Path):
    client = client_with(
        tmp_path / "calls.db", transport=replies(speaks(chunk("x"), chunk("y"), gap_s=20.0), whole())
    )
    answering = client.stream("hi")

    async def first() -> None:
        assert (await anext(answering)).text == "x"

    asyncio.run(first())

    async def then() -> None:
        assert (await client.chat("hi")).text == "hello"
        with pytest.raises(RuntimeError, match="another event loop"):
            await anext(answering)
        await client.aclose()

    asyncio.run(then())


def test_two_loops_at_once_are_refused():
    async def main(here: Here) -> None:
        await here.client.chat("hi")
        said: list[BaseException] = []

        def elsewhere() -> None:
            for work in (here.client.chat, here.client.stream("hi").answer):
                try:
                    asyncio.run(work(*(["hi"] if work == here.client.chat else [])))
                except RuntimeError as error:
                    said.append(error)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        await asyncio.to_thread(thread.join)
        assert ["another event loop" in str(error) for error in said] == [True, True]

    in_virtual_time({"a": [whole()]}, main)
