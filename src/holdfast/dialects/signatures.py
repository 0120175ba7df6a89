"""Signatures travel through dialects that aren't their issuer's, and come back to whoever can check them.

A provider signs its thoughts and wants the signature back unchanged; it refuses anybody else's. An answer that is
translated carries a foreign signature in the caller's own field, marked with its issuer's dialect. When the conversation
comes back, the mark tells whom to give it to.
"""

from __future__ import annotations

import base64
from typing import Final

__all__ = ["MARKS", "is_marked", "mark", "unmark"]

_MARK: Final = "holdfast:"
MARKS: Final = (f'"{_MARK}'.encode(), b'"' + base64.b64encode(_MARK.encode()))
"""What every marked signature begins with in JSON, as it is or where its dialect wants base64: a body without has none."""


def mark(signature: str, signed_by: str | None, dialect: str) -> str:
    """``signature`` as an answer in ``dialect`` carries it. ``signed_by``: its issuer's dialect; None: ``dialect``'s own."""
    return signature if signed_by in (None, dialect) else f"{_MARK}{signed_by}:{signature}"


def unmark(signature: str, dialect: str) -> tuple[str, str]:
    """The signature itself and its issuer's dialect; one without a mark is ``dialect``'s own."""
    if signature.startswith(_MARK):
        signed_by, colon, rest = signature[len(_MARK) :].partition(":")
        if colon and signed_by:
            return rest, signed_by
    return signature, dialect


def is_marked(signature: str) -> bool:
    """Whether it is another dialect's, on its way through."""
    return signature.startswith(_MARK)
