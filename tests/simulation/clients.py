"""Simulated callers: each asks when the plan says, reads as it can, and some leave in the middle."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
from tests.simulation.trace import Asked, Crashed, Gone, Heard, Opened, Over

from holdfast.errors import HoldfastError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.simulation.draw import Ask
    from tests.simulation.stories import Stories
    from tests.simulation.trace import Trace
    from tests.simulation.wire import Wired

    from holdfast.engine.exchange import Exchange

__all__ = ["Clients", "Ear"]


class Clients:
    """Everybody who asks."""

    def __init__(self, wired: Wired, stories: Stories, trace: Trace) -> None:
        self._wired = wired
        self._stories = stories
        self._trace = trace
        self._loop = asyncio.get_running_loop()
        self._running: dict[asyncio.Task[None], int] = {}  # in the order they began, so that a run replays

    async def come(self, asks: Iterable[Ask]) -> None:
        """Sends each one off at its time; returns when the last one was."""
        for ask in asks:
            if (wait_s := ask.at_s - self._loop.time()) > 0:
                await asyncio.sleep(wait_s)
            task = self._loop.create_task(self._ask(ask), name=f"client {ask.n}")
            self._running[task] = ask.n
            task.add_done_callback(self._running.pop)
            if ask.leaves_s is not None:
                self._loop.call_later(ask.leaves_s, self._leave, task, ask.n)

    async def all_home(self) -> None:
        """Waits until nobody waits for an answer."""
        while self._running:
            await asyncio.wait(list(self._running))

    def all_cut(self) -> None:
        """Their connections are gone: nobody waits any more."""
        for task, n in list(self._running.items()):
            if n in self._stories.by_n:  # else it hasn't begun to ask
                self._leave(task, n)

    def _leave(self, task: asyncio.Task[None], n: int) -> None:
        if not task.done() and self._stories.by_n[n].gone_at is None:
            self._trace.tell(Gone(self._loop.time(), n))
            task.cancel()

    async def _ask(self, ask: Ask) -> None:
        wired, trace, loop, n = self._wired, self._trace, self._loop, ask.n
        call = wired.call(ask)
        total_s = wired.plan.route.total_s
        deadline = call.started_at + (total_s if ask.total_s is None else min(total_s, ask.total_s))
        trace.tell(Asked(loop.time(), n, ask.stream, deadline, ask.retry))
        exchange = wired.exchange(call)
        try:
            try:
                await exchange.open()
            except HoldfastError as error:
                trace.tell(Opened(loop.time(), n, error.status, error.label, error.retry_after_s))
                return
            trace.tell(Opened(loop.time(), n, 200))
            await self._read(ask, exchange)
        except asyncio.CancelledError:
            if self._stories.by_n[n].gone_at is None:
                trace.tell(Crashed(loop.time(), n, "cancelled, and its client hadn't left"))
        except Exception as error:  # noqa: BLE001  # a monitor's case, whatever it is
            trace.tell(Crashed(loop.time(), n, f"{type(error).__name__}: {error}"))
        finally:
            exchange.close()

    async def _read(self, ask: Ask, exchange: Exchange) -> None:
        trace, loop, n = self._trace, self._loop, ask.n
        story = self._stories.by_n[n]
        ear = Ear() if ask.stream else _PLAIN
        pause_s = ask.pause_s
        while True:
            story.reading_since = loop.time()
            data = await exchange.read()
            if (heard := ear.hear(loop.time(), n, data)) is not None:
                trace.tell(heard)
            if exchange.over:
                break
            if pause_s:
                await asyncio.sleep(pause_s)
                pause_s = 0.0
        trace.tell(Over(loop.time(), n))


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    index: int
    delta: _Delta
    finish_reason: str | None = None


class _Tokens(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int


class _Error(msgspec.Struct):
    message: str
    code: str | int | None = None


class _Chunk(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    choices: list[_Choice] = []
    usage: _Tokens | None = None
    error: _Error | None = None


class _Said(msgspec.Struct):
    content: str


class _PlainChoice(msgspec.Struct):
    message: _Said
    finish_reason: str | None


class _Answer(msgspec.Struct):
    choices: list[_PlainChoice]
    usage: _Tokens | None = None


_read_chunk = msgspec.json.Decoder(_Chunk).decode
_read_answer = msgspec.json.Decoder(_Answer).decode


class Ear:
    """Reads a stream piece by piece, as a client does: strictly, and without the product's own code."""

    def __init__(self) -> None:
        self._id: str | None = None
        self._model: str | None = None
        self._finished = False
        self._usages = 0

    def hear(self, at: float, n: int, data: bytes) -> Heard | None:
        """What came, or None where it was only comments."""
        *frames, rest = data.split(b"\n\n")
        wrong = f"half an event: {rest!r}" if rest else None
        text, ending, usage = [], None, None
        for frame in frames:
            if frame.startswith(b": "):
                continue
            if ending is not None:
                wrong = "something came after the ending"
            if frame == b"data: [DONE]":
                ending = "done"
                wrong = wrong or (None if self._finished else "an end marker without a finish reason")
                continue
            try:
                chunk = _read_chunk(frame.removeprefix(b"data: "))
            except msgspec.DecodeError as error:
                wrong = f"{frame!r}: {error}"
                continue
            if chunk.error is not None:
                ending = str(chunk.error.code or chunk.error.message)
                wrong = wrong or ("an error after a finish reason" if self._finished else None)
                continue
            wrong = wrong or self._constant(chunk)
            if chunk.usage is not None:
                usage = (chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
                self._usages += 1
                wrong = wrong or (None if self._usages == 1 else "usage for the second time")
            for choice in chunk.choices:
                if choice.delta.content:
                    text.append(choice.delta.content)
                    wrong = wrong or ("content after a finish reason" if self._finished else None)
                if choice.finish_reason is not None:
                    wrong = wrong or ("a second finish reason" if self._finished else None)
                    self._finished = True
        if not text and (ending, usage, wrong) == (None, None, None):
            return None
        return Heard(at, n, "".join(text), ending, usage, wrong)

    def _constant(self, chunk: _Chunk) -> str | None:
        if self._id is None:
            self._id, self._model = chunk.id, chunk.model
        if (chunk.id, chunk.model) != (self._id, self._model):
            return f"id or model changed from {self._id}, {self._model} to {chunk.id}, {chunk.model}"
        return None


class _PlainEar:
    """Reads a whole answer."""

    def hear(self, at: float, n: int, data: bytes) -> Heard | None:
        try:
            answer = _read_answer(data)
        except msgspec.DecodeError as error:
            return Heard(at, n, "", None, None, f"{data!r}: {error}")
        usage = None
        if answer.usage is not None:
            usage = (answer.usage.prompt_tokens, answer.usage.completion_tokens)
        choice = answer.choices[0]
        wrong = None if choice.finish_reason else "a whole answer without a finish reason"
        return Heard(at, n, choice.message.content, "done", usage, wrong)


_PLAIN = _PlainEar()
