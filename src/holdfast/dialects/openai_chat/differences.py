"""Every way in which what we write differs from what we read, and why.

Apart from these, ``encode(decode(body))`` holds the same JSON as ``body``. The tests find each of them in recorded traffic
or in a made case, and find no other.
"""

from __future__ import annotations

import enum

import msgspec

__all__ = ["DIFFERENCES", "Change", "Difference", "Where"]


class Where(enum.StrEnum):
    REQUEST = "request"
    ANSWER = "answer"
    STREAM = "stream"
    """All chunks of a stream taken together: how it was cut into chunks isn't part of what it says."""
    ERROR = "error"


class Change(enum.StrEnum):
    ADDED = "added"
    DROPPED = "dropped"
    EMPTY_DROPPED = "empty dropped"
    """Dropped where it was null, an empty text or an empty list."""
    CHANGED = "changed"


class Difference(msgspec.Struct, frozen=True):
    """``path`` is a regular expression for a field's whole path, list positions left out (``choices[].index``)."""

    name: str
    where: Where
    path: str
    changes: tuple[Change, ...]
    reason: str


_CALL = r"(messages|choices)\[\](\.message)?\.tool_calls\[\]"

DIFFERENCES = (
    Difference(
        "mp3 by its usual name",
        Where.REQUEST,
        r"messages\[\]\.content\[\]\.input_audio\.format",
        (Change.CHANGED,),
        "`mpeg` and `mp3` are one media type, audio/mpeg, which is written `mp3`: the only name that OpenAI documents.",
    ),
    Difference(
        "a call's type",
        Where.REQUEST,
        _CALL + r"\.type",
        (Change.ADDED,),
        "Some clients leave out `function`, the usual type of a tool call.",
    ),
    Difference(
        "a call's arguments",
        Where.REQUEST,
        _CALL + r"\.function\.arguments",
        (Change.ADDED,),
        "Some clients leave the arguments out where there are none; OpenAI requires them.",
    ),
    Difference(
        "a call's null arguments",
        Where.REQUEST,
        _CALL + r"\.function\.arguments",
        (Change.CHANGED,),
        "Some clients say null for no arguments; OpenAI requires a text.",
    ),
    Difference(
        "a thought's text",
        Where.REQUEST,
        r"messages\[\]\.reasoning_details\[\]\.(text|summary)",
        (Change.ADDED,),
        "A thought of which only the signature is known has an empty text.",
    ),
    Difference(
        "what goes without saying",
        Where.ANSWER,
        r"id|model|object|choices\[\]\.(index|finish_reason|message\.role|message\.tool_calls\[\]\.type)",
        (Change.ADDED,),
        "OpenAI always says these and the SDKs' types rely on them; some servers leave them out.",
    ),
    Difference(
        "an answer's arguments",
        Where.ANSWER,
        _CALL + r"\.function\.arguments",
        (Change.ADDED,),
        "Some servers leave the arguments out where there are none; the SDKs' types rely on them.",
    ),
    Difference(
        "the sum of tokens",
        Where.ANSWER,
        r"usage\.total_tokens",
        (Change.ADDED,),
        "Clients read the total; it is the sum of the two counts that were given.",
    ),
    Difference(
        "cached tokens in OpenAI's place",
        Where.ANSWER,
        r"usage\.prompt_tokens_details(\.cached_tokens)?",
        (Change.ADDED,),
        "DeepSeek's `prompt_cache_hit_tokens` once stood alone; clients look in `prompt_tokens_details.cached_tokens`.",
    ),
    Difference(
        "padding",
        Where.STREAM,
        r"obfuscation",
        (Change.DROPPED, Change.EMPTY_DROPPED),
        "`obfuscation` pads one chunk's bytes against traffic analysis and means nothing elsewhere.",
    ),
    Difference(
        "deltas that say nothing",
        Where.STREAM,
        r"usage|choices\[\]\.delta\.\w+(\[\]\.function\.arguments)?",
        (Change.EMPTY_DROPPED,),
        "A null, an empty text or an empty list adds nothing to what was said.",
    ),
    Difference(
        "the chunk's clock",
        Where.STREAM,
        r"created",
        (Change.CHANGED,),
        "Some servers stamp every chunk anew; an answer was created once, when it began.",
    ),
    Difference(
        "tool calls counted from 0",
        Where.STREAM,
        r"choices\[\]\.delta\.tool_calls\[\]\.index",
        (Change.CHANGED,),
        "Calls are numbered in the order in which they stand; some servers leave gaps.",
    ),
    Difference(
        "one object for an error",
        Where.ERROR,
        r"|error|message|type|param|code|detail",
        (Change.ADDED, Change.DROPPED, Change.CHANGED),
        "Servers give a text, a list or the bare fields; clients read the object in `error`.",
    ),
    Difference(
        "an error's four fields",
        Where.ERROR,
        r"error\.(message|type|param|code)",
        (Change.ADDED,),
        "OpenAI always says all four, null where there is nothing to say.",
    ),
)
