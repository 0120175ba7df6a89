"""Time limits with a name and an error of their own, for one operation.

===============================================  =================================================================
the operation …                                  the caller sees
===============================================  =================================================================
ends in time                                     its result, or its own error
isn't done when the limit is over                the limit's error; the operation is cancelled, and waited for
raises a :class:`TimeoutError` of its own        that one, as it is
is cancelled from outside, limit over or not     the cancel
goes on in spite of being cancelled              what it ends with: nothing can be taken from it by force
===============================================  =================================================================

Built on :func:`asyncio.timeout`, with a timer for each call. The engine's own limits are in
:mod:`holdfast.resilience.timeout`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal, TypeVar, get_args

from msgspec import Meta

from holdfast.resilience.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

__all__ = [
    "ERRORS",
    "ApiTimeoutError",
    "DatabaseTimeoutError",
    "ExternalServiceTimeoutError",
    "OperationTimeoutError",
    "Timeout",
    "TimeoutName",
    "TimeoutSettings",
    "ToolTimeoutError",
    "WebSocketTimeoutError",
    "with_timeout",
]

T = TypeVar("T")

TimeoutName = Literal[
    "api_request",
    "api_response",
    "tool_execution",
    "tool_response",
    "database_query",
    "database_connection",
    "external_service",
    "external_service_response",
    "websocket_connection",
    "websocket_message",
]

_Limit = Annotated[float, Meta(gt=0, le=86_400)]


class TimeoutSettings(Settings, frozen=True, kw_only=True):
    """How long each kind of operation may take, in seconds.

    What is called a response is the part of its operation that somebody else has: the rest is for making something of it.
    """

    api_request: _Limit = 30.0
    """A request to an API, all in all."""
    api_response: _Limit = 25.0
    """The API's answer to it."""
    tool_execution: _Limit = 60.0
    """A tool call, all in all."""
    tool_response: _Limit = 55.0
    """The tool's answer to it."""
    database_query: _Limit = 10.0
    """One statement."""
    database_connection: _Limit = 5.0
    """Getting a connection."""
    external_service: _Limit = 45.0
    """A call of any other service, all in all."""
    external_service_response: _Limit = 40.0
    """The service's answer to it."""
    websocket_connection: _Limit = 10.0
    """Opening, the handshake included."""
    websocket_message: _Limit = 30.0
    """Sending one message, or the answer to it."""

    def check(self) -> None:
        for part, whole in (
            ("api_response", "api_request"),
            ("tool_response", "tool_execution"),
            ("external_service_response", "external_service"),
        ):
            limit, most = getattr(self, part), getattr(self, whole)
            if limit > most:
                raise ValueError(f"{part} must be at most {whole}, which is {most:g}, not {limit:g}")


class OperationTimeoutError(TimeoutError):
    """An operation took longer than its limit."""

    status: ClassVar[int] = 504
    """For an answer over HTTP: who waited here is a server. (408 would tell a client that it was too slow to send.)"""

    def __init__(self, name: str, limit_s: float) -> None:
        super().__init__(f"{name.replace('_', ' ')} took longer than {limit_s:g} s")
        self.name = name
        """What took too long."""
        self.limit_s = limit_s

    @property
    def code(self) -> str:
        """For programs: ``TOOL_EXECUTION_TIMEOUT``."""
        return f"{self.name.upper()}_TIMEOUT"

    def __reduce__(self) -> tuple[type[OperationTimeoutError], tuple[str, float]]:
        return type(self), (self.name, self.limit_s)  # an OSError would be copied from its message


class ApiTimeoutError(OperationTimeoutError):
    """An API was too slow."""


class ToolTimeoutError(OperationTimeoutError):
    """A tool was too slow."""


class DatabaseTimeoutError(OperationTimeoutError):
    """A database was too slow."""


class ExternalServiceTimeoutError(OperationTimeoutError):
    """Another service was too slow."""


class WebSocketTimeoutError(OperationTimeoutError):
    """The other end of a WebSocket was too slow."""


ERRORS: Final[Mapping[TimeoutName, type[OperationTimeoutError]]] = {
    "api_request": ApiTimeoutError,
    "api_response": ApiTimeoutError,
    "tool_execution": ToolTimeoutError,
    "tool_response": ToolTimeoutError,
    "database_query": DatabaseTimeoutError,
    "database_connection": DatabaseTimeoutError,
    "external_service": ExternalServiceTimeoutError,
    "external_service_response": ExternalServiceTimeoutError,
    "websocket_connection": WebSocketTimeoutError,
    "websocket_message": WebSocketTimeoutError,
}
"""What each limit raises."""

_DEFAULTS: Final = TimeoutSettings()


class _One(Settings, frozen=True, kw_only=True):
    limit_s: _Limit


class Timeout:
    """A policy: the operation ends within its limit, or is ended.

    It keeps nothing between calls, so one may serve any number of callers at once.

    Args:
        limit_s: in seconds, above 0 and at most a day.
        name: what the error says took too long.
        error: what is raised.

    Raises:
        ValueError: the limit is out of its range.
    """

    __slots__ = ("error", "limit_s", "name")

    def __init__(
        self,
        limit_s: float,
        *,
        name: str = "operation",
        error: type[OperationTimeoutError] = OperationTimeoutError,
    ) -> None:
        self.limit_s = _One(limit_s=limit_s).limit_s
        self.name = name
        self.error = error

    @classmethod
    def named(cls, name: TimeoutName, settings: TimeoutSettings = _DEFAULTS) -> Timeout:
        """The limit of that name, with its error.

        Raises:
            ValueError: there is no such name.
        """
        if name not in ERRORS:
            raise ValueError(
                f"no time limit is called {name!r}; there are {', '.join(get_args(TimeoutName))}"
            )
        return cls(getattr(settings, name), name=name, error=ERRORS[name])

    async def call(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Runs ``operation`` once; the limit counts from here.

        Raises:
            OperationTimeoutError: the limit came first.
        """
        theirs: TimeoutError | None = None
        try:
            async with asyncio.timeout(self.limit_s):
                try:
                    return await operation()
                except TimeoutError as error:
                    theirs = error
                    raise
        except TimeoutError as error:
            if error is theirs:
                raise
            raise self.error(self.name, self.limit_s) from error
        finally:
            theirs = None  # an error that its own frames know is garbage for the collector alone


async def with_timeout(
    name: TimeoutName, operation: Callable[[], Awaitable[T]], *, settings: TimeoutSettings = _DEFAULTS
) -> T:
    """Runs ``operation`` once, within the limit of that name: ``await with_timeout("tool_execution", run)``.

    Raises:
        OperationTimeoutError: the limit came first; the class and its ``code`` are the name's.
        ValueError: there is no limit of that name.
    """
    return await Timeout.named(name, settings).call(operation)
