"""Packs a tokenizer's rank file for the package: ``python -m tools.pack_ranks NAME FILE``.

``FILE`` is a ``.tiktoken`` file as published: a line for each token, its bytes in base64 and its rank, from 0 upwards.
What is written to ``src/holdfast/providers/tokens/data`` says the same in a fourth of the bytes; what it unpacks to is
checked by its sha256 at each load, which is printed here, together with that of the published file.
"""

from __future__ import annotations

import base64
import hashlib
import sys
import zlib
from pathlib import Path
from typing import Final

__all__ = ["main", "pack", "published"]

DATA: Final = Path(__file__).parents[1] / "src" / "holdfast" / "providers" / "tokens" / "data"


def pack(source: bytes) -> bytes:
    """The published lines as one byte for each token's length, then the tokens themselves, in the order of their ranks."""
    tokens = []
    for rank, line in enumerate(source.splitlines()):
        token, said = line.split()
        if int(said) != rank:
            raise ValueError(f"line {rank + 1}: rank {int(said)}, expected {rank}")
        tokens.append(base64.b64decode(token, validate=True))
    return bytes(map(len, tokens)) + b"".join(tokens)


def published(tokens: dict[bytes, int]) -> bytes:
    """The published file again."""
    return b"".join(base64.b64encode(token) + b" %d\n" % rank for token, rank in tokens.items())


def main() -> None:
    name, file = sys.argv[1:]
    source = Path(file).read_bytes()
    unpacked = pack(source)
    packed = zlib.compress(unpacked, 9)
    (DATA / f"{name}.ranks").write_bytes(packed)
    tokens = source.count(b"\n")
    sys.stdout.write(f"{name}: {tokens} tokens, {len(source)} -> {len(packed)} bytes\n")
    sys.stdout.write(f"sha256 as published: {hashlib.sha256(source).hexdigest()}\n")
    sys.stdout.write(f"sha256 of what is unpacked: {hashlib.sha256(unpacked).hexdigest()}\n")


if __name__ == "__main__":
    main()
