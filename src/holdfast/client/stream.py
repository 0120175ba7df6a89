"""A streamed answer, as its caller iterates over it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Self

from holdfast.client.answer import StreamChunk, ToolCallPiece
from holdfast.dialects.neutral import read_events
from holdfast.errors import Abandoned
from holdfast.model import (
    BlockStarted,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    fold,
)
from holdfast.model import Reasoning as ReasoningPart
from holdfast.model import Refusal as RefusalPart
from holdfast.model import Text as TextPart

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from types import TracebackType

    from holdfast.client.answer import ChatAnswer
    from holdfast.client.running import Running
    from holdfast.model import Event

__all__ = ["ChatStream"]


class ChatStream:
    """An answer as it comes: iterate over its chunks.

    ::

        async for chunk in client.stream("Say hello."):
            print(chunk.text, end="")

    Nothing is sent before the first chunk is asked for. A stream that breaks raises, it never just ends. Leaving the loop
    early ends the call and settles it as soon as the stream is let go of; ``async with client.stream(…) as stream`` ends it
    with the block, whoever still holds it. One task at a time.
    """

    def __init__(self, begin: Callable[[], Awaitable[Running]]) -> None:
        self._begin = begin
        self._run: Running | None = None
        self._opened = False
        self._busy = False
        self._ready: deque[StreamChunk] = deque()
        self._chunks: _Chunks | None = None
        self._answer: ChatAnswer | None = None
        self._failure: BaseException | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamChunk:
        """The next chunk.

        Raises:
            HoldfastError: as :meth:`holdfast.Client.chat`, before the first chunk; later, that the answer broke off.
        """
        if not self._ready:
            await self._fill()
        if not self._ready:
            raise StopAsyncIteration
        return self._ready.popleft()

    async def __aenter__(self) -> Self:
        """Sends the request, and returns once there is content. Raises as :meth:`holdfast.Client.chat`."""
        await self._fill(opening=True)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        run: Running | None = getattr(self, "_run", None)
        if run is not None:
            run.abandon()

    async def answer(self) -> ChatAnswer:
        """The whole answer. Reads what is left of it; chunks that weren't iterated over are passed by.

        Raises:
            HoldfastError: the answer broke off.
        """
        while self._answer is None:
            self._ready.clear()
            await self._fill()
        return self._answer

    async def aclose(self) -> None:
        """Ends the call where it stands, and settles it. Idempotent; after the last chunk it does nothing."""
        if self._answer is None and self._failure is None:
            self._failure = Abandoned("this stream was closed before its end")
        self._ready.clear()
        if self._run is not None:
            self._run.stop(Abandoned("the caller closed the stream before the answer was complete"))

    async def _fill(self, *, opening: bool = False) -> None:
        """Waits for chunks, or for the end. With ``opening`` only until it is open."""
        if self._failure is not None:
            raise self._failure
        if self._answer is not None:
            return
        if self._busy:
            raise RuntimeError("another task is reading this stream")
        self._busy = True
        try:
            run = await self._open()
            while not opening and not self._ready and self._answer is None:
                await self._read(run)
        except BaseException as error:
            if self._failure is None:
                cut = Abandoned("reading this stream was cancelled before its end")
                self._failure = error if isinstance(error, Exception) else cut
            if self._run is not None:
                self._run.close()
            raise
        finally:
            self._busy = False

    async def _open(self) -> Running:
        run = self._run
        if run is None:
            run = self._run = await self._begin()
        if not self._opened:
            await run.open()
            self._opened = True
            self._chunks = _Chunks(*run.served_by)
        return run

    async def _read(self, run: Running) -> None:
        data = await run.read()
        chunks = self._chunks
        if chunks is None:
            raise RuntimeError("a stream is read before it is open")
        self._ready.extend(chunks.feed(read_events(data)))
        if not run.over:
            return
        run.close()
        if run.failure is not None:  # it comes alone: what was said before it was read before it
            raise run.failure
        answer = run.told(fold(chunks.events))
        self._ready.extend(chunks.last(answer))
        self._answer = answer


class _Chunks:
    """Events to chunks, one for each that says something. Provider and model are those that it began with."""

    def __init__(self, provider: str, model: str) -> None:
        self._provider = provider
        self._model = model
        self._count = 0
        self._calls: dict[tuple[int, int], int] = {}
        self.events: list[Event] = []

    def feed(self, events: list[Event]) -> Iterator[StreamChunk]:
        for event in events:
            self.events.append(event)
            match event:
                case TextDelta(text=text) if text:
                    yield self._chunk(event.choice, text=text)
                case ReasoningDelta(text=text) if text:
                    yield self._chunk(event.choice, reasoning=text)
                case RefusalDelta(text=text) if text:
                    yield self._chunk(event.choice, refusal=text)
                case ToolCallDelta():
                    piece = ToolCallPiece(
                        index=self._call(event.choice, event.key),
                        id=event.id,
                        name=event.name,
                        arguments=event.arguments,
                    )
                    yield self._chunk(event.choice, tool_calls=(piece,))
                case BlockStarted(part=part):
                    yield from self._begun(event, part)
                case _:
                    pass

    def last(self, answer: ChatAnswer) -> Iterator[StreamChunk]:
        """The chunks that end the choices: finish reasons were held back until the answer was known to be whole."""
        final = len(answer.choices) - 1
        for at, choice in enumerate(answer.choices):
            reason = None if choice.finish is None else choice.finish.reason
            usage = answer.usage if at == final else None
            yield self._chunk(choice.index, finish_reason=reason, usage=usage)

    def _begun(self, event: BlockStarted, part: object) -> Iterator[StreamChunk]:
        match part:
            case TextPart(text=text) if text:
                yield self._chunk(event.choice, text=text)
            case ReasoningPart(text=text) if text:
                yield self._chunk(event.choice, reasoning=text)
            case RefusalPart(text=text) if text:
                yield self._chunk(event.choice, refusal=text)
            case ToolCall():
                piece = ToolCallPiece(
                    index=self._call(event.choice, event.key),
                    id=part.id,
                    name=part.name,
                    arguments=part.arguments,
                )
                yield self._chunk(event.choice, tool_calls=(piece,))
            case _:
                pass

    def _call(self, choice: int, key: int) -> int:
        """Which tool call of its choice a block is."""
        known = self._calls.get((choice, key))
        if known is None:
            known = self._calls[choice, key] = sum(1 for other, _ in self._calls if other == choice)
        return known

    def _chunk(self, choice: int, **said: object) -> StreamChunk:
        index, self._count = self._count, self._count + 1
        return StreamChunk(index=index, choice=choice, model=self._model, provider=self._provider, **said)  # type: ignore[arg-type]  # each name has its type above
