"""How many tokens something is: a number, how it was come by, and the most that it can be."""

from __future__ import annotations

from typing import Final, Literal, get_args

import msgspec

__all__ = ["EMPTY", "Count", "Kind"]

Kind = Literal["exact", "reconstructed", "calibrated"]
"""How a count was come by, the strongest first.

- ``exact``: the provider's own tokenizer over the very text.
- ``reconstructed``: its own tokenizer over a text rebuilt as the provider is known to build it: messages, tools.
- ``calibrated``: another measure, scaled by what the provider was seen to bill.
"""

_STRENGTH: Final[dict[Kind, int]] = {kind: rank for rank, kind in enumerate(get_args(Kind))}


class Count(msgspec.Struct, frozen=True):
    """``tokens`` is the best guess; ``upper`` (≥ ``tokens``) is never below what the provider bills for what is visible."""

    tokens: int
    kind: Kind
    upper: int
    unseen: bool = False
    """Something else is read that can't be seen here (a file id, a URL, a provider's own tool): no bound covers it."""

    def __int__(self) -> int:
        return self.tokens

    def __add__(self, other: Count) -> Count:
        """Both together: the weaker kind of the two, and unseen if either is."""
        return Count(
            self.tokens + other.tokens,
            max(self.kind, other.kind, key=_STRENGTH.__getitem__),
            self.upper + other.upper,
            self.unseen or other.unseen,
        )


EMPTY: Final = Count(0, "exact", 0)
"""Of nothing; what a sum starts from."""
