"""What other providers signed, in a conversation that goes back to Gemini as it came.

A caller's history holds the answers of whoever served them. Their signatures are sealed (:mod:`.signed`), and Gemini, which
would take them for broken ones of its own, gets the conversation without them.
"""

from __future__ import annotations

from typing import Any, Final

from holdfast.dialects.gemini.signed import SEAL, WAIVER
from holdfast.dialects.reading import invalid_request, read_json
from holdfast.dialects.writing import write_json

__all__ = ["SEALED", "without_seals"]

SEALED: Final = f'"{SEAL}'.encode()
"""What stands in the bytes of a request with a sealed signature."""
_NAMES: Final = ("thoughtSignature", "thought_signature")
_CALLS: Final = ("functionCall", "function_call")


def without_seals(contents: bytes) -> bytes:
    """``contents`` without sealed signatures, and without the thoughts that were nothing but one.

    The first call of a turn, which Google wants signed, gets its documented waiver in place of a foreign signature.
    """
    value = read_json(contents, invalid_request)
    listed = value if isinstance(value, list) else [value]
    kept = [content for content in listed if _unsealed(content)]
    return write_json(kept)


def _unsealed(content: Any) -> bool:
    """Takes the seals out of one content; whether anything is left of it."""
    parts = content.get("parts") if isinstance(content, dict) else None
    if isinstance(parts, dict):
        parts = content["parts"] = [parts]
    if not isinstance(parts, list) or not parts:
        return True
    called = False
    kept: list[Any] = []
    for part in parts:
        if not isinstance(part, dict):
            kept.append(part)
            continue
        sealed = [name for name in _NAMES if isinstance(part.get(name), str) and part[name].startswith(SEAL)]
        for name in sealed:
            del part[name]
        call = any(name in part for name in _CALLS)
        if sealed and call and not called:
            part[_NAMES[0]] = WAIVER
        called |= call
        if not sealed or call or part.get("text") != "":
            kept.append(part)
    content["parts"] = kept
    return bool(kept)
