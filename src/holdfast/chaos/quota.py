"""What a key has left of its limits, before a wire puts it into its provider's headers."""

import msgspec

__all__ = ["Quota"]


class Quota(msgspec.Struct, frozen=True):
    """Requests and tokens per minute: the limit, what is left, and the seconds until all of it is back."""

    requests_limit: int = 10_000
    requests_left: int = 9_999
    requests_reset_s: float = 0.006
    tokens_limit: int = 2_000_000
    tokens_left: int = 1_999_000
    tokens_reset_s: float = 0.03
