"""Requests of OpenAI's Responses API, and what it answers 400 to.

Prompt tokens follow the rule of all wires (see ``openai_chat/read.py``): instructions, messages and outputs of calls are
messages; calls and thoughts that come back cost nothing, other items cost as much as a part that is no text. What an
earlier answer holds isn't stored, so ``previous_response_id`` adds nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict

import msgspec

from holdfast.chaos.wire.base import TOOL_TOKENS, Asked
from holdfast.chaos.wire.openai_chat.read import decoded
from holdfast.chaos.wire.openai_responses import fields
from holdfast.chaos.wire.openai_responses.conversation import prompt_of
from holdfast.chaos.wire.openai_responses.tools import choice_of, tools_of

if TYPE_CHECKING:
    from holdfast.chaos.wire.openai_responses.flavours import Flavour

__all__ = ["Responding", "read"]

_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_SUMMARIES = ("auto", "concise", "detailed")
_VERBOSITIES = ("low", "medium", "high")
_FORMATS = ("text", "json_object", "json_schema")
_INCLUDABLE = (
    "code_interpreter_call.outputs", "computer_call_output.output.image_url", "file_search_call.results",
    "message.input_image.image_url", "message.output_text.logprobs", "reasoning.encrypted_content",
    "web_search_call.action.sources", "web_search_call.results",
)  # fmt: skip  # a list reads better packed
_TRUNCATIONS = ("auto", "disabled")
_ANY_OBJECT = {"type": "object", "properties": {"answer": {"type": "string"}}}
_LONGEST_MODEL = 512
_MOST_METADATA = 16
_decoder = msgspec.json.Decoder(dict[str, Any])


class Responding(Asked, frozen=True):
    echo: dict[str, Any] = msgspec.field(default_factory=dict)
    """What the answer repeats of the request."""
    stored: bool = True
    encrypted: bool = False
    """Whether thoughts come encrypted too."""


class _Thoughts(TypedDict):
    thinks: bool
    thoughts: Literal["shown", "hidden", "off"]


def read(body: bytes, model: str | None, flavour: Flavour) -> Responding:
    """What ``body`` asks for. Raises :class:`Refused`. ``model``: what the path says; it goes before the body's."""
    request = decoded(body, model, _decoder)
    if flavour.strict:
        fields.only(request)
    name = fields.required(request, "model")
    if not 0 < len(name) <= _LONGEST_MODEL:
        raise fields.refused("Invalid 'model': it names no model.", "model", "invalid_value")
    prompt = prompt_of(request, flavour, follows=_follows(request, flavour))
    tools, told_tools = tools_of(request)
    choice = choice_of(request, tools)
    format_ = _format(request, names_json=prompt.names_json)
    stored = _stored(request, flavour)
    limit = fields.whole(request, "max_output_tokens", flavour.least_output)
    parallel = fields.flag(request, "parallel_tool_calls") is not False
    echo = {
        **_plain_echo(request, flavour),
        "max_output_tokens": limit,
        "parallel_tool_calls": parallel,
        "reasoning": _reasoning(request, flavour),
        "store": stored,
        "text": _text(request, format_, flavour),
        "tool_choice": request.get("tool_choice") or "auto",
        "tools": told_tools,
    }
    return Responding(
        model=name,
        stream=_streams(request),
        last_user_text=prompt.last_user_text,
        prompt_tokens=prompt.tokens + TOOL_TOKENS * len(told_tools),
        limit=limit,
        tools=tools,
        tool_choice=choice.mode,
        tool_names=choice.names,
        parallel=parallel,
        schema=_schema(format_),
        **_thoughts(request, flavour),
        media=tuple(prompt.media),
        echo=echo,
        stored=stored,
        encrypted=_encrypted(request) and flavour.encrypts,
    )


def _streams(request: dict[str, Any]) -> bool:
    stream = bool(fields.flag(request, "stream"))
    if not stream and fields.table(request, "stream_options"):
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise fields.refused(message, "stream_options")
    return stream


def _follows(request: dict[str, Any], flavour: Flavour) -> bool:
    """Whether it goes on from an earlier answer. Only answers of chaos itself can be that; conversations none has."""
    before = fields.text(request, "previous_response_id")
    conversation = request.get("conversation")
    if conversation is not None:
        if before is not None:
            message = (
                "Mutually exclusive parameters: Ensure you are only providing one of: 'previous_response_id' or "
                "'conversation'."
            )
            raise fields.refused(message, None, "mutually_exclusive_parameters")
        if not isinstance(conversation, str):
            conversation = fields.required(fields.table(request, "conversation"), "id", "conversation.")
        raise fields.refused(f"Conversation with id '{conversation}' not found.", None, status=404)
    if before is not None and not flavour.knows(before):
        message = f"Previous response with id '{before}' not found."
        raise fields.refused(message, "previous_response_id", "previous_response_not_found")
    if request.get("input") in (None, []) and before is None and not fields.table(request, "prompt"):
        message = "One of 'input' or 'previous_response_id' or 'prompt' or 'conversation' must be provided."
        raise fields.refused(message, "input", "missing_required_parameter")
    return before is not None


