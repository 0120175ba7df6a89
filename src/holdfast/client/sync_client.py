"""The client's synchronous twin. Written by ``python -m tools.make_sync``: change its original."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from holdfast.client.client import Client
from holdfast.client.portal import Portal
from holdfast.config import CHAT

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Mapping, Sequence
    from types import TracebackType

    from holdfast.client.answer import ChatAnswer, StreamChunk
    from holdfast.client.conversation import Messages, ResponseFormat, ToolChoices, Tools
    from holdfast.client.settings import Configuration
    from holdfast.client.stream import ChatStream
    from holdfast.clock import Clock, Rng
    from holdfast.ledger.base import Ledger
    from holdfast.providers.tokens import Count
    from holdfast.transport.base import Transport

__all__ = ["SyncChatStream", "SyncClient"]


class SyncClient:
    """Asks providers, with fallback, retries, time limits, cost and a ledger, as the gateway does.

    ::

        with SyncClient() as client:
            answer = client.chat("Say hello.")
            print(answer.text)

    It opens what it needs at the first call, serves any number of threads, and is closed by
    ``with`` or :meth:`close`.

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
        self._inner = Client(
            config,
            env=env,
            keys=keys,
            ledger=ledger,
            provider_priority=provider_priority,
            transport=transport,
            clock=clock,
            rng=rng,
        )
        self._portal = Portal(self._inner.aclose, "SyncClient")

    def chat(
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
        return self._portal.call(
            self._inner.chat,
            messages,
            model,
            tools=tools,
            tool_choice=tool_choice,
            parallel_tool_calls=parallel_tool_calls,
            temperature=temperature,
            top_p=top_p,
            max_tokens=max_tokens,
            response_format=response_format,
            reasoning_effort=reasoning_effort,
            stop=stop,
            seed=seed,
            n=n,
            metadata=metadata,
            extra=extra,
            tags=tags,
            session=session,
            timeout=timeout,
        )

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
    ) -> SyncChatStream:
        """Asks for an answer in pieces, as they come. Arguments as for :meth:`chat`.

        Nothing is sent before the first chunk is asked for, and what fails raises there. After that only a break of the
        answer itself raises: no other provider's text is ever mixed in.

        Raises:
            InvalidRequest: something isn't of the form that it must have; ``param`` says where.
        """
        return SyncChatStream(
            self._portal,
            self._inner.stream(
                messages,
                model,
                tools=tools,
                tool_choice=tool_choice,
                parallel_tool_calls=parallel_tool_calls,
                temperature=temperature,
                top_p=top_p,
                max_tokens=max_tokens,
                response_format=response_format,
                reasoning_effort=reasoning_effort,
                stop=stop,
                seed=seed,
                n=n,
                metadata=metadata,
                extra=extra,
                tags=tags,
                session=session,
                timeout=timeout,
            ),
        )

    def count_tokens(
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
        return self._portal.call(
            self._inner.count_tokens, messages, model, tools=tools, response_format=response_format
        )

    @property
    def provider_priority(self) -> tuple[str, ...]:
        """Every provider that is known here, with or without a key, in the order of the built-in route ``chat``."""
        return self._inner.provider_priority

    @property
    def fallback_chain(self) -> tuple[str, ...]:
        """The providers behind the route ``chat``, in the order in which they are tried; none where none has a key."""
        return self._inner.fallback_chain

    def get_fallback_chain(self, model: str = CHAT) -> tuple[str, ...]:
        """The providers that a request for ``model`` is tried at, in order, each once.

        Raises:
            UnknownModel: nothing here answers to that name.
        """
        return self._inner.get_fallback_chain(model)

    def next_provider(self, failed: Collection[str], model: str = CHAT) -> str | None:
        """The first provider for ``model`` that isn't in ``failed``; None where all have failed.

        Raises:
            UnknownModel: nothing here answers to that name.
        """
        return self._inner.next_provider(failed, model)

    def provider_for(self, model: str) -> str:
        """The provider that is asked for ``model`` first.

        Raises:
            UnknownModel: nothing here answers to that name; the message has the nearest.
        """
        return self._inner.provider_for(model)

    def is_provider_configured(self, provider: str) -> bool:
        """Whether ``provider`` has the key that it needs."""
        return self._inner.is_provider_configured(provider)

    @property
    def models(self) -> tuple[str, ...]:
        """Names that can be asked for as they stand: routes and their targets. Others may be known to a provider."""
        return self._inner.models

    def close(self) -> None:
        """Ends what still runs (its callers get :class:`~holdfast.errors.Abandoned`), writes the ledger down, and closes.

        Idempotent.
        """
        self._portal.close()

    def __enter__(self) -> Self:
        """Opens the ledger, which otherwise the first call does. Raises LedgerUnavailable or ConfigError."""
        self._portal.call(self._inner.__aenter__)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return repr(self._inner).replace("Client", "SyncClient", 1)


class SyncChatStream:
    """An answer as it comes: iterate over its chunks.

    ::

        for chunk in client.stream("Say hello."):
            print(chunk.text, end="")

    Nothing is sent before the first chunk is asked for. A stream that breaks raises, it never just ends. Leaving the loop
    early ends the call and settles it as soon as the stream is let go of; ``with client.stream(…) as stream`` ends it
    with the block, whoever still holds it. One thread at a time.
    """

    def __init__(self, portal: Portal, inner: ChatStream) -> None:
        self._portal = portal
        self._inner = inner

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> StreamChunk:
        """The next chunk.

        Raises:
            HoldfastError: as :meth:`holdfast.SyncClient.chat`, before the first chunk; later, that the answer broke off.
        """
        try:
            return self._portal.call(self._inner.__anext__)
        except StopAsyncIteration:
            raise StopIteration from None
        except Exception:
            raise
        except BaseException:
            self.close()  # interrupted: a chunk may be lost, so this stream can't go on
            raise

    def __enter__(self) -> Self:
        """Sends the request, and returns once there is content. Raises as :meth:`holdfast.SyncClient.chat`."""
        self._portal.call(self._inner.__aenter__)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def answer(self) -> ChatAnswer:
        """The whole answer. Reads what is left of it; chunks that weren't iterated over are passed by.

        Raises:
            HoldfastError: the answer broke off.
        """
        return self._portal.call(self._inner.answer)

    def close(self) -> None:
        """Ends the call where it stands, and settles it. Idempotent; after the last chunk it does nothing."""
        self._portal.call_if_open(self._inner.aclose)
