"""Reading and patching requests: types are checked in either spelling, bytes are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from holdfast.dialects.base import Envelope
from holdfast.dialects.gemini.config import CONFIG, amount_of
from holdfast.dialects.gemini.sealed import SEALED, without_seals
from holdfast.dialects.gemini.spelt import snake
from holdfast.dialects.openai_chat.envelope import invalid
from holdfast.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["read_request", "write_request"]


def _object(kind: str, /, **types: Any) -> Any:
    """A JSON object whose fields may be left out or null, and stand there in either spelling."""
    fields: list[tuple[str, Any, None]] = []
    for field, type_ in types.items():
        fields += [(each, type_ | None, None) for each in dict.fromkeys((field, snake(field)))]
    return msgspec.defstruct(kind, fields, gc=False)


def _one_or_more(type_: Any) -> Any:
    return list[type_] | type_


class _Function(msgspec.Struct, gc=False):
    name: str


_OBJECT: Final = dict[str, Any]
_Blob = _object("_Blob", data=str, mimeType=str)
_FileData = _object("_FileData", fileUri=str, mimeType=str)
_Call = _object("_Call", name=str, args=_OBJECT, id=str)
_Response = _object("_Response", name=str, response=_OBJECT, id=str)
_Part = _object(
    "_Part",
    text=str,
    thought=bool,
    thoughtSignature=str,
    inlineData=_Blob,
    fileData=_FileData,
    functionCall=_Call,
    functionResponse=_Response,
)
_Content = _object("_Content", role=str, parts=_one_or_more(_Part))
_Tool = _object("_Tool", functionDeclarations=_one_or_more(_Function))
_Config = _object(
    "_Config",
    candidateCount=int,
    maxOutputTokens=int,
    temperature=float,
    topP=float,
    topK=float,
    seed=int,
    stopSequences=list[str],
)
_Request = _object(
    "_Request",
    contents=_one_or_more(_Content),
    systemInstruction=_Content,
    tools=_one_or_more(_Tool),
    toolConfig=_OBJECT,
    generationConfig=_Config,
    model=str,
)
"""The types that Google would refuse anyway: refusing here costs nobody an attempt. Ranges are Google's."""

_typed: Callable[[bytes], Any] = msgspec.json.Decoder(_Request).decode
_raw_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode
_NONE: Final = _Config()
_MOST_CANDIDATES: Final = 128

_PLACES: Final[Mapping[str, str]] = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "seed": "seed",
    "n": "candidateCount",
    "stop": "stopSequences",
    "max_tokens": "maxOutputTokens",
    "max_completion_tokens": "maxOutputTokens",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
    "logprobs": "responseLogprobs",
    "top_logprobs": "logprobs",
}
"""OpenAI's names in ``generationConfig``."""


def read_request(body: bytes) -> Envelope:
    """The envelope of a request body. Its model, and whether it streams, stand in the URL.

    Raises:
        InvalidRequest: not UTF-8, not JSON, nested too deep, or a field of the wrong type; ``param`` names it.
    """
    try:
        if not body.isascii():
            body.decode()
        wire = _typed(body)
        fields = _raw_fields(body)
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            f"the body is not valid UTF-8: byte {body[error.start]:#04x} at offset {error.start}"
        ) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise invalid(error) from None
    if not wire.contents:
        raise InvalidRequest("`contents` is missing: a request needs at least one content", param="contents")
    config = wire.generationConfig or wire.generation_config or _NONE
    choices = _first(config.candidateCount, config.candidate_count)
    if choices is not None and not 1 <= choices <= _MOST_CANDIDATES:
        raise InvalidRequest(
            f"`{CONFIG}.candidateCount` is {choices}: it must be between 1 and {_MOST_CANDIDATES}",
            param=f"{CONFIG}.candidateCount",
        )
    return Envelope(
        model="",
        choices=choices or 1,
        wants_usage=True,
        max_output_tokens=_first(config.maxOutputTokens, config.max_output_tokens),
        size=len(body),
        fields=fields,
    )


def write_request(envelope: Envelope, *, model: str, overrides: Mapping[str, Any]) -> bytes:
    """The body for a target: the caller's own bytes field by field, with the route's changes.

    The model stands in the URL, so a caller's own word for it goes. Signatures of other providers, from turns that they
    served, go as well: Google refuses them.
    """
    fields = dict(envelope.fields)
    fields.pop("model", None)
    contents = fields.get("contents")
    if contents is not None and SEALED in bytes(contents):
        fields["contents"] = msgspec.Raw(without_seals(bytes(contents)))
    config = {_PLACES[name]: value for name, value in overrides.items() if name in _PLACES}
    if isinstance(stop := config.get("stopSequences"), str):
        config["stopSequences"] = [stop]
    for name, value in overrides.items():
        if name not in _PLACES and name != "reasoning_effort":
            fields[name] = msgspec.Raw(_encode(value))
    if isinstance(effort := overrides.get("reasoning_effort"), str):
        config["thinkingConfig"] = amount_of(effort, model)
    if config:
        _configure(fields, config)
    return _encode(fields)


def _configure(fields: dict[str, msgspec.Raw], config: Mapping[str, Any]) -> None:
    """Puts ``config`` into the request's own, in whose spelling it came. What both say, ``config`` says."""
    place = snake(CONFIG) if CONFIG not in fields and snake(CONFIG) in fields else CONFIG
    raw = fields.get(place)
    asked = _raw_fields(raw) if raw is not None and bytes(raw) != b"null" else {}
    for name, value in config.items():
        asked.pop(snake(name), None)
        before = asked.get(name)
        if isinstance(value, dict) and before is not None and bytes(before) != b"null":
            both = {**_raw_fields(before), **{key: msgspec.Raw(_encode(each)) for key, each in value.items()}}
            asked[name] = msgspec.Raw(_encode(both))
        else:
            asked[name] = msgspec.Raw(_encode(value))
    fields[place] = msgspec.Raw(_encode(asked))


def _first(camel: int | None, snaked: int | None) -> int | None:
    return camel if camel is not None else snaked
