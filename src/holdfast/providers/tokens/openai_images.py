"""What OpenAI bills for a picture: by tiles of 512 pixels, or by patches of 32, as the model is.

As its guide to vision states it, and where people measured otherwise as it was measured.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Final

import msgspec

from holdfast.providers.tokens.media import dimensions

if TYPE_CHECKING:
    from holdfast.model.content import Image

__all__ = ["Patches", "Tiles", "image_rule", "image_tokens"]


class Tiles(msgspec.Struct, frozen=True, kw_only=True):
    """Made to fit 2,048 pixels a side, then 768 on the shorter one; a base, and more for each tile of 512 pixels."""

    base: int
    tile: int

    @property
    def most(self) -> int:
        return self.base + 8 * self.tile

    def tokens(self, width: int, height: int, detail: str | None) -> tuple[int, int]:
        """The best guess, and the most."""
        if detail == "low":
            return self.base, self.most
        scale = min(1.0, 2_048 / max(width, height))
        scale = min(scale, 768 / max(min(width, height), 1))
        across = -(-max(round(width * scale), 1) // 512)
        down = -(-max(round(height * scale), 1) // 512)
        whole = self.base + across * down * self.tile
        return min(whole, self.most), self.most


class Patches(msgspec.Struct, frozen=True, kw_only=True):
    """One for each 32 x 32 pixels, up to a number that the picture is made to fit, times a factor in thousandths."""

    factor: int
    most_factor: int
    """As documented, where less was measured."""
    limit: int = 1_536
    most_limit: int = 1_536

    @property
    def most(self) -> int:
        return -(-self.most_limit * self.most_factor // 1_000)

    def tokens(self, width: int, height: int, detail: str | None) -> tuple[int, int]:
        """The best guess, and the most."""
        limit = 256 if detail == "low" else self.limit
        patches = _patches(width, height)
        if patches > limit:
            scale = sqrt(limit * 1_024 / (width * height))
            patches = min(_patches(int(width * scale), int(height * scale)), limit)
        return -(-patches * self.factor // 1_000), self.most


def _patches(width: int, height: int) -> int:
    return max(-(-width // 32), 1) * max(-(-height // 32), 1)


_NEWEST: Final = Patches(factor=1_200, most_factor=2_460, limit=2_500, most_limit=10_000)
"""Of models later than the table: those of 2026 look at up to 10,000 patches where they are asked for the original."""

_RULES: Final[dict[str, Tiles | Patches]] = {
    "gpt-4": Tiles(base=85, tile=170),
    "gpt-4o-mini": Tiles(base=2_833, tile=5_667),
    "gpt-4.1-mini": Patches(factor=1_620, most_factor=1_620),
    "gpt-4.1-nano": Patches(factor=2_460, most_factor=2_460),
    "o1": Tiles(base=75, tile=150),
    "o3": Tiles(base=75, tile=150),
    "o4-mini": Patches(factor=1_720, most_factor=1_720),
    "gpt-5": Tiles(base=70, tile=140),
    "gpt-5-mini": Patches(factor=1_200, most_factor=1_620),
    "gpt-5-nano": Patches(factor=1_500, most_factor=2_460),
    "gpt-5.": _NEWEST,
}
"""By the beginning of a name; the longest that fits."""


def image_rule(model: str) -> Tiles | Patches:
    """The rule of ``model``, by its bare name."""
    fits = [beginning for beginning in _RULES if model.startswith(beginning)]
    return _RULES[max(fits, key=len)] if fits else _NEWEST


def image_tokens(rule: Tiles | Patches, image: Image) -> tuple[int, int]:
    """The best guess, and the most; the most for both where the picture's size can't be read."""
    known = dimensions(image.data or "")
    return rule.tokens(*known, image.detail) if known is not None else (rule.most, rule.most)
