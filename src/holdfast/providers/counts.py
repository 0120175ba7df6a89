"""What a usage counts: the kinds that have fields of their own, and what dialects say beside them.

Images, video, searches and the tier that served a request have no field in :class:`~holdfast.model.usage.Usage`: few
answers have them. They stand in ``Usage.extra`` under the names of the dialect that said them, and are found there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.model.usage import Usage

__all__ = ["MOST_TOKENS", "Flag", "More", "fault_of", "told", "wrong_count"]

MOST_TOKENS: Final = 10**12
"""More tokens than this in one answer are a fault of whoever counted."""

Flag = Literal["missing", "not_a_count", "negative", "absurd", "inconsistent", "overlap", "untold"]
"""What is wrong with a usage.

``missing``: a total wasn't told. ``not_a_count``: not an integer. ``negative``, ``absurd`` (over 10^12):
impossible. ``inconsistent``: parts are more than their total. ``overlap``: how many tokens were both cached and audio
wasn't told; ``untold``: how many were images or video wasn't, and they have a price of their own. In these two the dearest
reading was taken; only there is a cost beside the flag.
"""

Path = tuple[str, ...]

_IMAGES_IN: Final[tuple[Path, ...]] = (
    ("prompt_tokens_details", "image_tokens"),
    ("input_tokens_details", "image_tokens"),
    ("input_token_details", "image_tokens"),
)
_IMAGES_OUT: Final[tuple[Path, ...]] = (
    ("completion_tokens_details", "image_tokens"),
    ("output_tokens_details", "image_tokens"),
)
_VIDEO_IN: Final[tuple[Path, ...]] = (("prompt_tokens_details", "video_tokens"),)
_VIDEO_OUT: Final[tuple[Path, ...]] = (("completion_tokens_details", "video_tokens"),)
_CACHED_AUDIO: Final[tuple[Path, ...]] = (
    ("input_token_details", "cached_tokens_details", "audio_tokens"),
    ("prompt_tokens_details", "cached_tokens_details", "audio_tokens"),
)
_SEARCHES: Final[tuple[Path, ...]] = (
    ("server_tool_use", "web_search_requests"),  # Anthropic, OpenRouter
    ("num_search_queries",),  # Perplexity
    ("tool_calls_details", "search_web", "invocation"),
    ("web_search_calls",),  # OpenAI's Responses, counted in the answer's output
)

# Google's lists of counts by modality. What a list leaves out is 0.
_GIVEN: Final = ("promptTokensDetails", "toolUsePromptTokensDetails")
_MADE: Final = ("candidatesTokensDetails",)
_CACHED: Final = ("cacheTokensDetails",)
_PICTURES: Final = frozenset(("IMAGE", "DOCUMENT"))  # pages of a document are billed as images
_VIDEO: Final = frozenset(("VIDEO",))
_AUDIO: Final = frozenset(("AUDIO",))


More = Literal["input_image", "input_video", "output_image", "output_video", "cache_audio", "searches"]
"""What ``Usage.extra`` may tell. ``cache_audio``: of the tokens read from a cache, those that are audio."""


class _Place(NamedTuple):
    """Where it stands: a count under one of ``paths``, or summed over Google's ``lists``."""

    paths: tuple[Path, ...]
    lists: tuple[str, ...] = ()
    modalities: frozenset[str] = frozenset()


_PLACES: Final[Mapping[More, _Place]] = {
    "input_image": _Place(_IMAGES_IN, _GIVEN, _PICTURES),
    "input_video": _Place(_VIDEO_IN, _GIVEN, _VIDEO),
    "output_image": _Place(_IMAGES_OUT, _MADE, _PICTURES),
    "output_video": _Place(_VIDEO_OUT, _MADE, _VIDEO),
    "cache_audio": _Place(_CACHED_AUDIO, _CACHED, _AUDIO),
    "searches": _Place(_SEARCHES),
}


def told(usage: Usage, what: More) -> Any:
    """What ``usage`` says of it beside its fields; None: nothing.

    Never raises. Whoever wrote it may have written anything: no count is known to be one.
    """
    extra: object = usage.extra
    if not extra or not isinstance(extra, dict):
        return None
    place = _PLACES[what]
    for path in place.paths:
        found: Any = extra
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        if found is not None:
            return found
    lists = [extra[name] for name in place.lists if isinstance(extra.get(name), list)]
    return _summed(lists, place.modalities) if lists else None


def fault_of(usage: Usage) -> Flag | None:
    """Why ``usage`` can't be believed, if it can't. Types are checked too: it came from somebody else's JSON."""
    wrong = wrong_count(
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        usage.cache_write_1h_tokens,
        usage.input_audio_tokens,
        usage.output_audio_tokens,
        usage.reasoning_tokens,
    )
    if wrong is not None:
        return wrong
    total_in, total_out = usage.input_tokens, usage.output_tokens
    if total_in is None or total_out is None:
        return "missing"
    read_or_heard = max(usage.cache_read_tokens or 0, usage.input_audio_tokens or 0)  # may be the same tokens
    if (usage.cache_write_tokens or 0) + read_or_heard > total_in:
        return "inconsistent"
    if (usage.cache_write_1h_tokens or 0) > (usage.cache_write_tokens or 0):
        return "inconsistent"
    if (usage.output_audio_tokens or 0) + (usage.reasoning_tokens or 0) > total_out:
        return "inconsistent"
    return None


def wrong_count(*counts: Any) -> Flag | None:
    """What is wrong with the first of ``counts`` with which anything is. None is no count, and nothing is wrong with it."""
    for count in counts:
        if count is None:
            continue
        if type(count) is not int:  # a bool is an int to isinstance, and no count
            return "not_a_count"
        if count < 0:
            return "negative"
        if count > MOST_TOKENS:
            return "absurd"
    return None


def _summed(lists: list[list[Any]], modalities: frozenset[str]) -> Any:
    counts = [
        each.get("tokenCount", 0)
        for details in lists
        for each in details
        if isinstance(each, dict) and str(each.get("modality")) in modalities
    ]
    wrong = next((count for count in counts if type(count) is not int or count < 0), None)
    return sum(counts) if wrong is None else wrong
