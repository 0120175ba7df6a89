"""Audio, as far as it is there: what comes in is counted, what goes out is a tone.

A token of output is 50 ms of audio, one of input 100 ms; so OpenAI bills them.
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
from functools import lru_cache
from hashlib import sha256

from holdfast.chaos.wire.base import Media

__all__ = ["BYTES_PER_S", "CHUNK_MS", "Ear", "input_tokens", "sound"]

BYTES_PER_S = {"audio/pcm": 48_000, "audio/pcmu": 8_000, "audio/pcma": 8_000}
"""By format: 16-bit PCM at 24 kHz, and G.711 at 8 kHz."""
CHUNK_MS = 50
INPUT_TOKEN_MS = 100
_TONES = 64
_LOUD = 8_000


def input_tokens(ms: float) -> int:
    """Tokens that audio of the prompt is billed as."""
    return math.ceil(ms / INPUT_TOKEN_MS)


class Ear:
    """The input buffer: how much stands in it, and a hash of that. The bytes themselves aren't kept."""

    def __init__(self) -> None:
        self._heard = 0.0  # ms before what the buffer holds
        self.clear()

    def clear(self) -> None:
        """Forget what wasn't committed."""
        self.size = 0
        self._ms = 0.0
        self._hash = sha256()

    def append(self, audio: str, kind: str) -> None:
        """More audio of that format. Raises ValueError where it isn't base64."""
        try:
            data = binascii.a2b_base64(audio, strict_mode=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError(str(error)) from None
        self.size += len(data)
        self._ms += len(data) * 1000 / BYTES_PER_S[kind]
        self._hash.update(data)

    @property
    def ms(self) -> float:
        """Length of what the buffer holds."""
        return self._ms

    @property
    def start_ms(self) -> int:
        """Where it begins in all that was heard."""
        return int(self._heard)

    @property
    def end_ms(self) -> int:
        return int(self._heard + self._ms)

    def commit(self, kind: str) -> Media:
        """Empty the buffer into a message's content."""
        media = Media("audio", kind, self.size, self._hash.hexdigest()[:16])
        self._heard += self._ms
        self.clear()
        return media


def sound(kind: str, index: int) -> str:
    """The ``index``-th chunk of output in base64. Neighbours differ: one that is lost or moved can be heard."""
    return _sound(kind, index % _TONES)


@lru_cache(3 * _TONES)
def _sound(kind: str, tone: int) -> str:
    rate = 24_000 if kind == "audio/pcm" else 8_000
    step = 2 * math.pi * (440 + 20 * tone) / rate  # whole waves per chunk: no clicks between equal tones
    samples = [round(_LOUD * math.sin(step * i)) for i in range(rate * CHUNK_MS // 1000)]
    if kind == "audio/pcm":
        data = struct.pack(f"<{len(samples)}h", *samples)
    else:
        data = bytes(map(_mu_law if kind == "audio/pcmu" else _a_law, samples))
    return base64.b64encode(data).decode()


def _mu_law(sample: int) -> int:
    """ITU-T G.711, table 2."""
    size = min(abs(sample), 32_635) + 132
    exponent = size.bit_length() - 8
    return ~((0x80 if sample < 0 else 0) | exponent << 4 | (size >> exponent + 3) & 15) & 0xFF


def _a_law(sample: int) -> int:
    """ITU-T G.711, table 1."""
    size = min(abs(sample), 32_767)
    exponent = max(0, size.bit_length() - 8)
    mantissa = (size >> (exponent + 3 if exponent else 4)) & 15
    return ((0 if sample < 0 else 0x80) | exponent << 4 | mantissa) ^ 0x55
