"""Secrets at rest: sealed under a master key, and bound to what they belong to.

AES-256-GCM of the ``cryptography`` library, with a nonce of chance for each secret. What a secret belongs to (a tenant, a
provider) is authenticated with it, so that who can write to the store can't give one tenant another's key, and can't send a
key to an address of theirs.
"""

from __future__ import annotations

import hmac
import secrets
from typing import TYPE_CHECKING, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from holdfast.master_key import bytes_of
from holdfast.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Sealed", "Sealer", "Unsealable"]

_NONCE: Final = 12
_PURPOSE: Final = "holdfast provider key 1"
"""Goes into what is authenticated: nothing that is sealed for another purpose, or in another form, opens as this."""


class Sealed(msgspec.Struct, frozen=True):
    """What can be written down."""

    master: bytes
    """Which master key opens it: eight bytes, of which nothing of the key can be learnt."""
    data: bytes


class Unsealable(Exception):
    """It can't be opened. ``unknown``: because its master key isn't one of ours; else it was changed, or moved."""

    def __init__(self, reason: str, *, unknown: bool) -> None:
        super().__init__(reason)
        self.unknown = unknown


class Sealer:
    """Seals under the first of ``keys``, opens what any of them has sealed: so a key is changed for another one.

    Args:
        keys: as :func:`~holdfast.master_key.master_keys` reads them; at least one.
    """

    __slots__ = ("_by_id", "_newest")

    def __init__(self, keys: Sequence[Secret]) -> None:
        made = [bytes_of(key) for key in keys]
        self._by_id = {_id_of(key): AESGCM(key) for key in made}
        self._newest = _id_of(made[0])

    @property
    def newest(self) -> bytes:
        """The id of the master key that seals."""
        return self._newest

    def knows(self, master: bytes) -> bool:
        """Whether it is the id of one of the master keys."""
        return master in self._by_id

    def seal(self, secret: Secret, *about: str | None) -> Sealed:
        """``secret``, bound to ``about``: only who says the same can open it."""
        nonce = secrets.token_bytes(_NONCE)
        data = self._by_id[self._newest].encrypt(nonce, secret.reveal().encode(), _authenticated(about))
        return Sealed(self._newest, nonce + data)

    def open(self, sealed: Sealed, *about: str | None) -> Secret:
        """What was sealed.

        Raises:
            Unsealable: under none of these keys, or not in this form about this.
        """
        cipher = self._by_id.get(sealed.master)
        if cipher is None:
            raise Unsealable("it is sealed under another master key", unknown=True)
        nonce, data = sealed.data[:_NONCE], sealed.data[_NONCE:]
        try:
            return Secret(cipher.decrypt(nonce, data, _authenticated(about)).decode())
        except (InvalidTag, ValueError):  # ValueError: a nonce that is none
            raise Unsealable("it was changed, or belongs elsewhere", unknown=False) from None


def _id_of(key: bytes) -> bytes:
    return hmac.digest(key, b"which master key", "sha256")[:8]


def _authenticated(about: tuple[str | None, ...]) -> bytes:
    """As JSON: two lists of names never read the same."""
    return msgspec.json.encode([_PURPOSE, *about])
