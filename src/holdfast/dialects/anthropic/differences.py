"""Every way in which what we write differs from what we read, and why.

Apart from these, ``encode(decode(body))`` holds the same JSON as ``body``. The tests find each of them in made cases, and
none in recorded traffic.
"""

from __future__ import annotations

from holdfast.dialects.openai_chat.differences import Change, Difference, Where

__all__ = ["DIFFERENCES"]

DIFFERENCES = (
    Difference(
        "a call's input",
        Where.REQUEST,
        r"messages\[\]\.content\[\]\.input",
        (Change.ADDED,),
        "Anthropic requires the object, empty where there are no arguments.",
    ),
    Difference(
        "a thought's signature",
        Where.REQUEST,
        r"messages\[\]\.content\[\]\.signature",
        (Change.ADDED,),
        "Anthropic requires one, and says itself what it thinks of an empty one.",
    ),
    Difference(
        "what goes without saying",
        Where.ANSWER,
        r"id|type|role|model|usage|stop_reason|stop_sequence|usage\.(input|output)_tokens|content\[\]\.(input|signature)",
        (Change.ADDED,),
        "Anthropic always says these and the SDK's types rely on them; compatible servers leave them out.",
    ),
    Difference(
        "what isn't known yet",
        Where.STREAM,
        r"stop_details|container",
        (Change.EMPTY_DROPPED,),
        "A null at the beginning, of what is told with the end, if at all.",
    ),
    Difference(
        "the message's counts, once more",
        Where.STREAM,
        r"usage\.\w+",
        (Change.ADDED,),
        "The SDK's types rely on both counts, at the beginning and at the end.",
    ),
    Difference(
        "one shape for an error",
        Where.ERROR,
        r"|error|error\.\w+|type|message|details|request_id",
        (Change.ADDED, Change.DROPPED, Change.CHANGED),
        "Proxies give a text or the bare fields; clients read `type` and `message` in the object `error`.",
    ),
)