def _format(request: dict[str, Any], *, names_json: bool) -> dict[str, Any]:
    """``text.format``, as an answer repeats it."""
    text = fields.table(request, "text")
    given = fields.table(text, "format", "text.")
    if not given:
        return {"type": "text"}
    kind = fields.one_of(given, "type", "text.format.", _FORMATS)
    if kind is None:
        raise fields.missing("text.format.type")
    if kind == "json_object" and not names_json:
        message = (
            "Response input messages must contain the word 'json' in some form to use 'text.format' of type "
            "'json_object'."
        )
        raise fields.refused(message, "input")
    if kind != "json_schema":
        return {"type": kind}
    fields.required(given, "name", "text.format.")
    fields.table(given, "schema", "text.format.", required=True)
    fields.flag(given, "strict", "text.format.")
    return {"description": None, "strict": False, **given}


def _schema(format_: dict[str, Any]) -> Any:
    match format_["type"]:
        case "json_schema":
            return format_["schema"]
        case "json_object":
            return _ANY_OBJECT
    return None


def _text(request: dict[str, Any], format_: dict[str, Any], flavour: Flavour) -> dict[str, Any]:
    """``text``, as an answer repeats it."""
    given = fields.one_of(fields.table(request, "text"), "verbosity", "text.", _VERBOSITIES)
    return {"format": format_, **flavour.text, **({} if given is None else {"verbosity": given})}


def _reasoning(request: dict[str, Any], flavour: Flavour) -> dict[str, Any]:
    """``reasoning``, as an answer repeats it."""
    given = fields.table(request, "reasoning")
    fields.one_of(given, "effort", "reasoning.", _EFFORTS)
    fields.one_of(given, "summary", "reasoning.", _SUMMARIES)
    return {**flavour.reasoning, **{name: value for name, value in given.items() if value is not None}}


def _thoughts(request: dict[str, Any], flavour: Flavour) -> _Thoughts:
    given = fields.table(request, "reasoning")
    effort, summary = given.get("effort"), given.get("summary")
    told = summary is not None or flavour.always_tells
    return {
        "thinks": effort not in (None, "none") or summary is not None,
        "thoughts": "off" if effort == "none" else "shown" if told else "hidden",
    }


def _stored(request: dict[str, Any], flavour: Flavour) -> bool:
    return fields.flag(request, "store") is not False and flavour.stores


def _encrypted(request: dict[str, Any]) -> bool:
    include = fields.texts(request, "include")
    for i, name in enumerate(include):
        if name not in _INCLUDABLE:
            raise fields.unsupported(f"include[{i}]", name, _INCLUDABLE)
    return "reasoning.encrypted_content" in include


def _plain_echo(request: dict[str, Any], flavour: Flavour) -> dict[str, Any]:
    """Fields that are checked and repeated, and mean nothing more."""
    temperature = fields.decimal(request, "temperature", 2)
    top_p = fields.decimal(request, "top_p", 1)
    tier = fields.text(request, "service_tier")
    return {
        "background": bool(fields.flag(request, "background")),
        "frequency_penalty": 0.0,
        "instructions": fields.text(request, "instructions"),
        "max_tool_calls": fields.whole(request, "max_tool_calls", 1),
        "presence_penalty": 0.0,
        "previous_response_id": fields.text(request, "previous_response_id"),
        "prompt_cache_key": fields.text(request, "prompt_cache_key"),
        "prompt_cache_retention": fields.text(request, "prompt_cache_retention") or flavour.retention,
        "safety_identifier": fields.text(request, "safety_identifier"),
        "service_tier": "default" if tier in (None, "auto") else tier,
        "temperature": 1.0 if temperature is None else temperature,
        "top_logprobs": fields.whole(request, "top_logprobs", 0, 20) or 0,
        "top_p": 1.0 if top_p is None else top_p,
        "truncation": fields.one_of(request, "truncation", "", _TRUNCATIONS) or "disabled",
        "user": fields.text(request, "user"),
        "metadata": _metadata(request),
    }


def _metadata(request: dict[str, Any]) -> dict[str, str]:
    given = fields.table(request, "metadata")
    if len(given) > _MOST_METADATA:
        message = (
            f"Invalid 'metadata': too many properties. Expected an object with at most {_MOST_METADATA} properties, but "
            f"got an object with {len(given)} properties instead."
        )
        raise fields.refused(message, "metadata", "object_above_max_properties")
    return {name: fields.required(given, name, "metadata.") for name in given}
