"""The vocabularies that come with the package: every token of an encoding, in the order of its rank.

The data is what OpenAI publishes for tiktoken (MIT, ``data/LICENSE-tiktoken``), packed by ``tools/pack_ranks.py``. It is
read from the package and from nowhere else.
"""

from __future__ import annotations

import hashlib
import zlib
from importlib.resources import files
from itertools import accumulate, pairwise
from typing import Final

import msgspec

__all__ = ["RANK_FILES", "RankFile", "RanksDamaged", "load_ranks", "unpack"]


class RanksDamaged(RuntimeError):
    """A vocabulary of the package isn't the one that was shipped. Nothing is counted with it."""


class RankFile(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    tokens: int
    size: int
    """Bytes when unpacked: one for each token's length, then the tokens."""
    sha256: str
    """Of those bytes."""


RANK_FILES: Final = {
    file.name: file
    for file in (
        RankFile(
            name="cl100k_base",
            tokens=100_256,
            size=744_086,
            sha256="18288f996f452d44e0e65996176591a4b712a3eb1b42afd6f0511e735c099480",
        ),
        RankFile(
            name="o200k_base",
            tokens=199_998,
            size=1_597_668,
            sha256="440741350e7cfa1c0f4869ce742d1b043550adbda5187adcac9e787edac6fba9",
        ),
    )
}


def load_ranks(name: str) -> dict[bytes, int]:
    """The ranks of the encoding ``name`` by token: a new dict each time, 0.1 s for the larger one.

    Raises:
        RanksDamaged: the file is missing, or isn't what was shipped.
    """
    file = RANK_FILES[name]
    try:
        packed = files(__package__).joinpath("data", f"{name}.ranks").read_bytes()
    except OSError as error:
        raise _damaged(file, f"it can't be read ({error})") from error
    return unpack(packed, file)


def unpack(packed: bytes, file: RankFile) -> dict[bytes, int]:
    """What ``packed`` holds, if it is ``file``.

    Raises:
        RanksDamaged: it isn't.
    """
    try:
        # One byte more than there should be, and no more than that: a changed file can't fill the memory.
        data = zlib.decompressobj().decompress(packed, file.size + 1)
    except zlib.error as error:
        raise _damaged(file, f"it can't be unpacked ({error})") from error
    found = hashlib.sha256(data).hexdigest()
    if found != file.sha256:
        raise _damaged(file, f"its sha256 is {found}, not {file.sha256}")
    ends = accumulate(data[: file.tokens], initial=file.tokens)
    return {data[start:end]: rank for rank, (start, end) in enumerate(pairwise(ends))}


def _damaged(file: RankFile, why: str) -> RanksDamaged:
    return RanksDamaged(
        f"The tokenizer data {file.name} of this installation is damaged: {why}. Install holdfast again."
    )
