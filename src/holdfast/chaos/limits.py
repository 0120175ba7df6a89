"""The ranges of settings, as types."""

from __future__ import annotations

from typing import Annotated

import msgspec

__all__ = ["Bytes", "Count", "Few", "HeaderText", "Positive", "Probability", "Rate", "Seconds"]

Count = Annotated[int, msgspec.Meta(ge=0, le=10_000_000)]
Few = Annotated[int, msgspec.Meta(ge=0, le=64)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=10_000_000)]
Bytes = Annotated[int, msgspec.Meta(ge=1, le=2**40)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=86_400)]
Rate = Annotated[float, msgspec.Meta(ge=0, le=10_000_000)]
Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]
HeaderText = Annotated[str, msgspec.Meta(pattern=r"^[^\x00\r\n]*\Z")]
