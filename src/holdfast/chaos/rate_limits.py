"""Requests and tokens per minute, as providers limit them: buckets that fill evenly, told in the headers of each answer."""

from collections import OrderedDict
from typing import Literal

import msgspec

from holdfast.chaos.limits import Positive
from holdfast.chaos.quota import Quota

__all__ = ["Limits", "Meter", "Refusal"]

_MOST = 10_000  # keys remembered; who has been away longest is forgotten, whose buckets are the fullest
_MINUTE = 60.0
_SLACK = 1e-6  # of a request or token: who comes back when told to is let in, whatever the rounding


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a key may ask for. Beyond it comes the provider's 429, with Retry-After."""

    requests_per_minute: Positive | None = None
    tokens_per_minute: Positive | None = None
    """Prompt and answer, counted when the attempt arrives."""
    per: Literal["key", "model", "key and model", "server"] = "key"
    """Whose requests are counted together."""
    retry_after: bool = True
    """Whether the 429 says how long to wait."""

    def __post_init__(self) -> None:
        if self.requests_per_minute is None and self.tokens_per_minute is None:
            raise ValueError("it limits nothing: say requests_per_minute or tokens_per_minute")


class Refusal(msgspec.Struct, frozen=True):
    """A limit that was passed."""

    error: Literal["rate_limit", "tokens_rate_limit"]
    wait_s: float
    quota: Quota


class _Bucket:
    """Tokens that come back evenly, a full bucket in a minute."""

    __slots__ = ("_at", "_size", "remaining")

    def __init__(self, size: float, now: float) -> None:
        self._size = size
        self.remaining = size
        self._at = now

    def fill(self, now: float) -> None:
        self.remaining = min(self._size, self.remaining + (now - self._at) * self._size / _MINUTE)
        self._at = now

    def take(self, amount: float) -> None:
        self.remaining -= amount

    def wait_s(self, amount: float) -> float:
        """Seconds until ``amount`` is there; what is more than the bucket holds needs a full one."""
        missing = min(amount, self._size) - self.remaining
        return missing * _MINUTE / self._size if missing > _SLACK else 0.0

    @property
    def full_in_s(self) -> float:
        return (self._size - self.remaining) * _MINUTE / self._size


_NO_LIMIT = Quota()
_SCOPES = {
    "key": (True, False),
    "model": (False, True),
    "key and model": (True, True),
    "server": (False, False),
}
"""Whether buckets are told apart by key, and by model."""


class Meter:
    """What each key, model or pair of them has left."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buckets: OrderedDict[tuple[str, str], tuple[_Bucket | None, _Bucket | None]] = OrderedDict()

    def take(self, key: str, model: str, tokens: int, now: float) -> Quota | Refusal:
        """Count an attempt of so many tokens; or why it isn't let in, which costs nothing."""
        limits = self._limits
        by_key, by_model = _SCOPES[limits.per]
        requests, of_tokens = self._of((key if by_key else "", model if by_model else ""), now)
        wait_requests = wait_tokens = 0.0
        if requests is not None:
            requests.fill(now)
            wait_requests = requests.wait_s(1)
        if of_tokens is not None:
            of_tokens.fill(now)
            wait_tokens = of_tokens.wait_s(tokens)
        if wait_requests or wait_tokens:
            error: Literal["rate_limit", "tokens_rate_limit"] = (
                "rate_limit" if wait_requests >= wait_tokens else "tokens_rate_limit"
            )
            return Refusal(error, max(wait_requests, wait_tokens), self._quota(requests, of_tokens))
        if requests is not None:
            requests.take(1)
        if of_tokens is not None:
            of_tokens.take(tokens)
        return self._quota(requests, of_tokens)

    def _of(self, scope: tuple[str, str], now: float) -> tuple[_Bucket | None, _Bucket | None]:
        known = self._buckets.get(scope)
        if known is not None:
            self._buckets.move_to_end(scope)
        else:
            if len(self._buckets) >= _MOST:
                self._buckets.popitem(last=False)
            rpm, tpm = self._limits.requests_per_minute, self._limits.tokens_per_minute
            known = self._buckets[scope] = (
                None if rpm is None else _Bucket(rpm, now),
                None if tpm is None else _Bucket(tpm, now),
            )
        return known

    def _quota(self, requests: _Bucket | None, tokens: _Bucket | None) -> Quota:
        limits = self._limits
        return Quota(
            requests_limit=limits.requests_per_minute or _NO_LIMIT.requests_limit,
            requests_left=_NO_LIMIT.requests_left if requests is None else max(0, int(requests.remaining)),
            requests_reset_s=_NO_LIMIT.requests_reset_s if requests is None else requests.full_in_s,
            tokens_limit=limits.tokens_per_minute or _NO_LIMIT.tokens_limit,
            tokens_left=_NO_LIMIT.tokens_left if tokens is None else max(0, int(tokens.remaining)),
            tokens_reset_s=_NO_LIMIT.tokens_reset_s if tokens is None else tokens.full_in_s,
        )
