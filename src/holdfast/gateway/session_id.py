"""Which session a request belongs to: what its caller says to us, or else what it says to the provider, if configured.

=====================  =======================================================================  ============
``x-holdfast-session``  always, and before all others. One that can't be an id is refused        as it is
``claude-code``         the header ``x-claude-code-session-id``, which Claude Code sends; or     as it is
                        else ``metadata.user_id``, where it names the session in one of two ways
``openai-user``         the field ``user``                                                       ``user:…``
``safety-identifier``   the field ``safety_identifier``, OpenAI's newer name for the same        ``user:…``
``prompt-cache-key``    the field ``prompt_cache_key``                                           ``cache:…``
=====================  =======================================================================  ============

The last three outlive sessions: whoever is called so comes back tomorrow. So what they name isn't one session but a row of
them, one after the other (:func:`holdfast.money.session.of_its_time`).

What doesn't fit into an id, too long or with other characters in it (a mail address), is replaced by the first 128 bits of
its SHA-256, as in ``user:sha256:2bd806c97f0e00af1a1fc3328fa763a9``. Ids belong to the caller's key, so nobody gains anything
by naming another's. What isn't text, or is empty, names no session: whether it is wrong is the provider's to say.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from holdfast.errors import InvalidRequest
from holdfast.money.session import is_session_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["SessionIds", "SessionName"]

_OURS: Final = b"x-holdfast-session"
_CLAUDE_CODE: Final = b"x-claude-code-session-id"
_CLAUDE_CODE_MARK: Final = "_session_"
"""Before the session in the older form of its user: ``user_…_account_…_session_…``."""
_LONGEST_LASTING: Final = 52
"""Characters of a name that outlives sessions: each session's number comes after it, and ids have 64."""


class SessionName(NamedTuple):
    """What a request's session is called."""

    id: str
    lasting: bool
    """It outlives sessions, so its session of now is :meth:`holdfast.money.sessions.Sessions.id_now`'s to say."""


class _Metadata(msgspec.Struct):
    user_id: str = ""


class _ClaudeCodeUser(msgspec.Struct):
    session_id: str = ""


class SessionIds:
    """Reads them as configured; what isn't configured isn't looked at.

    Args:
        sources: of :data:`holdfast.money.session.SOURCES`, in the order in which they are asked.
    """

    __slots__ = ("_readers",)

    def __init__(self, sources: Sequence[str] = ()) -> None:
        self._readers = tuple(_READERS[source] for source in sources)

    def of(self, headers: Mapping[bytes, bytes], fields: Mapping[str, msgspec.Raw]) -> SessionName | None:
        """The session of a request with these headers (names in small letters) and these fields of its body.

        Raises:
            InvalidRequest: ``x-holdfast-session`` can't be an id.
        """
        ours = headers.get(_OURS)
        if ours is not None:
            text = ours.decode("latin-1").strip()
            if not is_session_id(text):
                raise InvalidRequest(
                    "x-holdfast-session must be 1 to 64 letters, digits and . : / _ -",
                    param="x-holdfast-session",
                )
            return SessionName(text, lasting=False)
        for read in self._readers:
            name = read(headers, fields)
            if name is not None:
                return name
        return None


def _claude_code(headers: Mapping[bytes, bytes], fields: Mapping[str, msgspec.Raw]) -> SessionName | None:
    said = headers.get(_CLAUDE_CODE)
    text = said.decode("latin-1").strip() if said is not None else ""
    if not text and "metadata" in fields:
        text = _claude_code_session(_read(fields["metadata"], _Metadata, _Metadata()).user_id)
    if not text:
        return None
    return SessionName(text if is_session_id(text) else _hashed("claude-code:", text), lasting=False)


def _claude_code_session(user: str) -> str:
    """Of its two forms of a user: an object as text, and before version 2.1.78 words with underscores between them."""
    if user.startswith("{"):
        said: str = _read(user, _ClaudeCodeUser, _ClaudeCodeUser()).session_id
        return said
    return user.rpartition(_CLAUDE_CODE_MARK)[2] if _CLAUDE_CODE_MARK in user else ""


def _field(
    field: str, prefix: str
) -> Callable[[Mapping[bytes, bytes], Mapping[str, msgspec.Raw]], SessionName | None]:
    def read(_: Mapping[bytes, bytes], fields: Mapping[str, msgspec.Raw]) -> SessionName | None:
        raw = fields.get(field)
        text = _read(raw, str, "") if raw is not None else ""
        if not text:
            return None
        name = prefix + text
        fits = len(name) <= _LONGEST_LASTING and is_session_id(name)
        return SessionName(name if fits else _hashed(prefix, text), lasting=True)

    return read


_READERS: Final = {
    "claude-code": _claude_code,
    "openai-user": _field("user", "user:"),
    "safety-identifier": _field("safety_identifier", "user:"),
    "prompt-cache-key": _field("prompt_cache_key", "cache:"),
}


def _read(data: msgspec.Raw | str, kind: Any, otherwise: Any) -> Any:
    """``data`` as ``kind``, or ``otherwise`` where it is something else."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return otherwise


def _hashed(prefix: str, text: str) -> str:
    return f"{prefix}sha256:{sha256(text.encode()).hexdigest()[:32]}"
