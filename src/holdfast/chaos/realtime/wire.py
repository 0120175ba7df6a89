"""The wire of a session, as far as an attempt needs one: keys, ids and errors are OpenAI's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from holdfast.chaos.wire.base import Asked
from holdfast.chaos.wire.openai_chat import OpenAIChat, providers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from holdfast.chaos.answer import Answer
    from holdfast.chaos.draws import Draw
    from holdfast.chaos.http import Request
    from holdfast.chaos.plan import Part
    from holdfast.chaos.wire.base import Field, Place

__all__ = ["Greeting", "RealtimeWire"]


class RealtimeWire(OpenAIChat):
    """What a connection and its responses have in common. Each attempt has one of its own."""

    name = "openai_realtime"
    names: Mapping[Field, str] = {"id": "response_id", "model": "model", "answer": "response"}

    def __init__(self, key: bytes | None, asked: Asked, *, azure: bool) -> None:
        super().__init__(providers.AZURE if azure else providers.OPENAI)
        self._key = key
        self._asked = asked

    def key(self, request: Request) -> bytes | None:  # noqa: ARG002  # it was found at the handshake
        return self._key

    def read(self, request: Request, place: Place) -> Asked:  # noqa: ARG002  # a session knows what is asked
        return self._asked

    def answer_id(self, draw: Draw) -> str:
        return f"resp_{draw.hex('id', 21)}"

    def call_id(self, draw: Draw, purpose: str) -> str:
        return f"call_{draw.hex(purpose, 16)}"

    def end(self, asked: Asked) -> bytes:  # noqa: ARG002  # the protocol's
        return b""

    def less(self, value: Any, what: Literal["usage", "finish"]) -> None:
        response = value.get("response")
        if what == "usage" and isinstance(response, dict):
            response["usage"] = None


class Greeting(RealtimeWire):
    """A handshake: an attempt that says nothing. What may happen to it is to be refused."""

    def __init__(self, key: bytes | None, model: str, *, azure: bool) -> None:
        asked = Asked(model=model, stream=True, last_user_text="", prompt_tokens=0, sse=False)
        super().__init__(key, asked, azure=azure)

    def events(self, answer: Answer, asked: Asked) -> Iterator[Part]:  # noqa: ARG002  # the protocol's
        return iter(())
