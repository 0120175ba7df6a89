"""Signatures in ``thoughtSignature``: Google's own as they are, those of others sealed so that they come back.

The field holds bytes: the SDKs decode its base64 when they read and encode it anew when they send. A foreign signature, with
the mark of its issuer (:mod:`holdfast.dialects.signatures`), is therefore base64 once more. Gemini's own is never touched.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final, NamedTuple

from holdfast.dialects.gemini.names import DIALECT
from holdfast.dialects.signatures import is_marked, mark, unmark

__all__ = ["SEAL", "WAIVER", "WAIVERS", "Proof", "opened", "proof_of", "sealed"]

SEAL: Final = base64.b64encode(b"holdfast:").decode()
"""How every sealed signature begins: nine bytes are twelve letters, without a remainder."""
_ENCRYPTED: Final = "~"
"""Before an encrypted thought, which its issuer wants back in another field than a signature."""
_WORDS: Final = (b"skip_thought_signature_validator", b"context_engineering_is_the_way_to_go")
WAIVERS: Final = frozenset(
    written for word in _WORDS for written in (word.decode(), base64.b64encode(word).decode())
)
"""What Google documents for calls that Gemini didn't make itself: as text, and as the bytes that the field holds.

Gemini 3 refuses a turn whose first call has no signature. Older models take a waiver too.
"""
WAIVER: Final = base64.b64encode(_WORDS[0]).decode()
"""The one that is written."""


class Proof(NamedTuple):
    """A signature, or (``encrypted``) a thought that only its issuer can read, and the issuer's dialect."""

    value: str
    signed_by: str
    encrypted: bool = False


def sealed(proof: str, issuer: str, *, encrypted: bool = False) -> str:
    """A proof as this dialect's field holds it. One that is still marked, as an answer was read, is sealed as well."""
    marked = mark(f"{_ENCRYPTED}{proof}" if encrypted else proof, issuer, DIALECT)
    if not is_marked(marked):
        return marked
    return base64.urlsafe_b64encode(marked.encode("utf-8", "replace")).decode()


def opened(signature: str) -> str:
    """What ``thoughtSignature`` holds, with its mark if it is another dialect's."""
    if not signature.startswith(SEAL):
        return signature
    bare = signature.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return signature


def proof_of(signature: str) -> Proof:
    """What ``thoughtSignature`` holds in a request, and who can check it."""
    plain, issuer = unmark(opened(signature), DIALECT)
    encrypted = issuer != DIALECT and plain.startswith(_ENCRYPTED)
    return Proof(plain.removeprefix(_ENCRYPTED) if encrypted else plain, issuer, encrypted)
