"""The library's face: asking for answers, and asking who would give them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import warnings
from functools import partial
from typing import TYPE_CHECKING, Final, Self

import msgspec

from holdfast.app import App
from holdfast.client.conversation import checked_label, request_of
from holdfast.client.counting import counted
from holdfast.client.running import InProcess, Running
from holdfast.client.settings import config_of, names_ledger, prioritised, with_ledger
from holdfast.client.stream import ChatStream
from holdfast.clock import SystemClock, new_id, system_rng
from holdfast.config import CHAT
from holdfast.engine.call import Call, Limits
from holdfast.engine.route import Routes, fold
from holdfast.errors import Abandoned, ConfigError, InvalidRequest
from holdfast.ledger.memory import MemoryLedger
from holdfast.providers.catalog import PROVIDERS, in_order
from holdfast.providers.models import owner_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from types import TracebackType

    from holdfast.client.answer import ChatAnswer
    from holdfast.client.conversation import Messages, ResponseFormat, ToolChoices, Tools
    from holdfast.client.settings import Configuration
    from holdfast.clock import Clock, Rng
    from holdfast.ledger.base import Ledger
    from holdfast.model import Request
    from holdfast.providers.tokens import Count
    from holdfast.transport.base import Transport

__all__ = ["Client"]

_KEPT: Final = 1_000  # ended requests that a ledger in memory remembers
_MAX_TAGS: Final = 16


class Client:
    """Asks providers, with fallback, retries, time limits, cost and a ledger, as the gateway does.

    ::

        async with Client() as client:
            answer = await client.chat("Say hello.")
            print(answer.text)

    It opens what it needs at the first call, serves any number of tasks of one event loop, and is closed by
    ``async with`` or :meth:`aclose`.

    Args:
        config: a TOML file's path, such a file's content as a mapping, or a configuration that was read already. None:
            the providers are those whose keys are in the environment.
        env: the environment's variables; by default the process's, as they are now.
        keys: provider keys by provider name (``{"openai": "sk-…"}``), as if they stood in the environment.
        ledger: where calls are recorded. A path: in that SQLite file, into which no other process may be writing;
            ``":memory:"``: in memory, the last 1,000 calls of this client; None: where the configuration says, and in
            memory where it is neither a file nor has a ``[ledger]``. A ledger that is handed in is closed with the client.
        provider_priority: names of providers that go first in the built-in route ``chat``, in this order.
        transport, clock, rng: for tests: :mod:`holdfast.testing` has some without sockets and in virtual time.

    Raises:
        ConfigError: the configuration is wrong; ``problems`` lists everything at once.
    """

    def __init__(
        self,
        config: Configuration = None,
        *,
        env: Mapping[str, str] | None = None,
        keys: Mapping[str, str] | None = None,
        ledger: str | os.PathLike[str] | Ledger | None = None,
        provider_priority: Sequence[str] = (),
        transport: Transport | None = None,
        clock: Clock | None = None,
        rng: Rng | None = None,
    ) -> None:
        self._closed = False
        self._app: App | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting: asyncio.Task[App] | None = None
        self._stale: App | None = None
        self._running: set[Running] = set()
        self._quiet: asyncio.Event | None = None
        self._clock = clock if clock is not None else SystemClock()
        self._rng = rng if rng is not None else system_rng()
        self._transport = transport
        self._priority = tuple(provider_priority)
        settings = prioritised(config_of(config, env=env, keys=keys), self._priority)
        self._ledger: Ledger | None = None
        if ledger == ":memory:" or (ledger is None and not names_ledger(settings)):
            self._ledger = MemoryLedger(self._clock, keep=_KEPT)
        elif isinstance(ledger, str | os.PathLike):
            settings = with_ledger(settings, ledger)
        else:
            self._ledger = ledger
        self._config = settings
        self._routes = Routes(settings, owner=owner_of)

    # Asking for answers

    async def chat(
        self,
        messages: Messages,
        model: str = CHAT,
        *,
        tools: Tools | None = None,
        tool_choice: ToolChoices | None = None,
        parallel_tool_calls: bool | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        max_tokens: int | None = None,
        response_format: ResponseFormat | None = None,
        reasoning_effort: str | None = None,
        stop: str | Sequence[str] | None = None,
        seed: int | None = None,
        n: int | None = None,
        metadata: Mapping[str, str] | None = None,
        extra: Mapping[str, object] | None = None,
        tags: Mapping[str, str] | None = None,
        session: str | None = None,
        timeout: float | None = None,
    ) -> ChatAnswer:
        """Asks for a whole answer.

        Args:
            messages: a prompt, or a conversation: dicts as OpenAI has them, values of :mod:`holdfast.model`, or both.
            model: a route, ``provider/model``, or a model's name, without regard to case.
            tools, tool_choice, response_format: as OpenAI has them, or values of :mod:`holdfast.model`. They are said in the
                words of whichever provider is asked.
            max_tokens: the longest answer, in tokens.
            n: how many alternatives.
            metadata: labels that the provider keeps.
            extra: more parameters by OpenAI's names (``{"presence_penalty": 0.5}``).
            tags, session: for the ledger: each name and value 1 to 64 letters, digits and ``. : / _ -``, 16 tags at most.
            timeout: seconds for the whole call, over all attempts; the route's ``total_s`` bounds it too.

        Raises:
            Rejected: nothing was sent: :class:`~holdfast.errors.InvalidRequest`, which names the field;
                :class:`~holdfast.errors.UnknownModel`, with the nearest names;
                :class:`~holdfast.errors.CantExpress`, where no target can say what is asked;
                :class:`~holdfast.errors.LedgerUnavailable`.
            ProviderError: a provider refused what this caller asked.
            TargetsFailed: every target was tried; ``failures`` has what each of them said.
            ConfigError: no provider has a key.
        """
        request = request_of(
            messages,
            model,
            stream=False,
            parameters={
                "tools": tools,
                "tool_choice": tool_choice,
                "parallel_tool_calls": parallel_tool_calls,
                "temperature": temperature,
                "top_p": top_p,
                "max_completion_tokens": max_tokens,
                "response_format": response_format,
                "reasoning_effort": reasoning_effort,
                "stop": stop,
                "seed": seed,
                "n": n,
                "metadata": metadata,
            },
            extra=extra,
        )
        run = await self._begin(request, _Terms.of(tags, session, timeout))
        try:
            await run.open()
            body = await run.read()
        finally:
            run.close()
        if run.failure is not None:
            raise run.failure
        return run.told(InProcess.codec.decode_answer(body))

    def stream(
        self,
        messages: Messages,
        model: str = CHAT,
        *,
        tools: Tools | None = None,
        tool_choice: ToolChoices | None = None,
        parallel_tool_calls: bool | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        max_tokens: int | None = None,
        response_format: ResponseFormat | None = None,
        reasoning_effort: str | None = None,
        stop: str | Sequence[str] | None = None,
        seed: int | None = None,
        n: int | None = None,
        metadata: Mapping[str, str] | None = None,
        extra: Mapping[str, object] | None = None,
        tags: Mapping[str, str] | None = None,
        session: str | None = None,
        timeout: float | None = None,
    ) -> ChatStream:
        """Asks for an answer in pieces, as they come. Arguments as for :meth:`chat`.

        Nothing is sent before the first chunk is asked for, and what fails raises there. After that only a break of the
        answer itself raises: no other provider's text is ever mixed in.

        Raises:
            InvalidRequest: something isn't of the form that it must have; ``param`` says where.
        """
        request = request_of(
            messages,
            model,
            stream=True,
            parameters={
                "tools": tools,
                "tool_choice": tool_choice,
                "parallel_tool_calls": parallel_tool_calls,
                "temperature": temperature,
                "top_p": top_p,
                "max_completion_tokens": max_tokens,
                "response_format": response_format,
                "reasoning_effort": reasoning_effort,
                "stop": stop,
                "seed": seed,
                "n": n,
                "metadata": metadata,
            },
            extra=extra,
        )
        return ChatStream(partial(self._begin, request, _Terms.of(tags, session, timeout)))

    # Counting

    async def count_tokens(
        self,
        messages: Messages,
        model: str,
        *,
        tools: Tools | None = None,
        response_format: ResponseFormat | None = None,
    ) -> Count:
        """Counts tokens without asking anybody: no key, no connection, and nothing to pay.

        Args:
            messages: a text, of which the bare tokens are counted; or a conversation as for :meth:`chat`, of which all
                input is that its provider would bill, what it wraps messages in included.
            model: as for :meth:`chat`; of a route its first target. Names of models count without a key to them, too.
            tools, response_format: they are input as well; with them a text is a prompt.

        Returns:
            ``tokens``, the best guess; ``kind``, how it was come by (``exact``, ``reconstructed`` or ``calibrated``);
            ``upper``, the most that it can be, unless ``unseen``: then something is read that isn't here, such as a file
            by its id. ``int(count)`` is ``count.tokens``. Large texts are counted beside the event loop.

        Raises:
            InvalidRequest: something isn't of the form that it must have; ``param`` says where.
            UnknownModel: nothing here answers to that name, and no tokenizer is known for it.
        """
        return await counted(self._routes, messages, model, tools=tools, response_format=response_format)

    # Asking who would answer

    @property
    def provider_priority(self) -> tuple[str, ...]:
        """Every provider that is known here, with or without a key, in the order of the built-in route ``chat``."""
        rank = {fold(name): place for place, name in enumerate(self._priority)}
        names = in_order(provider.name for provider in self._config.providers.values())
        return tuple(sorted(names, key=lambda name: rank.get(fold(name), len(rank))))

    @property
    def fallback_chain(self) -> tuple[str, ...]:
        """The providers behind the route ``chat``, in the order in which they are tried; none where none has a key."""
        return self.get_fallback_chain(CHAT) if CHAT in self._config.routes else ()

    def get_fallback_chain(self, model: str = CHAT) -> tuple[str, ...]:
        """The providers that a request for ``model`` is tried at, in order, each once.

        Raises:
            UnknownModel: nothing here answers to that name.
        """
        targets = self._routes.resolve(model).targets
        return tuple(dict.fromkeys(target.provider for target in targets))

    def next_provider(self, failed: Collection[str], model: str = CHAT) -> str | None:
        """The first provider for ``model`` that isn't in ``failed``; None where all have failed.

        Raises:
            UnknownModel: nothing here answers to that name.
        """
        gone = {fold(name) for name in failed}
        chain = self.fallback_chain if model == CHAT else self.get_fallback_chain(model)
        return next((provider for provider in chain if fold(provider) not in gone), None)

    def provider_for(self, model: str) -> str:
        """The provider that is asked for ``model`` first.

        Raises:
            UnknownModel: nothing here answers to that name; the message has the nearest.
        """
        return self._routes.resolve(model).targets[0].provider

    def is_provider_configured(self, provider: str) -> bool:
        """Whether ``provider`` has the key that it needs."""
        found = self._config.providers.get(fold(provider))
        return found is not None and found.usable

    @property
    def models(self) -> tuple[str, ...]:
        """Names that can be asked for as they stand: routes and their targets. Others may be known to a provider."""
        return tuple(entry.id for entry in self._routes.models())

    # Life

    async def aclose(self) -> None:
        """Ends what still runs (its callers get :class:`~holdfast.errors.Abandoned`), writes the ledger down, and closes.

        Idempotent. Call it on the event loop that the client was used on.
        """
        self._closed = True
        self._settle_on(asyncio.get_running_loop())
        if self._starting is not None:
            await asyncio.wait({self._starting})
        for run in list(self._running):
            run.stop(Abandoned("the client was closed before the answer was complete"))
        if self._running:  # tasks that are waiting: each settles its call on its way out
            self._quiet = self._quiet or asyncio.Event()
            await self._quiet.wait()
        await self._close_stale()
        if self._app is not None:
            await self._app.aclose()
            self._app = None

    async def __aenter__(self) -> Self:
        """Opens the ledger, which otherwise the first call does. Raises LedgerUnavailable or ConfigError."""
        await self._started()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "idle" if self._app is None else "open"
        return f"<{type(self).__name__} {state}: {', '.join(self.fallback_chain) or 'no chat route'}>"

    def __del__(self) -> None:
        app: App | None = getattr(self, "_app", None)
        if app is None or self._closed:
            return
        warnings.warn(
            f"unclosed {self!r}: await its aclose(), or use `async with`",
            ResourceWarning,
            source=self,
            stacklevel=2,
        )
        if self._loop is not None:
            with contextlib.suppress(
                RuntimeError
            ):  # the loop is closed: the ledger's thread ends with the process
                self._loop.call_soon_threadsafe(_close_later, app)

    async def _started(self) -> App:
        if self._closed:
            raise RuntimeError("this Client is closed")
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._settle_on(loop)
        if self._app is not None:  # nearly always
            return self._app
        if self._starting is None:
            self._starting = loop.create_task(self._start())
            self._starting.add_done_callback(self._has_started)
        # Others wait for it as well: a caller that is cancelled leaves it running.
        app = await asyncio.shield(self._starting)
        if self._closed:
            raise RuntimeError("this Client is closed")
        return app

    async def _start(self) -> App:
        await self._close_stale()
        self._app = await App.start(
            self._config, clock=self._clock, rng=self._rng, transport=self._transport, ledger=self._ledger
        )
        return self._app

    def _has_started(self, starting: asyncio.Task[App]) -> None:
        if self._starting is starting:
            self._starting = None  # what failed is tried again by the next call
        if not starting.cancelled():
            starting.exception()  # raised to those who wait; there may be nobody left

    def _settle_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Makes ``loop`` ours. One that was closed under us (``asyncio.run`` for each call) leaves nothing to go on with."""
        if self._loop is loop:
            return
        if self._loop is not None and not self._loop.is_closed():
            raise RuntimeError(
                "this Client is used on another event loop: make one for each, or a SyncClient, which serves any thread"
            )
        self._loop = loop
        self._starting = None
        self._running.clear()
        if self._app is not None:
            self._stale, self._app = self._app, None

    async def _close_stale(self) -> None:
        """Ends what a closed loop left: the ledger, whose file is locked. Connections of a closed loop can't be ended any
        more; they go with their memory."""
        stale, self._stale = self._stale, None
        if stale is not None and stale.ledger is not self._ledger:
            await stale.ledger.aclose()

    async def _begin(self, request: Request, terms: _Terms) -> Running:
        """A call, ready to be opened."""
        started_at, started_ns = self._clock.monotonic(), self._clock.wall_ns()
        if not self._config.has_providers:
            raise ConfigError(f"no provider has a key: set one of {_key_names()} in the environment")
        resolved = self._routes.resolve(request.model)
        app = await self._started()
        dialect = InProcess()
        call = Call(
            id=new_id(self._clock, self._rng),
            dialect=dialect,
            envelope=dialect.read_request(dialect.codec.encode_request(request)),
            resolved=resolved,
            started_at=started_at,
            started_ns=started_ns,
            session=terms.session,
            tags=terms.tags,
            limits=terms.limits,
        )
        run = Running(app.engine.exchange(call), dialect, self._ended)
        self._running.add(run)
        return run

    def _ended(self, run: Running) -> None:
        self._running.discard(run)
        if self._quiet is not None and not self._running:
            self._quiet.set()


