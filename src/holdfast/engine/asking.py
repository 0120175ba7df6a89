"""What one target is sent: the caller's request in that target's dialect, or the reason why it can't be said there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import replace

from holdfast.dialects.signatures import MARKS
from holdfast.dialects.writing import Drops
from holdfast.engine.lane import codec_of
from holdfast.errors import CantExpress
from holdfast.model import Audio, File, Image, ToolResult, Video
from holdfast.providers.models import max_output

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from holdfast.dialects.base import Dialect, Envelope
    from holdfast.engine.endpoint import Endpoint
    from holdfast.engine.policy import Target
    from holdfast.model import Part, Request

__all__ = ["Asked", "Wording", "refused_by_all"]

_OUTPUT_LIMIT: Final = 4_096
"""Tokens. For a provider that wants a limit and a model of which we don't know the largest: every model in use can do it."""

_OUTPUT_LIMITS: Final = ("max_completion_tokens", "max_tokens")
"""Names of the output limit in the dialect in which providers differ about it."""

_MEDIA: Final[Mapping[str, type]] = {"image": Image, "audio": Audio, "file": File, "video": Video}


class Wording(msgspec.Struct, frozen=True):
    """A body to send, and the names of the fields that were left out of it with the route's permission."""

    body: bytes
    dropped: tuple[str, ...] = ()


class Asked:
    """One request, worded for each target that it is tried at. What is the same for all of them is worked out once.

    Args:
        dialect: the caller's.
        envelope: the request, with the output limit that the route set.
        permitted: names of fields that may be left out where a target can't say them.
    """

    __slots__ = ("_dialect", "_envelope", "_foreign", "_permitted", "_request")

    def __init__(self, dialect: Dialect, envelope: Envelope, *, permitted: Iterable[str]) -> None:
        self._dialect = dialect
        self._envelope = envelope
        self._permitted = permitted
        self._request: Request | None = None
        self._foreign: bool | None = None

    def word(self, endpoint: Endpoint, target: Target, overrides: Mapping[str, Any]) -> Wording:
        """The body for ``target``.

        Raises:
            CantExpress: the target can't say something that may not be left out; ``param`` is where the caller wrote it.
            InvalidRequest: the caller's dialect was read loosely, and a closer look shows a fault.
        """
        dialect = endpoint.dialect
        native = dialect.name == self._dialect.name
        foreign = native and dialect.codec is not None and self._has_foreign_signatures()
        if native and not endpoint.unsupported and not foreign:  # nearly always
            return Wording(self._write(endpoint, self._envelope, target, overrides))
        if not native and (dialect.codec is None or self._dialect.codec is None):
            raise CantExpress(
                f"{target} doesn't speak {self._dialect.name}, which can't be translated", param="model"
            )
        drops = Drops(self._permitted)
        try:
            as_it_came = native and not foreign
            envelope = self._envelope if as_it_came else self._translated(dialect, target.model, drops)
            envelope = self._without(_spelt(envelope, endpoint, as_it_came), endpoint, drops)
        except CantExpress as error:
            where = self._locate(error.param or "")
            raise CantExpress(
                f"{_shown(where, error.field)} can't be said to {target}", param=where, field=error.field
            ) from None
        return Wording(self._write(endpoint, envelope, target, overrides), drops.dropped)

    def _has_foreign_signatures(self) -> bool:
        """An earlier turn was another provider's, and carries its signature: this one would refuse it."""
        foreign = self._foreign
        if foreign is None:
            foreign = self._foreign = any(
                mark in bytes(raw) for raw in self._envelope.fields.values() for mark in MARKS
            )
        return foreign

    def _write(
        self, endpoint: Endpoint, envelope: Envelope, target: Target, overrides: Mapping[str, Any]
    ) -> bytes:
        dialect = endpoint.dialect
        if (
            dialect.needs_output_limit
            and envelope.max_output_tokens is None
            and endpoint.max_tokens_field not in overrides
            and not endpoint.limitless
        ):
            limit = max_output(target.model) or _OUTPUT_LIMIT
            overrides = {endpoint.max_tokens_field: limit, **overrides}
        return dialect.write_request(envelope, model=target.model, overrides=overrides)

    def _translated(self, dialect: Dialect, model: str, drops: Drops) -> Envelope:
        request = replace(
            self._neutral(), model=model, stream=self._envelope.stream or None, include_usage=None
        )
        return dialect.read_request(codec_of(dialect).encode_request(request, drops))

    def neutral(self) -> Request | None:
        """The request in the neutral model; None where its dialect is only passed through.

        Raises:
            InvalidRequest: the caller's dialect was read loosely, and a closer look shows a fault.
        """
        return None if self._dialect.codec is None else self._neutral()

    def _neutral(self) -> Request:
        request = self._request
        if request is None:
            fields = {
                **self._envelope.fields,
                "model": _encode(self._envelope.model),
            }
            request = codec_of(self._dialect).decode_request(msgspec.json.encode(fields))
            if request.max_output_tokens is None and self._envelope.max_output_tokens is not None:
                request = replace(request, max_output_tokens=self._envelope.max_output_tokens)
            self._request = request
        return request

    def _without(self, envelope: Envelope, endpoint: Endpoint, drops: Drops) -> Envelope:
        """``envelope`` less what its dialect could say but this provider doesn't take."""
        fields = envelope.fields
        for name in endpoint.unsupported:
            kind = _MEDIA.get(name)
            if kind is not None:
                if self._dialect.codec is not None and (path := self._media(kind, name)) is not None:
                    raise CantExpress(f"{path} can't be said", param=path, field=name)
            elif name in fields and bytes(fields[name]) not in (b"null", b"[]", b"{}"):
                if not drops.permit(name):
                    raise CantExpress(f"{name} can't be said", param=name, field=name)
                fields = {other: value for other, value in fields.items() if other != name}
        return envelope if fields is envelope.fields else replace(envelope, fields=fields)

    def _media(self, kind: type, name: str) -> str | None:
        """Where the request's first part of that kind stands in the neutral model."""
        if self._request is None and not any(
            name.encode() in bytes(raw) for raw in self._envelope.fields.values()
        ):
            return None  # a request without the word has no such part: no need to read it whole
        for at, message in enumerate(self._neutral().messages):
            for within, part in enumerate(message.parts):
                if any(isinstance(each, kind) for each in _nested(part)):
                    return f"messages[{at}].parts[{within}]"
        return None

    def _locate(self, path: str) -> str:
        codec, request = self._dialect.codec, self._request
        return path if codec is None or request is None else codec.locate(request, path)


