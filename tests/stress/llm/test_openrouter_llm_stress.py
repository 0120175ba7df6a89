"""One call a row, at OpenRouter's paths: answers that can't be read, connections that break, the order of the output, and
what answers say."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import pytest
from tests.stress.llm.audit import faulted
from tests.stress.llm.collector import Collector
from tests.stress.llm.rows import make_rows
from tests.stress.llm.world import SEED
from tests.support.binomial import interval

from holdfast import ChatAnswer
from holdfast.errors import BadAnswer, ConnectFailed, ConnectionLost, TargetsFailed

if TYPE_CHECKING:
    from tests.stress.llm.rows import Finished
    from tests.stress.llm.world import World

MODES = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
MALFORMED = ("cut", "colon", "prefix", "garbage", "quotes", "nan")
"""Every way in which the chaos provider spoils JSON."""


class TestOpenRouterMalformed:
    @MODES
    def test_json_that_does_not_parse_is_never_an_answer(self, world: World, stream: bool) -> None:
        """One row in two heals after a spoiled answer, the other never does; each way of spoiling has its turn."""

        def script(row: int, _: int) -> str:
            spoiled = f"malformed how={MALFORMED[row // 2 % len(MALFORMED)]}"
            return f"{spoiled}; ok" if row % 2 else spoiled

        rows = make_rows(4 * len(MALFORMED), script=script)
        run = world.run(rows, "openrouter", retries=2, stream=stream)
        run.check()

        assert run.out.numbers("ok") == list(range(1, len(rows), 2))
        for number in run.out.numbers("ok"):
            (one,) = run.of_row(number)
            assert [row.outcome for row in one.rows] == ["bad_answer", "ok"]
        for number in run.out.numbers("failed"):
            (one,) = run.of_row(number)
            # The provider said 200 and bills what it made: the ledger has the bound, never nothing.
            told = [(row.outcome, row.status, row.billed, row.finish_reason) for row in one.rows]
            assert told == [("bad_answer", 200, "bound", None)] * 3
            assert isinstance(one.answer, TargetsFailed)
            assert one.answer.status == 502
            assert all(isinstance(error, BadAnswer) for _, error in one.answer.failures)

    @pytest.mark.parametrize("how", MALFORMED)
    @pytest.mark.chaosllm(tokens=20)
    def test_json_that_breaks_in_mid_stream_ends_the_answer(self, world: World, how: str) -> None:
        """The provider goes on after the spoiled event, up to its end marker, as if nothing were. That makes it no answer,
        and no other attempt is put behind the words that are out."""
        rows = make_rows(
            12, script=lambda row, _: f"malformed how={how} after={1 + row}; ok" if row % 2 else "ok"
        )
        run = world.run(rows, "openrouter", retries=3, stream=True)
        run.check()
        assert run.out.numbers("failed") == list(range(1, 12, 2))
        for number in run.out.numbers("failed"):
            (one,) = run.of_row(number)
            assert [(row.outcome, row.status, row.billed) for row in one.rows] == [
                ("bad_answer", 200, "bound")
            ]

    @pytest.mark.parametrize("what", ["empty", "wrong_type", "malformed how=nan"])
    @pytest.mark.chaosllm(seed=SEED)
    def test_what_is_no_answer_at_a_rate(self, world: World, what: str) -> None:
        """A quarter of the attempts, each by a draw of its own, two attempts a row: failed rows are Binomial(120, 1/16)."""
        world.chaos.update_config(rates={what: 25})
        run = world.run(make_rows(120), "openrouter", retries=1)
        run.check()
        unlucky = [number for number in range(120) if all(map(faulted, run.asked[f"{number}.0"].entries))]
        assert run.out.numbers("failed") == unlucky
        low, high = interval(120, 1 / 16)
        assert low <= len(unlucky) <= high


class TestOpenRouterConnections:
    @pytest.mark.parametrize(
        ("fault", "stream"),
        [
            ("reset", False),
            ("reset", True),
            ("close", False),
            ("close", True),
            ("truncate how=reset", False),
            ("truncate how=fin", False),
        ],
    )
    def test_resets_before_there_is_an_answer(self, world: World, fault: str, stream: bool) -> None:
        """Row n meets n mod 4 broken connections; three are all that a row has."""
        rows = make_rows(32, script=lambda row, _: f"{fault} x{row % 4}; ok" if row % 4 else "ok")
        run = world.run(rows, "openrouter", retries=2, stream=stream)
        run.check()

        assert run.out.numbers("failed") == list(range(3, 32, 4))
        for number in range(32):
            (one,) = run.of_row(number)
            broken = number % 4
            assert [row.outcome for row in one.rows][:broken] == ["connection_lost"] * broken
            if broken == 3:
                assert isinstance(one.answer, TargetsFailed)
                assert all(isinstance(error, ConnectionLost) for _, error in one.answer.failures)
                assert [row.billed for row in one.rows] == ["bound"] * 3

    @pytest.mark.parametrize("how", ["fin", "reset", "clean"])
    @pytest.mark.chaosllm(tokens=20)
    def test_a_stream_that_breaks_after_its_first_words_is_never_whole(self, world: World, how: str) -> None:
        """Once words were handed out, no other attempt's are put behind them: the row fails, with one attempt on record."""
        rows = make_rows(24, script=lambda row, _: f"cut={how} after={1 + row % 19}" if row % 2 else "ok")
        run = world.run(rows, "openrouter", retries=3, stream=True)
        run.check()

        assert run.out.numbers("failed") == list(range(1, 24, 2))
        for number in run.out.numbers("failed"):
            (one,) = run.of_row(number)
            (row,) = one.rows
            assert (row.status, row.billed, row.finish_reason) == (200, "bound", None)
            assert row.outcome == ("truncated" if how == "clean" else "connection_lost")
            assert one.entries[0].tokens == 1 + number % 19

    @pytest.mark.chaosllm(clock="hand")
    def test_connects_that_time_out(self, world: World) -> None:
        """The host goes away after eight rows: whoever is there is reset, and no connect gets an answer any more. It comes
        back when time passes there; the rows that come then are served as if nothing had been."""
        script = {8: "deaf=1"}
        rows = make_rows(24, script=lambda row, _: script.get(row, ""))
        run = world.run(
            rows,
            "openrouter",
            workers=1,
            retries=2,
            timeouts={"connect_s": 0.1},
            phases=3,
            between=_once(partial(world.chaos.advance, 2), after=2),
        )
        run.check()

        assert run.out.numbers("ok") == [*range(8), *range(16, 24)]
        first, *others = (run.asked[f"{number}.0"] for number in range(8, 16))
        assert [row.outcome for row in first.rows] == ["connection_lost", "connect_failed", "connect_failed"]
        for one in others:
            assert [row.outcome for row in one.rows] == ["connect_failed"] * 3
            assert [(row.billed, row.cost_nano, row.status) for row in one.rows] == [("none", 0, None)] * 3
            assert one.entries == [], "nothing of it ever arrived"
            assert isinstance(one.answer, TargetsFailed)
            assert one.answer.status == 504
            errors = [error for _, error in one.answer.failures]
            assert all(isinstance(error, ConnectFailed) and error.timed_out for error in errors)
            assert min(row.total_ms for row in one.rows) >= 99

    @MODES
    def test_answers_that_time_out(self, world: World, stream: bool) -> None:
        """A silent target has had its chance; where no other is left it gets its further tries, each with its own limit."""
        rows = make_rows(
            12, script=lambda row, _: "hang; ok" if row % 3 == 0 else "hang" if row % 3 == 1 else "ok"
        )
        limits = {"answer_s": 0.1, "first_token_s": 0.1}
        run = world.run(rows, "openrouter", workers=12, retries=1, stream=stream, timeouts=limits)
        run.check()

        assert run.out.numbers("failed") == [1, 4, 7, 10]
        for number in range(12):
            (one,) = run.of_row(number)
            expected = [["timed_out", "ok"], ["timed_out", "timed_out"], ["ok"]][number % 3]
            assert [row.outcome for row in one.rows] == expected
            for row, entry in zip(one.rows, one.entries, strict=True):
                if row.outcome == "timed_out":
                    assert row.total_ms >= 100
                    assert (row.billed, row.status, entry.end) == ("bound", None, "client_left")
                    assert ("first_token_s" if stream else "answer_s") in (row.error or "")


