"""What pictures cost, by the formulae that their providers publish. Width and height are read from the file's own head."""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["claude_image", "claude_large_image", "dimensions", "gemini_image"]

_HEAD: Final = 256 * 1024
"""Characters of base64 that are looked at: a JPEG's size may stand behind its thumbnail."""


def dimensions(data: str) -> tuple[int, int] | None:
    """Width and height in pixels of a picture in base64: PNG, JPEG, GIF, WebP. None where they can't be read."""
    try:
        head = binascii.a2b_base64(data[:_HEAD][: len(data) // 4 * 4])
    except (ValueError, binascii.Error):
        return None
    for magic, read in _FORMATS:
        if head.startswith(magic):
            try:
                width, height = read(head)
            except IndexError:
                return None
            return (width, height) if width > 0 and height > 0 else None
    return None


def claude_image(width: int, height: int) -> int:
    """Anthropic: width x height / 750, of a picture that was made to fit 1,568 pixels a side and about 1,600 tokens."""
    return _claude(width, height, 1_568, 1_600)


def claude_large_image(width: int, height: int) -> int:
    """The same of Claude since 4.7, which looks closer: 2,576 pixels a side, and 4,784 tokens."""
    return _claude(width, height, 2_576, 4_784)


def gemini_image(width: int, height: int) -> int:
    """Google: 258 a tile. Up to 384 pixels a side is one tile; more is cut by two thirds of the shorter side.

    Before that it is made to fit 3,072 pixels.
    """
    if width <= 384 and height <= 384:
        return 258
    width, height = _fit(width, height, 3_072)
    side = min(max(min(width, height) * 2 // 3, 256), 768)
    return 258 * -(-width // side) * -(-height // side)


def _claude(width: int, height: int, side: int, most: int) -> int:
    width, height = _fit(width, height, side)
    return min(-(-width * height // 750), most)


def _fit(width: int, height: int, side: int) -> tuple[int, int]:
    longest = max(width, height)
    if longest <= side:
        return width, height
    return max(width * side // longest, 1), max(height * side // longest, 1)


def _png(head: bytes) -> tuple[int, int]:
    return _big(head, 16, 4), _big(head, 20, 4)


def _gif(head: bytes) -> tuple[int, int]:
    return _little(head, 6, 2), _little(head, 8, 2)


def _webp(head: bytes) -> tuple[int, int]:
    match head[12:16]:
        case b"VP8X":
            return _little(head, 24, 3) + 1, _little(head, 27, 3) + 1
        case b"VP8L":
            packed = _little(head, 21, 4)
            return (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
        case b"VP8 ":
            return _little(head, 26, 2) & 0x3FFF, _little(head, 28, 2) & 0x3FFF
    return 0, 0


def _jpeg(head: bytes) -> tuple[int, int]:
    at = 2
    while at + 9 <= len(head):
        if head[at] != 0xFF:
            return 0, 0
        marker = head[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a frame's head, of any kind
            return _big(head, at + 7, 2), _big(head, at + 5, 2)
        at += 1 if marker == 0xFF else 2 + max(_big(head, at + 2, 2), 2)
    return 0, 0


_FORMATS: Final[tuple[tuple[bytes, Callable[[bytes], tuple[int, int]]], ...]] = (
    (b"\x89PNG\r\n\x1a\n", _png),
    (b"\xff\xd8", _jpeg),
    (b"GIF8", _gif),
    (b"RIFF", _webp),
)


def _big(data: bytes, start: int, length: int) -> int:
    return int.from_bytes(_at(data, start, length), "big")


def _little(data: bytes, start: int, length: int) -> int:
    return int.from_bytes(_at(data, start, length), "little")


def _at(data: bytes, start: int, length: int) -> bytes:
    if len(data) < start + length:
        raise IndexError(start)
    return data[start : start + length]