def refused_by_all(refusals: list[tuple[Target, CantExpress]]) -> CantExpress:
    """The one answer where no target can say the request: what it was, and who refused it."""
    first = refusals[0][1]
    if len(refusals) == 1:
        return first
    said = "; ".join(f"{target}: {_shown(error.param or '', error.field)}" for target, error in refusals)
    return CantExpress(f"no target can say this request: {said}", param=first.param, field=first.field)


def _shown(where: str, field: str | None) -> str:
    """``messages[2].content[0] (image.file_id)``"""
    if not field or where.endswith(field):
        return where
    return f"{where} ({field})" if where else field


def _spelt(envelope: Envelope, endpoint: Endpoint, as_it_came: bool) -> Envelope:
    """With the output limit under this provider's own name for it, where another one was written and isn't known there."""
    fields, own = envelope.fields, endpoint.max_tokens_field
    if endpoint.dialect.output_limit is not None:
        return envelope
    others = [
        name
        for name in _OUTPUT_LIMITS
        if name in fields and name != own and (not as_it_came or name in endpoint.unsupported)
    ]
    if not others:
        return envelope
    kept = {name: value for name, value in fields.items() if name not in others}
    return replace(envelope, fields={**kept, own: _encode(envelope.max_output_tokens)})


def _encode(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def _nested(part: Part) -> Iterator[object]:
    yield part
    if isinstance(part, ToolResult):
        yield from part.parts
