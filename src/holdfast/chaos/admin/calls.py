"""What endpoints have in common: a row of a table each, their arguments, and errors that name what would be right."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import parse_qsl

import msgspec

from holdfast.chaos.errors import nearest
from holdfast.chaos.plan import Reply, whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.chaos.config import ChaosConfig
    from holdfast.chaos.http import Request
    from holdfast.chaos.journal import Journal

__all__ = ["BadCall", "Call", "Endpoint", "Server", "problem"]


class BadCall(Exception):
    """The caller's mistake."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class Server(Protocol):
    """What is administered."""

    @property
    def config(self) -> ChaosConfig: ...
    @property
    def journal(self) -> Journal: ...
    @property
    def now(self) -> float: ...
    def set_scripts(self, sources: dict[str, Any]) -> None: ...
    def reconfigure(self, config: ChaosConfig) -> None: ...
    async def advance(self, seconds: float) -> int: ...
    def reset(self, *, journal: bool = True, counts: bool = True) -> None: ...


class Endpoint(NamedTuple):
    """A row of the table."""

    method: str
    path: str
    """May hold ``{number}``."""
    answer: Callable[[Server, Call], Any]
    """Returns a :class:`Reply`, or what is to be sent as JSON."""
    summary: str
    arguments: tuple[str, ...] = ()
    """The query parameters that it knows."""
    open: bool = False
    """Whether it asks for no token."""

    def at(self, path: str) -> re.Match[str] | None:
        """Whether it is the one at ``path``."""
        return re.fullmatch(self.path.replace("{number}", r"(?P<number>[0-9]{1,18})"), path)


class Call:
    """One request to an endpoint."""

    def __init__(self, request: Request, endpoint: Endpoint, match: re.Match[str]) -> None:
        """Raises :class:`BadCall` for a query parameter that the endpoint doesn't know, or that is there twice."""
        self.request = request
        self.arguments: dict[str, str] = {}
        self._match = match
        for name, value in parse_qsl(request.query, keep_blank_values=True, errors="surrogateescape"):
            if name not in endpoint.arguments:
                known = nearest(name, endpoint.arguments) if endpoint.arguments else "it takes none"
                raise BadCall(f"{endpoint.path} knows no query parameter {name!r}: {known}")
            if name in self.arguments:
                raise BadCall(f"the query parameter {name!r} is there twice")
            self.arguments[name] = value

    @property
    def number(self) -> int:
        """What stands at ``{number}``."""
        return int(self._match["number"])

    def whole_number(self, name: str, least: int = 0) -> int | None:
        """The argument's value; None: it isn't there."""
        if (text := self.arguments.get(name)) is None:
            return None
        if not (text.isascii() and text.isdigit() and len(text) <= 18) or int(text) < least:
            raise BadCall(f"{name}={text!r} is no whole number from {least} on")
        return int(text)

    def choice(self, name: str, *choices: str) -> str:
        """The argument's value, one of ``choices``; the first one where it isn't there."""
        text = self.arguments.get(name, choices[0])
        if text not in choices:
            raise BadCall(f"{name}={text!r} can't be meant: {nearest(text, choices)}")
        return text

    def flag(self, name: str, *, default: bool = False) -> bool:
        """``true`` or ``false`` (also 1 or 0, or nothing at all, which means true)."""
        if (text := self.arguments.get(name)) is None:
            return default
        if text.lower() not in _FLAGS:
            raise BadCall(f"{name}={text!r} is neither true nor false")
        return _FLAGS[text.lower()]

    @cached_property
    def body(self) -> Any:
        """The request's JSON; an empty body is an empty object."""
        try:
            return msgspec.json.decode(self.request.body) if self.request.body.strip() else {}
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadCall(f"the body is no JSON: {error}") from None

    @property
    def table(self) -> dict[str, Any]:
        """The request's JSON, which must be an object."""
        if not isinstance(self.body, dict):
            raise BadCall(f"the body is a JSON object, not {type(self.body).__name__}")
        return self.body


_FLAGS = {"true": True, "1": True, "": True, "false": False, "0": False}


def problem(status: int, message: str) -> Reply:
    """An error, in the shape that most clients can show."""
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return whole(status, msgspec.json.encode({"error": error}))
