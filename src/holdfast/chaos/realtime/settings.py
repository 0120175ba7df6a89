"""What a session's provider may be told."""

from typing import Annotated

import msgspec

__all__ = ["RealtimeSettings"]

_Span = Annotated[float, msgspec.Meta(gt=0, le=86_400)]


class RealtimeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of a session."""

    session_s: _Span = 3600.0
    """Seconds until a session expires: the event ``session_expired``, then close code 1001."""
    turn_s: _Span = 3.0
    """Seconds of audio after which voice detection hears the end of a turn. What arrives is counted, not listened to."""
