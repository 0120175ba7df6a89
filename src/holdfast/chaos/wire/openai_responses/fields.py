"""Fields of a request, read one by one, and the API's complaints about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.chaos.wire.errors import Problem, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "decimal", "flag", "items", "missing", "one_of", "only", "refused", "required", "table", "text", "texts", "unsupported",
    "whole", "wrong_type",
]  # fmt: skip  # a list reads better packed

_KINDS = {
    bool: "a boolean",
    int: "an integer",
    float: "a decimal",
    str: "a string",
    list: "an array",
    dict: "an object",
}
_SHOWN = 200  # characters of a value, in a complaint

_MOVED = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "response_format": "text.format",
    "reasoning_effort": "reasoning.effort",
    "verbosity": "text.verbosity",
}
"""What Chat Completions calls otherwise."""
_KNOWN = frozenset((
    "access_programs", "background", "context_management", "conversation", "image", "include", "input", "instructions",
    "max_output_tokens", "max_tool_calls", "metadata", "model", "moderation", "parallel_tool_calls",
    "previous_response_id", "prompt", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning",
    "safety_identifier", "service_tier", "store", "stream", "stream_options", "temperature", "text", "tool_choice",
    "tools", "top_logprobs", "top_p", "truncation", "user",
))  # fmt: skip  # a list reads better packed


def refused(message: str, param: str | None, code: str | None = None, status: int = 400) -> Refused:
    return Refused(Problem(status, message=message, param=param, code=code))


def missing(param: str) -> Refused:
    return refused(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")


def wrong_type(param: str, expected: str, given: Any) -> Refused:
    got = "null" if given is None else _KINDS[type(given)]
    message = f"Invalid type for '{param}': expected {expected}, but got {got} instead."
    return refused(message, param, "invalid_type")


def _listed(words: Sequence[str]) -> str:
    """``'a', 'b', and 'c'``."""
    quoted = [f"'{word}'" for word in words]
    if len(quoted) < 3:
        return " and ".join(quoted)
    return f"{', '.join(quoted[:-1])}, and {quoted[-1]}"


def only(request: dict[str, Any]) -> None:
    """Refuse fields that this endpoint doesn't have."""
    for name in request:
        if name in _MOVED:
            moved = f"In the Responses API, this parameter has moved to '{_MOVED[name]}'."
            message = f"Unsupported parameter: '{name}'. {moved} Try again with the new parameter."
            raise refused(message, name, "unsupported_parameter")
        if name not in _KNOWN:
            shown = name[:_SHOWN]
            raise refused(f"Unknown parameter: '{shown}'.", shown, "unknown_parameter")


def text(value: dict[str, Any], name: str, path: str = "") -> str | None:
    """A string; None where it is absent."""
    given = value.get(name)
    if given is not None and not isinstance(given, str):
        raise wrong_type(path + name, "a string", given)
    return given


def required(value: dict[str, Any], name: str, path: str = "") -> str:
    """A string that must be there."""
    given = text(value, name, path)
    if given is None:
        raise missing(path + name)
    return given


def texts(value: dict[str, Any], name: str, path: str = "") -> list[str]:
    """A list of strings; empty where it is absent."""
    given = value.get(name)
    if given is None:
        return []
    if not isinstance(given, list):
        raise wrong_type(path + name, "an array of strings", given)
    for i, item in enumerate(given):
        if not isinstance(item, str):
            raise wrong_type(f"{path}{name}[{i}]", "a string", item)
    return given


def one_of(value: dict[str, Any], name: str, path: str, allowed: Sequence[str]) -> str | None:
    """A string out of ``allowed``; None where it is absent."""
    given = text(value, name, path)
    if given is not None and given not in allowed:
        raise unsupported(path + name, given, allowed)
    return given


def unsupported(param: str, given: Any, allowed: Sequence[str]) -> Refused:
    message = f"Invalid value: '{str(given)[:_SHOWN]}'. Supported values are: {_listed(allowed)}."
    return refused(message, param, "invalid_value")


def flag(value: dict[str, Any], name: str, path: str = "") -> bool | None:
    given = value.get(name)
    if given is not None and not isinstance(given, bool):
        raise wrong_type(path + name, "a boolean", given)
    return given


def whole(value: dict[str, Any], name: str, least: int, most: int | None = None) -> int | None:
    """A whole number; None where it is absent."""
    given = value.get(name)
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int):
        raise wrong_type(name, "an integer", given)
    _in_range(name, "integer", given, least, most)
    return given


def decimal(value: dict[str, Any], name: str, most: int) -> float | None:
    """A number from 0 to ``most``; None where it is absent."""
    given = value.get(name)
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise wrong_type(name, "a decimal", given)
    _in_range(name, "decimal", given, 0, most)
    return float(given)


def _in_range(name: str, kind: str, given: float, least: int, most: int | None) -> None:
    if given < least:
        side, bound, code = "below minimum", f">= {least}", "below_min_value"
    elif most is not None and given > most:
        side, bound, code = "above maximum", f"<= {most}", "above_max_value"
    else:
        return
    message = f"Invalid '{name}': {kind} {side} value. Expected a value {bound}, but got {given} instead."
    raise refused(message, name, f"{kind}_{code}")


def table(value: dict[str, Any], name: str, path: str = "", *, required: bool = False) -> dict[str, Any]:
    """An object; empty where it is absent and may be."""
    given = value.get(name)
    if given is None:
        if required:
            raise missing(path + name)
        return {}
    if not isinstance(given, dict):
        raise wrong_type(path + name, "an object", given)
    return given


def items(value: dict[str, Any], name: str, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a list, each with its own path; none where it is absent."""
    given = value.get(name)
    if given is None:
        return
    if not isinstance(given, list):
        raise wrong_type(path + name, "an array of objects", given)
    for i, item in enumerate(given):
        if not isinstance(item, dict):
            raise wrong_type(f"{path}{name}[{i}]", "an object", item)
        yield f"{path}{name}[{i}]", item
