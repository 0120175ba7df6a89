"""``python -m benchmarks.micro``: what the parts of a request cost, one at a time, in one process. Best of several rounds.

The best and not the median: everything else on the machine makes these slower, and nothing makes them faster.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import random
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import uvloop

from benchmarks.mock import PIECES
from benchmarks.run import RESULTS, machine
from holdfast.clock import SystemClock, new_id
from holdfast.dialects.anthropic import Anthropic
from holdfast.dialects.gemini import Gemini
from holdfast.dialects.openai_chat import OpenAIChat
from holdfast.dialects.openai_chat.stream import StreamDecoder
from holdfast.engine.guard import Guard
from holdfast.engine.lane import Translated
from holdfast.ledger import AttemptRow, End, Intent
from holdfast.ledger.sqlite import SqliteLedger
from holdfast.model.usage import Usage
from holdfast.money.budgets import Budgets
from holdfast.money.rules import Amount, BudgetRule, Subject
from holdfast.providers.prices import PriceBook
from holdfast.providers.tokens import count_text
from holdfast.resilience.timeout import Limit, timers

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.dialects.base import Dialect

ROUNDS = 15
CHUNK = PIECES[1]


def best(work: Callable[[], object], each: int) -> float:
    """Microseconds for one of the ``each`` things that ``work`` does."""
    fastest = float("inf")
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
        fastest = min(fastest, time.process_time() - start)
    return fastest / each * 1e6


def chunks() -> dict[str, float]:
    segments = [CHUNK * 20] * 100  # as many as one read of the socket brings where they arrive together
    n = 20 * len(segments)
    dialect = OpenAIChat()

    def whole() -> None:
        decoder = StreamDecoder()
        for segment in segments:
            decoder.feed(segment)

    def hot() -> None:
        guard, scanner = Guard(dialect), dialect.scanner()
        for segment in segments:
            guard.feed(scanner.feed(segment))

    def scan() -> None:
        scanner = dialect.scanner()
        for segment in segments:
            scanner.feed(segment)

    payload = CHUNK[6:-2]

    def untyped() -> None:
        for _ in range(n):
            msgspec.json.decode(payload)

    def translated(caller: Dialect) -> Callable[[], None]:
        def work() -> None:
            lane = Translated(caller, dialect, include_usage=True, answer_id="x", created=1)
            guard, scanner = Guard(caller), lane.scanner()
            for segment in segments:
                guard.feed(scanner.feed(segment))

        return work

    return {
        "a chunk read for the guard, and guarded": best(hot, n),
        "the same, translated for an Anthropic caller": best(translated(Anthropic()), n),
        "the same, translated for a Gemini caller": best(translated(Gemini()), n),
        "a chunk read for the guard": best(scan, n),
        "a chunk read whole, into the neutral model": best(whole, n),
        "a chunk decoded into plain dictionaries": best(untyped, n),
    }


def limits() -> dict[str, float]:
    n = 5_000

    async def ours() -> None:
        loop, mine = asyncio.get_running_loop(), timers()
        for _ in range(n):
            with Limit(mine, loop.time() + 30):
                pass

    async def asyncios() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(n):
            async with asyncio.timeout_at(loop.time() + 30):
                pass

    return {
        "a time limit set and lifted (resilience/timeout)": best(lambda: uvloop.run(ours()), n),
        "the same with asyncio.timeout_at": best(lambda: uvloop.run(asyncios()), n),
    }


def money() -> dict[str, float]:
    n = 5_000
    book = PriceBook()
    book.load()
    usage = Usage(input_tokens=1_000, cache_read_tokens=200, output_tokens=300, reasoning_tokens=100)

    def cost() -> None:
        for _ in range(n):
            price = book.price("openai", "gpt-4o", 1_790_000_000_000_000_000)
            if price is None:
                raise SystemExit("gpt-4o has no price")
            price.cost(usage)

    rules = [
        BudgetRule(name="everyone", limit_nano=10**18, window="day"),
        BudgetRule(name="each", scope="key", limit_nano=10**18, window="hour"),
        BudgetRule(name="tokens", scope="model", limit_tokens=10**15),
    ]
    budgets = Budgets(rules, now_ns=time.time_ns)
    subject, bound, billed = Subject(key="k", model="gpt-4o"), Amount(10**6, 500), Amount(10**5, 200)
    few = 500

    def spend() -> None:
        for _ in range(few):
            hold = budgets.hold(subject)
            hold.reserve(bound)
            hold.cover(1, bound)
            hold.settle(1, billed)
            hold.close()

    prompt = "The quick brown fox jumps over the lazy dog, and isn't seen again. " * 61  # 4 kB
    count_text(prompt, "gpt-4o")

    def count() -> None:
        for _ in range(20):
            count_text(prompt, "gpt-4o")

    return {
        "a price looked up and a cost worked out": best(cost, n),
        "three budgets looked at, reserved from, charged and given back": best(spend, few),
        "the tokens of a 4 kB prompt counted": best(count, 20),
    }


def ledger() -> dict[str, float]:
    clock, rng = SystemClock(), random.Random(1)
    usage = Usage(input_tokens=20, output_tokens=30)

    async def run(connections: int, each: int) -> None:
        with tempfile.TemporaryDirectory() as directory:
            book = await SqliteLedger.open(f"sqlite:///{Path(directory) / 'ledger.db'}", clock=clock, rng=rng)

            async def one() -> None:
                request = new_id(clock, rng)
                await book.begin(
                    Intent(
                        id=request, started_ns=1, route="chat", model="chat", dialect="openai_chat", stream=False,
                        request_bytes=300, bound_nano=23,
                    )
                )  # fmt: skip
                row = AttemptRow(
                    number=1, provider="wall", model="m", started_ns=1, outcome="ok", status=200, total_ms=2.0,
                    billed="provider", usage=usage, cost_nano=4, price_id="x",
                )  # fmt: skip
                book.end(
                    End(
                        id=request, ended_ns=2, state="ok", status=200, provider="wall", model="m", finish_reason="stop",
                        first_token_ms=2.0, total_ms=3.0, cost_nano=4, usage=usage, delivered_bytes=600, attempts=(row,),
                    )
                )  # fmt: skip

            async def caller() -> None:
                for _ in range(each):
                    await one()

            await asyncio.gather(*(caller() for _ in range(connections)))
            await book.aclose()

    return {
        "intent and end of a request, 64 at a time (all threads)": best(
            lambda: uvloop.run(run(64, 60)), 64 * 60
        ),
        "intent and end of a request, one at a time (all threads)": best(
            lambda: uvloop.run(run(1, 400)), 400
        ),
    }


def main() -> None:
    rows = {**chunks(), **limits(), **money(), **ledger()}
    where = machine()
    lines = [
        "# What the parts cost",
        "",
        f"`python -m benchmarks.micro` on {where['cpu']}, Python {where['python']}, "
        f"{dt.datetime.now(dt.UTC).date().isoformat()}. CPU time, best of {ROUNDS} rounds.",
        "",
        "| | µs |",
        "|---|---|",
        *(f"| {name} | {value:.2f} |" for name, value in rows.items()),
    ]
    text = "\n".join(lines) + "\n"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "micro.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