class TestOpenRouterOrder:
    @MODES
    @pytest.mark.chaosllm(delay=0.01, jitter=1.0, rates={"503 retry-after-ms=1": 20}, seed=SEED)
    def test_first_in_first_out_under_random_latencies(self, world: World, stream: bool) -> None:
        """Latencies of 0 to 20 ms and refused attempts: rows overtake each other, and leave in the order of the input.

        The first sixteen alone finish in the order of the input but once in 16! > 10¹³ times. A row fails with 0.2³.
        """
        rows = make_rows(100)
        run = world.run(rows, "openrouter", workers=16, retries=2, stream=stream)
        run.check()
        assert [row.row.number for row in run.out.released] == list(range(100))
        assert run.out.finished != list(range(100)), "nobody overtook anybody: this run shows nothing"
        low, high = interval(100, 0.2**3)
        assert low <= run.out.outcomes["failed"] <= high

    @pytest.mark.chaosllm(clock="hand")
    def test_all_others_wait_for_a_slow_first_row(self, world: World) -> None:
        """Row 0 is answered when fifteen others have been finished; none of them is released before it."""
        others = asyncio.Event()
        held: list[int] = []

        def finished(row: Finished) -> None:
            if row.row.number != 0:
                held.append(len(out.released))
            if len(out.finished) == 15:
                others.set()

        async def then_the_first() -> None:
            await others.wait()
            await asyncio.to_thread(world.chaos.advance, 5)

        out = Collector(on_finished=finished)
        rows = make_rows(16, script=lambda row, _: "delay=5" if row == 0 else "ok")
        run = world.run(rows, "openrouter", workers=4, out=out, beside=then_the_first)
        run.check()
        assert held == [0] * 15
        assert out.finished[-1] == 0
        assert [row.row.number for row in out.released] == list(range(16))


