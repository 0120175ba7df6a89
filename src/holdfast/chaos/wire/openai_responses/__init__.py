"""OpenAI's Responses API, the provider's side; Azure, OpenRouter and DeepSeek speak it too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from holdfast.chaos.wire.openai_chat import providers
from holdfast.chaos.wire.openai_chat.wire import OpenAIWire
from holdfast.chaos.wire.openai_responses import failing, flavours, write
from holdfast.chaos.wire.openai_responses.read import Responding, read

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from holdfast.chaos.answer import Answer
    from holdfast.chaos.draws import Draw
    from holdfast.chaos.http import Request
    from holdfast.chaos.plan import Part
    from holdfast.chaos.wire.base import Asked, Field, Place
    from holdfast.chaos.wire.errors import ErrorAnswer, Problem
    from holdfast.chaos.wire.openai_chat.providers import Provider
    from holdfast.chaos.wire.openai_responses.flavours import Flavour

__all__ = ["OpenAIResponses"]

_PARAMS = {"messages": "input", "response_format": "text.format.schema"}
"""What Chat Completions calls otherwise."""
_WORDS = {
    "context_length_exceeded": (
        400,
        "Your input exceeds the context window of this model. Please adjust your input and try again.",
        "input",
    ),
    "model_not_found": (400, "The requested model '{model}' does not exist.", "model"),
}
"""What is told otherwise than there: status, message and field."""


class OpenAIResponses(OpenAIWire):
    """See :class:`holdfast.chaos.wire.base.Wire`. Of a stream's events, the first and the last tell id and model."""

    name = "openai_responses"
    names: Mapping[Field, str] = {"id": "id", "model": "model", "answer": "output"}

    def __init__(self, provider: Provider = providers.OPENAI, flavour: Flavour = flavours.OPENAI) -> None:
        super().__init__(provider)
        self._flavour = flavour

    def read(self, request: Request, place: Place) -> Responding:
        return read(request.body, place.model, self._flavour)

    def answer_id(self, draw: Draw) -> str:
        return self._flavour.answer_id(draw)

    def call_id(self, draw: Draw, purpose: str) -> str:
        return f"call_{draw.hex(purpose, 24)}"

    def plain(self, answer: Answer, asked: Asked) -> Part:
        return write.plain(answer, _responding(asked), self._flavour)

    def events(self, answer: Answer, asked: Asked) -> Iterator[Part]:
        return write.events(answer, _responding(asked), self._flavour)

    def opening(self, answer: Answer, asked: Asked) -> Part:
        return next(self.events(answer, asked))

    def framed(self, parts: Iterable[Part], asked: Asked) -> Iterable[Part]:  # noqa: ARG002  # the protocol's
        return failing.placed(parts)

    def end(self, asked: Asked) -> bytes:  # noqa: ARG002  # the protocol's
        return b""

    def less(self, value: Any, what: Literal["usage", "finish"]) -> None:
        response = value.get("response", value)
        if what == "usage" and response.get("usage") is not None:
            del response["usage"]
        if what == "finish" and "status" in response:
            response["status"] = response["incomplete_details"] = None

    def count(self, asked: Asked) -> bytes:
        return msgspec.json.encode({"object": "response.input_tokens", "input_tokens": asked.prompt_tokens})

    def error(self, problem: Problem, model: str, request_id: str) -> ErrorAnswer:
        if problem.name in _WORDS:
            status, message, param = _WORDS[problem.name]
            message = problem.message or message
            status = problem.status or status
            problem = msgspec.structs.replace(problem, status=status, message=message, param=param)
        elif problem.param in _PARAMS:
            problem = msgspec.structs.replace(problem, param=_PARAMS[problem.param])
        error = super().error(problem, model, request_id)
        if problem.status == 404 and problem.message is not None:  # what isn't there needn't be a model
            error.value["error"]["code"] = problem.code
        return error

    def error_event(self, error: ErrorAnswer, asked: Asked) -> bytes:  # noqa: ARG002  # the protocol's
        return failing.unplaced(error)


def _responding(asked: Asked) -> Responding:
    assert isinstance(asked, Responding)  # noqa: S101  # it is what read returned
    return asked