class _Terms(msgspec.Struct, frozen=True):
    """What a call is made under, beside what it asks."""

    tags: dict[str, str]
    session: str | None
    limits: Limits

    @classmethod
    def of(cls, tags: Mapping[str, str] | None, session: str | None, timeout: float | None) -> _Terms:
        """Raises InvalidRequest."""
        if tags is not None and len(tags) > _MAX_TAGS:
            raise InvalidRequest(f"tags holds {len(tags)} tags: {_MAX_TAGS} at most", param="tags")
        if timeout is not None and not timeout > 0:  # NaN neither
            raise InvalidRequest(
                f"timeout is {timeout}: it must be a number of seconds above 0", param="timeout"
            )
        return cls(
            tags={
                checked_label("tags", name): checked_label(f"tags[{name!r}]", value)
                for name, value in (tags or {}).items()
            },
            session=None if session is None else checked_label("session", session),
            limits=Limits(total_s=timeout),
        )


def _key_names() -> str:
    return ", ".join(name for row in PROVIDERS.values() for name in row.key_env[:1])


_CLOSING: set[asyncio.Task[None]] = set()  # a loop holds its tasks only weakly


def _close_later(app: App) -> None:
    task = asyncio.get_running_loop().create_task(app.aclose())
    _CLOSING.add(task)
    task.add_done_callback(_CLOSING.discard)
