"""Embeddings without a model: unit vectors that depend on the text, the model and the number of dimensions alone."""

from __future__ import annotations

import base64
import math
import struct
from hashlib import shake_256

from holdfast.chaos.wire.base import Asked

__all__ = ["Embedding", "as_base64", "vector"]

_GRAIN = 1e9  # values are multiples of its inverse: finer than float32, and short in JSON


class Embedding(Asked, frozen=True, kw_only=True):
    """A request for embeddings."""

    texts: tuple[str, ...]
    """What is embedded, each to a vector of its own."""
    dimensions: int
    as_base64: bool = False


def vector(text: str, model: str, dimensions: int) -> list[float]:
    """A vector of length 1 (to 1e-6). A shorter one has the first values of a longer one, brought to length 1 again."""
    identity = f"{model}\0{text}".encode("utf-8", "surrogatepass")
    drawn = struct.unpack(f"<{dimensions}i", shake_256(identity).digest(4 * dimensions))
    scale = _GRAIN / (math.hypot(*drawn) or 1.0)
    return [int(value * scale) / _GRAIN for value in drawn]


def as_base64(values: list[float]) -> str:
    """``values`` as float32, the least byte first."""
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
