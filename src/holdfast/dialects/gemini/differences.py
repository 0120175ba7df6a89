"""Every way in which what we write differs from what we read, and why.

Apart from these, ``encode(decode(body))`` holds the same JSON as ``body``. The tests find each of them in recorded traffic
or in a made case, and find no other.
"""

from __future__ import annotations

from holdfast.dialects.openai_chat.differences import Change, Difference, Where

__all__ = ["DIFFERENCES"]

DIFFERENCES = (
    Difference(
        "base64 in its usual alphabet",
        Where.REQUEST,
        r"contents\[\]\.parts\[\]\.(functionResponse\.parts\[\]\.)?inlineData\.data",
        (Change.CHANGED,),
        "Google's SDKs send the alphabet for URLs, which other providers refuse; Google takes both.",
    ),
    Difference(
        "what goes without saying",
        Where.ANSWER,
        r"candidates|candidates\[\]\.(index|content|content\.role)",
        (Change.ADDED,),
        "Google's JSON leaves out a zero, an empty list and an empty object; the SDKs' types rely on them.",
    ),
    Difference(
        "tokens of nothing",
        Where.ANSWER,
        r"usageMetadata\.(candidatesTokenCount|totalTokenCount)",
        (Change.ADDED,),
        "Google's JSON leaves out a count of zero, and the total is the sum of the counts.",
    ),
    Difference(
        "what goes without saying in a stream",
        Where.STREAM,
        r"candidates\[\]\.(index|content\.(role|parts))|usageMetadata\.candidatesTokenCount",
        (Change.ADDED,),
        "The same as in a whole answer; a last chunk says an empty text beside its reason.",
    ),
    Difference(
        "one object for an error",
        Where.ERROR,
        r"|error|message|code|status|details",
        (Change.ADDED, Change.DROPPED, Change.CHANGED),
        "Without `alt=sse` an error comes in a list, from proxies as a text or bare; clients read the object in `error`.",
    ),
    Difference(
        "an error's three fields",
        Where.ERROR,
        r"error\.(code|message|status)",
        (Change.ADDED,),
        "Google always says all three.",
    ),
)
