"""Signatures in ``thoughtSignature``: Google's own as they are, those of others sealed so that they come back.

The field holds bytes: the SDKs decode its base64 when they read and encode it anew when they send. A foreign signature, with
the mark of its issuer (:mod:`holdfast.dialects.signatures`), is therefore base64 once more. Gemini's own is never touched.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final, NamedTuple

from holdfast.dialects.gemini.names import DIALECT
from holdfast.dialects.signatures import mark, unmark

__all__ = ["SEAL", "WAIVER", "Proof", "opened", "sealed"]

WAIVER: Final = base64.b64encode(b"skip_thought_signature_validator").decode()
"""What Google documents for calls that Gemini didn't make itself, such as an earlier turn of another provider.

Gemini 3 refuses a turn whose first call has no signature. Older models take it too.
"""
SEAL: Final = base64.b64encode(b"holdfast/").decode()
"""How every sealed signature begins: nine bytes are twelve letters, without a remainder."""
_ENCRYPTED: Final = "~"
"""Before an encrypted thought, which its issuer wants back in another field than a signature."""


class Proof(NamedTuple):
    """A signature, or (``encrypted``) a thought that only its issuer can read, and the issuer's dialect."""

    value: str
    signed_by: str
    encrypted: bool = False


def sealed(proof: str, issuer: str, *, encrypted: bool) -> str:
    """Another dialect's proof as this dialect's field holds it."""
    marked = mark(f"{_ENCRYPTED}{proof}" if encrypted else proof, issuer, DIALECT)
    return base64.urlsafe_b64encode(marked.encode("utf-8", "replace")).decode()


def opened(signature: str) -> Proof:
    """What ``thoughtSignature`` holds in a request. What isn't sealed is Gemini's own."""
    if not signature.startswith(SEAL):
        return Proof(signature, DIALECT)
    try:
        padded = signature.rstrip("=") + "=" * (-len(signature.rstrip("=")) % 4)
        marked = base64.b64decode(padded.replace("-", "+").replace("_", "/"), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return Proof(signature, DIALECT)
    plain, issuer = unmark(marked, DIALECT)
    if issuer == DIALECT:
        return Proof(signature, DIALECT)
    encrypted = plain.startswith(_ENCRYPTED)
    return Proof(plain.removeprefix(_ENCRYPTED) if encrypted else plain, issuer, encrypted)
