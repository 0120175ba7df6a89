"""A clock that is moved by hand: nothing happens before its time, everything that falls due happens in its order."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.chaos.raw import ask, is_silent, payload, receive, send

from holdfast.chaos import ChaosConfig, ChaosError, ChaosServer, run_chaos
from holdfast.chaos.clock import HandClock, LoopClock

_DAY = 86_400.0


def arrived(chaos, count):
    """The journal once so many have arrived, and what could be done for them at once is done."""
    chaos.wait_for_requests(count)
    return chaos.journal()


_MS = st.integers(0, 100_000)


@given(st.lists(st.tuples(_MS, st.booleans()), max_size=12), st.lists(_MS, min_size=1, max_size=6))
def test_calls_are_made_once_at_their_time_and_in_order(planned, steps):
    async def main():
        clock = HandClock()
        made = []
        for number, (when, cancelled) in enumerate(planned):
            timer = clock.call_at(when / 1000, lambda n=number: made.append((clock.now(), n)))
            if cancelled:
                timer.cancel()
        now = 0
        count = 0
        for step in steps:
            now += step
            count += await clock.advance(step / 1000)
            assert clock.now() == pytest.approx(now / 1000)
        due = sorted(
            (when, n) for n, (when, cancelled) in enumerate(planned) if not cancelled and when <= now
        )
        assert [n for _, n in made] == [n for _, n in due]
        assert [when for when, _ in made] == pytest.approx([when / 1000 for when, _ in due])
        assert count == len(made)

    asyncio.run(main())


def test_a_call_may_plan_others_and_the_loop_has_its_turns_between():
    async def main():
        clock = HandClock()
        seen = []

        def tick():
            seen.append(clock.now())
            asyncio.get_running_loop().call_soon(seen.append, "loop")
            clock.call_at(clock.now() + 1, tick)

        clock.call_at(1, tick)
        assert await clock.advance(3) == 3
        assert seen == [1, "loop", 2, "loop", 3, "loop"]

    asyncio.run(main())


def test_what_was_due_before_now_is_called_at_the_next_move():
    async def main():
        clock = HandClock()
        await clock.advance(10)
        seen = []
        clock.call_at(3, lambda: seen.append(clock.now()))
        assert await clock.advance(0) == 1
        assert seen == [10]

    asyncio.run(main())


def test_ten_tenths_are_a_second():
    async def main():
        clock = HandClock()
        seen = []
        clock.call_at(1.0, lambda: seen.append(clock.now()))
        for _ in range(9):
            await clock.advance(0.1)
        assert seen == []
        await clock.advance(0.1)
        assert len(seen) == 1
        assert clock.now() >= 1.0

    asyncio.run(main())


def test_who_moves_it_while_it_moves_comes_after():
    async def main():
        clock = HandClock()
        seen = []
        for second in range(1, 11):
            clock.call_at(second, lambda: seen.append(clock.now()))
        await asyncio.gather(clock.advance(5), clock.advance(2), clock.advance(3))
        assert clock.now() == 10
        assert seen == list(range(1, 11))

    asyncio.run(main())


def test_real_time_is_the_loops():
    async def main():
        clock = LoopClock()
        begin = clock.now()
        assert 0 <= begin < 1
        called = asyncio.Event()
        clock.call_at(begin + 0.01, called.set)
        await called.wait()
        assert clock.now() >= begin + 0.009

    asyncio.run(main())


def test_a_clock_that_goes_by_itself_isnt_moved():
    with run_chaos() as chaos, pytest.raises(ChaosError, match="time passes by itself"):
        chaos.advance(1)


# What the server waits for, on the socket.


def serving(script, **more):
    return run_chaos(ChaosConfig.from_dict({"clock": "hand", "tokens": 4, "default": script, **more}))


@pytest.mark.parametrize("script", ["delay=3600", "ttft=3600", "slow=3600", "ttft=1800 tps=0.001666667"])
def test_a_plain_answer_comes_exactly_then(script):
    with serving(script) as chaos, send(chaos.port, payload()) as sock:
        arrived(chaos, 1)
        chaos.advance(3599)
        assert chaos.journal()[0].bytes_sent == 0
        assert is_silent(sock)
        chaos.advance(1)
        assert receive(sock).status == 200


def test_tokens_come_one_by_one():
    with serving("ttft=10 tps=0.5") as chaos, send(chaos.port, payload(stream=True)) as sock:
        assert arrived(chaos, 1)[0].status == 200  # the head waits for nothing
        chaos.advance(9.999)
        assert chaos.journal()[0].tokens == 0
        for count, step in ((1, 0.001), (2, 2), (3, 2), (4, 2)):
            chaos.advance(step - 0.001 if count > 1 else step)
            if count > 1:
                assert chaos.journal()[0].tokens == count - 1
                chaos.advance(0.001)
            assert chaos.journal()[0].tokens == count
        assert receive(sock).terminated


def test_a_long_move_makes_each_token_at_its_own_time():
    """All that falls due in one move is the same as in many small ones, with another stream's tokens between."""
    with serving("ttft=1 tps=1") as chaos:
        with (
            send(chaos.port, payload("a", stream=True)) as a,
            send(chaos.port, payload("b", stream=True)) as b,
        ):
            assert [entry.status for entry in arrived(chaos, 2)] == [200, 200]
            chaos.advance(100)
            assert receive(a).terminated
            assert receive(b).terminated
        assert [entry.tokens for entry in chaos.journal()] == [4, 4]


def test_a_stall_ends_exactly_then():
    with serving("stall=2 seconds=60") as chaos, send(chaos.port, payload(stream=True)) as sock:
        assert arrived(chaos, 1)[0].tokens == 2
        chaos.advance(59.9)
        assert chaos.journal()[0].tokens == 2
        chaos.advance(0.1)
        assert chaos.journal()[0].tokens == 4
        assert receive(sock).terminated


def test_a_hang_that_has_an_end_ends_then_and_one_without_doesnt():
    with serving("hang=60") as chaos, send(chaos.port, payload()) as sock:
        arrived(chaos, 1)
        chaos.advance(59.9)
        assert is_silent(sock)
        assert chaos.journal()[0].end is None
        chaos.advance(0.1)
        assert receive(sock).status == 200
    with serving("hang") as chaos:
        with send(chaos.port, payload()) as sock:
            arrived(chaos, 1)
            chaos.advance(_DAY)
            assert is_silent(sock)
        assert chaos.wait_for(lambda journal: journal[0].end)[0].end == "client_left"


def test_nobody_elses_time_is_waited_for():
    """A client that left takes its timers with it; one without a pause is answered while time stands still."""
    with serving("ttft=10", scripts={"quick": "ok"}) as chaos:
        with send(chaos.port, payload()):
            arrived(chaos, 1)
        chaos.wait_for(lambda journal: journal[0].end)
        assert ask(chaos.port, payload("quick")).status == 200
        chaos.advance(100)
        assert chaos.journal()[0].bytes_sent == 0


def test_advance_says_how_many_pauses_ended():
    async def main():
        server = ChaosServer(ChaosConfig.from_dict({"clock": "hand", "tokens": 3, "default": "ttft=1 tps=1"}))
        await server.start()
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            body = payload(stream=True)
            writer.write(
                f"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
            )
            await reader.readuntil(b"\r\n\r\n")
            assert await server.advance(0.5) == 0
            assert await server.advance(0.5) == 1
            assert await server.advance(10) == 2
            assert server.now == 11
            await reader.readuntil(b"0\r\n\r\n")
            writer.close()
            await writer.wait_closed()
        finally:
            await server.stop()

    asyncio.run(main())