class TestOpenRouterContent:
    @MODES
    @pytest.mark.chaosllm(default="echo", rates={"429 retry-after-ms=2": 20, "reset": 5}, seed=SEED)
    def test_every_answer_is_the_one_to_its_own_question(self, world: World, stream: bool) -> None:
        """The provider repeats the question, whatever is in it. A row's four attempts fail with 0.25⁴ < 0.004."""
        rows = make_rows(len(TEXTS) * 10, text=lambda row, _: f"{row}: {TEXTS[row % len(TEXTS)]}")
        run = world.run(rows, "openrouter", workers=16, retries=3, stream=stream)
        run.check(known_text=False)

        answered = 0
        for query, result in run.out.asked:
            if isinstance(result, ChatAnswer):
                answered += 1
                assert result.text.encode() == query.prompt.encode()
        low, high = interval(len(rows), 0.25**4)
        assert low <= len(rows) - answered <= high

    @pytest.mark.parametrize("tokens", [1, 500])
    def test_numbered_tokens_arrive_one_by_one_or_all_at_once(self, world: World, tokens: int) -> None:
        """Answers of one token and of 500, in segments of one to 64 bytes: whole, in order, of one attempt."""
        world.chaos.update_config(script=f"tokens={tokens} split", seed=SEED)
        run = world.run(make_rows(16), "openrouter", workers=16, stream=True)
        for entry in run.entries:
            entry.faults.remove("split")  # changes nothing of what is said
        run.check()
        assert run.out.outcomes == {"ok": 16}
        assert {entry.tokens for entry in run.entries} == {tokens}


TEXTS = (
    "plain",
    "ümläuts, 漢字, עברית, and 🦊🏳️‍🌈",
    'quotes " and \\ backslashes \\n that are none',
    "tabs\tand\nlines\r\nand\u2028more",
    "data: [DONE]\n\nevent: error\n\n",
    "\x00\x01\x1f control",
    '{"choices": [{"finish_reason": "stop"}]}',
    "long " + "word " * 2_000,
)
"""What breaks encodings, JSON and event streams that are put together by hand."""


def _once(work: partial[None], *, after: int) -> partial[None]:
    """Does ``work`` when it has been called so many times."""
    calls = iter(range(1, 1_000))

    def called() -> None:
        if next(calls) == after:
            work()

    return partial(called)
