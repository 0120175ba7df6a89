"""Tokens of a text or of a conversation, counted here: nothing is sent, and no key is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.client.conversation import request_of
from holdfast.errors import UnknownModel
from holdfast.providers.tokens import count_request_async, count_text_async, counter_for
from holdfast.providers.tokens.other import FAMILY as OTHERS

if TYPE_CHECKING:
    from holdfast.client.conversation import Messages, ResponseFormat, Tools
    from holdfast.engine.route import Routes
    from holdfast.providers.tokens import Count

__all__ = ["counted"]


async def counted(
    routes: Routes,
    messages: Messages,
    model: str,
    *,
    tools: Tools | None,
    response_format: ResponseFormat | None,
) -> Count:
    """As :meth:`holdfast.Client.count_tokens` says; ``routes`` tell who is meant by ``model``.

    Raises:
        InvalidRequest: something isn't of the form that it must have.
        UnknownModel: nobody here answers to that name, and no tokenizer is known for it.
    """
    provider: str | None = None
    try:
        target = routes.resolve(model).targets[0]
    except UnknownModel:
        if counter_for(model) is OTHERS.counter(model):
            raise
    else:
        model, provider = target.model, target.provider
    if isinstance(messages, str) and tools is None and response_format is None:
        return await count_text_async(messages, model, provider)
    request = request_of(
        messages,
        model,
        stream=False,
        parameters={"tools": tools, "response_format": response_format},
        extra=None,
    )
    return await count_request_async(request, model, provider)
