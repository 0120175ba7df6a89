"""What the wires of OpenAI's endpoints share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from holdfast.chaos.wire.openai_chat import providers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from holdfast.chaos.http import Request
    from holdfast.chaos.plan import Part
    from holdfast.chaos.quota import Quota
    from holdfast.chaos.wire.base import Asked, Field
    from holdfast.chaos.wire.errors import ErrorAnswer, Problem
    from holdfast.chaos.wire.openai_chat.providers import Provider

__all__ = ["OpenAIWire"]


class OpenAIWire:
    """A part of :class:`holdfast.chaos.wire.base.Wire`."""

    json_type = "application/json"
    names: Mapping[Field, str] = {"id": "id", "model": "model", "answer": "choices"}
    repeats_names = True

    def __init__(self, provider: Provider = providers.OPENAI) -> None:
        self._provider = provider

    def key(self, request: Request) -> bytes | None:
        return self._provider.key(request)

    def framed(self, parts: Iterable[Part], asked: Asked) -> Iterable[Part]:  # noqa: ARG002  # the protocol's
        return parts

    def content_type(self, asked: Asked) -> str:
        return "text/event-stream; charset=utf-8" if asked.stream else self.json_type

    def headers(self, asked: Asked, request_id: str, quota: Quota) -> dict[str, str]:  # noqa: ARG002  # the protocol's
        return self._provider.headers(request_id, quota)

    def count(self, asked: Asked) -> bytes:
        raise NotImplementedError("none of these has such an endpoint")  # pragma: no cover

    def models(self, names: Sequence[str], request: Request) -> bytes:  # noqa: ARG002  # it has no pages
        return msgspec.json.encode(self._provider.models([self._provider.model(name) for name in names]))

    def model(self, name: str) -> bytes:
        return msgspec.json.encode(self._provider.one_model(name))

    def error(self, problem: Problem, model: str, request_id: str) -> ErrorAnswer:
        return self._provider.error(problem, model, request_id)

    def error_event(self, error: ErrorAnswer, asked: Asked) -> bytes:  # noqa: ARG002  # the protocol's
        return b"data: " + error.body + b"\n\n"
